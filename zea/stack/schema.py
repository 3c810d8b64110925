"""Bringing the database's schema to the newest migration, while others use the database."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, create_engine, event, pool, text
from sqlalchemy.exc import OperationalError

from zea import config, db
from zea.errors import ConfigurationError, Unreachable

log = logging.getLogger(__name__)

UPGRADE_LOCK = 0x7A65615F  # "zea_"; any number will do that nothing else in this database locks
# While a change of a table waits for those who use it, everybody else queues up behind it: no longer than this.
LOCK_TIMEOUT = "2s"
# A change that did not come to its turn is tried again so often. Nobody of zea stands still in a transaction for longer
# than a minute (zea.db.LONGEST_IDLE), and only a payment report of very many sessions works for longer in one; whoever
# else does is somebody else, and the operator has to know.
ATTEMPTS = 40
BETWEEN_ATTEMPTS = 0.5  # seconds in which those who queued up get on with their work
TURN_POLL = 0.1  # seconds
# Of another role's transactions only a superuser is told since when, but everybody who holds what.
WHO_IS_IN_THE_WAY = text("""
    SELECT format('%s of %s since %s', pid, coalesce(nullif(application_name, ''), usename),
                  coalesce(xact_start::text, 'a moment that only its role is told'))
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL AND pid IN (
        SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'relation' AND l.granted AND d.datname = current_database())
    ORDER BY xact_start NULLS FIRST LIMIT 1""")
# The lock of whoever was cut off is free after a minute.
KEEPALIVES = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"


def upgrade() -> frozenset[str]:
    """Migrate the database of this process's settings, each migration in its transaction; the revisions it is at then.

    Upgrades at the same moment wait for each other, and all but the first find nothing to do. What was interrupted
    goes on where it was when it is run again. A schema of a newer release stays as it is.

    Raises:
        Unreachable: the database does not answer, or somebody holds for too long what is to be changed.
        ConfigurationError: there is something to do, and the database is reached through a pooler.
    """
    try:
        with _connected() as connection:
            if _needs_upgrade(connection):
                _take_turn(connection)
                if _needs_upgrade(connection):
                    _upgrade(connection)
            return applied(connection)
    except OperationalError as error:
        raise Unreachable(f"The database cannot be migrated: {db.first_line(error)}") from None


def _needs_upgrade(connection: Connection) -> bool:
    with connection.begin():
        return is_behind(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    alembic = Config()
    alembic.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    alembic.attributes["connection"] = connection
    for _ in range(ATTEMPTS):
        try:
            return command.upgrade(alembic, "head")
        except OperationalError as error:
            if not isinstance(error.orig, (LockNotAvailable, DeadlockDetected)):
                raise
            log.warning("a migration is tried again: %s", db.first_line(error))
        time.sleep(BETWEEN_ATTEMPTS)
    raise Unreachable(
        "The database cannot be migrated: a table is in use all the time. "
        f"In the way is {_who_is_in_the_way(connection)}: end it if it stays, and upgrade again."
    )


@contextmanager
def connected_alone() -> Iterator[Connection]:
    """A connection of whoever migrates, in no transaction; all others who want one wait until it is closed."""
    with _connected() as connection:
        _take_turn(connection)
        yield connection


@contextmanager
def _connected() -> Iterator[Connection]:
    engine = create_engine(config.database_url(), poolclass=pool.NullPool, connect_args=db.CONNECT_ARGUMENTS)
    event.listen(engine, "connect", db.recognise)
    with engine.connect() as connection:
        yield connection


def _take_turn(connection: Connection) -> None:
    _require_a_connection_of_its_own(connection)
    with connection.begin():
        connection.execute(text(KEEPALIVES))
    if not _is_its_turn(connection):
        log.warning("another upgrade of this database runs, and is waited for")
        while not _is_its_turn(connection):
            time.sleep(TURN_POLL)


def _require_a_connection_of_its_own(connection: Connection) -> None:
    """The lock is the connection's: through a pooler it would be whose that connection is next, and stay locked.

    Raises:
        ConfigurationError: a pooler answers, which tells of another process than the server's own.
    """
    made: psycopg.Connection | None = connection.connection.driver_connection
    assert made is not None
    if db.is_pooled_elsewhere(made):
        raise ConfigurationError(
            "The database cannot be migrated through a pooler: set DATABASE_URL to PostgreSQL itself for this command."
        )


def _is_its_turn(connection: Connection) -> bool:
    """Whether it got the lock, which ends with the connection.

    It asks instead of waiting: an index that is made concurrently waits for every statement that began before it, and
    so for one that waits for the lock, and both would wait for ever.
    """
    with connection.begin():
        return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": UPGRADE_LOCK}))


def _who_is_in_the_way(connection: Connection) -> str:
    with connection.begin():
        found: str | None = connection.scalar(WHO_IS_IN_THE_WAY)
        return found or "nobody by now"


@lru_cache
def newest() -> frozenset[str]:
    """The revisions that this release's migrations lead to."""
    from alembic.script import ScriptDirectory

    return frozenset(ScriptDirectory(str(migrations())).get_heads())


@lru_cache
def known() -> frozenset[str]:
    """All revisions that this release's migrations lead through."""
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory(str(migrations())).walk_revisions())


def is_ahead(connection: Connection) -> bool:
    """Whether a newer release has migrated the database: it is rolled out, or was rolled back.

    This release works on that schema, because a release's migrations keep working what runs when they are run.
    """
    return not applied(connection) <= known()


def is_behind(connection: Connection) -> bool:
    """Whether the database lacks migrations of this release."""
    return applied(connection) != newest() and not is_ahead(connection)


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
