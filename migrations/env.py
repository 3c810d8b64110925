"""Runs migrations against a connection handed over by the caller or DATABASE_URL, or writes them as SQL.

Each migration is a transaction of its own, so that one that makes an index concurrently can do without.
"""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from alembic import context
from sqlalchemy import Connection, text

import workflows
import zea
from zea.db import Base
from zea.stack import schema

for package in (zea, workflows):
    for area in iter_modules(package.__path__, f"{package.__name__}."):
        if area.ispkg and find_spec(f"{area.name}.models"):
            import_module(f"{area.name}.models")


LIMIT = f"SET lock_timeout = '{schema.LOCK_TIMEOUT}'"


def run(connection: Connection) -> None:
    with connection.begin():
        connection.execute(text(LIMIT))
    context.configure(
        connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


def write() -> None:
    """What `alembic upgrade --sql` prints."""
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        transaction_per_migration=True,
    )
    context.execute(LIMIT)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    write()
elif given is not None:
    run(given)
else:
    with schema.connected_alone() as connection:
        run(connection)
