"""Runs migrations online, against DATABASE_URL or against a connection handed over by the caller."""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from alembic import context
from sqlalchemy import Connection, create_engine, pool

import workflows
import zea
from zea import config
from zea.db import Base

for package in (zea, workflows):
    for area in iter_modules(package.__path__, f"{package.__name__}."):
        if area.ispkg and find_spec(f"{area.name}.models"):
            import_module(f"{area.name}.models")


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
