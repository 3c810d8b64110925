"""Runs migrations online, against DATABASE_URL or against a connection handed over by the caller."""

from importlib import import_module

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from zea import config
from zea.db import Base

AREAS_WITH_TABLES = (
    "zea.accounts",
    "zea.api",
    "zea.availability",
    "zea.bookings",
    "zea.credits",
    "zea.notifications",
    "workflows.engine",
)
for area in AREAS_WITH_TABLES:
    import_module(f"{area}.models")


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(config.database_url(), poolclass=pool.NullPool).connect() as connection:
        run(connection)
