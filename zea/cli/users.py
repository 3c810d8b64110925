"""`zea users`: people, made from the command line."""

import json
import sys
from typing import Annotated

import typer
from pydantic import ValidationError

from zea.accounts import service
from zea.accounts.models import Role
from zea.accounts.schemas import NewUser
from zea.db import transaction
from zea.errors import InvalidInput

app = typer.Typer(help="People with an account.", no_args_is_help=True)


@app.callback()
def users() -> None:
    """People with an account."""


@app.command(epilog="Example: zea users create --email camila@example.com --role coach")
def create(
    email: Annotated[str, typer.Option(help="What they sign in with.")],
    role: Annotated[Role, typer.Option(help="What they are on the platform.")],
    name: Annotated[str | None, typer.Option(help="How they are called; the start of the email if left out.")] = None,
    password: Annotated[str | None, typer.Option(help="Asked for, or read from standard input, if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a person and print their id. An athlete made here may book at once."""
    user = _new_user(email=email, role=role, name=name, password=password or _asked_password())
    with transaction() as db:
        user_id = str(service.create_user(db, user))
    typer.echo(json.dumps({"user_id": user_id}) if as_json else user_id)


def _asked_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _new_user(**fields: object) -> NewUser:
    try:
        return NewUser.model_validate(fields)
    except ValidationError as error:
        # Only what is wrong: pydantic's own text would show the password.
        first = error.errors(include_input=False, include_url=False)[0]
        field = str(first["loc"][0])
        raise InvalidInput(f"--{field}: {first['msg'].removeprefix('Value error, ')}", field) from None
