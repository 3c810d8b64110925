"""`zea db`: the database's schema."""

import typer

from zea.cli import display
from zea.cli.executions import AsJson

app = typer.Typer(help="Manage the database's schema.", no_args_is_help=True)


@app.command(epilog="Example: zea db upgrade")
def upgrade(as_json: AsJson = False) -> None:
    """Bring the schema to the newest migration."""
    from zea.stack import schema

    applied = schema.upgrade()
    if as_json:
        display.print_json({"migrations": sorted(applied)})
    elif applied == schema.newest():
        typer.echo("The database is up to date.")
    else:
        typer.echo(f"The schema ({', '.join(sorted(applied))}) is not of this release: it is left as it is.")


@app.callback()
def database() -> None:
    """Manage the database's schema."""
