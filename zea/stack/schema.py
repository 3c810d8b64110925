"""Bringing the database's schema to the newest migration."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import OperationalError

from zea import config, db
from zea.errors import ConfigurationError, Unreachable

UPGRADE_LOCK = 0x7A65615F  # "zea_"; any number will do that nothing else in this database locks


def upgrade() -> None:
    """Migrate the database of this process's settings to the newest revision, in one transaction.

    Upgrades at the same moment wait for each other, and all but the first find nothing to do.

    Raises:
        Unreachable: the database does not answer.
    """
    from alembic import command
    from alembic.config import Config

    alembic = Config()
    alembic.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    engine = create_engine(config.database_url(), poolclass=pool.NullPool, connect_args=db.CONNECT_ARGUMENTS)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")
    except OperationalError as error:
        raise Unreachable(f"The database cannot be migrated: {str(error.orig).strip().splitlines()[0]}") from None


@lru_cache
def newest() -> frozenset[str]:
    """The revisions that this release's migrations lead to."""
    from alembic.script import ScriptDirectory

    return frozenset(ScriptDirectory(str(migrations())).get_heads())


def applied(connection: Connection) -> frozenset[str]:
    """The revisions that the database is at."""
    from alembic.runtime.migration import MigrationContext

    return frozenset(MigrationContext.configure(connection).get_current_heads())


def migrations() -> Path:
    """The folder of the migrations, wherever zea is installed."""
    found = find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError("The package migrations is missing: install zea again.")
    return Path(found.submodule_search_locations[0])
