"""`zea db`: the database's schema."""

import typer

app = typer.Typer(help="Manage the database's schema.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the schema to the newest migration."""
    from zea.stack import schema

    schema.upgrade()
    typer.echo("The database is up to date.")


@app.callback()
def database() -> None:
    """Manage the database's schema."""
