"""The engine, the declarative base, ids, and the transaction scope, which holds the only commit."""

import logging
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg.errors import Diagnostic
from sqlalchemy import Connection, DateTime, Engine, MetaData, create_engine, event, func
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session
from uuid_utils.compat import uuid7

from zea import config

log = logging.getLogger(__name__)

# Whoever stands still in a transaction for longer loses its connection, and so its locks: nobody here works for long
# between two statements, but a process can be frozen. A step's claim sets its own limits.
LONGEST_IDLE = "60s"
AFTER_COMMIT, CONNECTION = "after_commit", "connection"
SAVEPOINT = "SAVEPOINT attempt"
POOLED = "_zea_is_pooled"  # an attribute of psycopg's connections, which live longer than SQLAlchemy's
# The severities after which the server closes the connection.
ENDING = ("FATAL", "PANIC")
POOL_SIZE = 20
CONNECT_ARGUMENTS = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # Keepalives tell of a lost peer only while nothing is sent: without this, what was sent is waited for 15 minutes.
    "tcp_user_timeout": 10_000,  # milliseconds
    "application_name": "zea",
}


class Base(DeclarativeBase):
    """Every table's base: moments are ``timestamptz``, constraint names follow one convention."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 SQLAlchemy's own idiom


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): unique, and sortable by creation."""
    return uuid7()


class Pool(NamedTuple):
    """An engine and the process that made it."""

    engine: Engine
    process: int


def engine() -> Engine:
    """This process's connections: a caller who waits for a free one gives up after 2 seconds."""
    # Without the lock, threads that come first at the same moment would each make one.
    with _making_pool:
        return _pool().engine


_making_pool = Lock()


@lru_cache
def _pool() -> Pool:
    made = create_engine(
        config.database_url(),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=2,
        connect_args=CONNECT_ARGUMENTS,
        # Parameters may be personal, and errors are logged.
        hide_parameters=True,
    )
    event.listen(made, "connect", recognise)
    event.listen(made, "connect", _limit_idling)
    event.listen(made, "checkout", _replace_if_ended)
    event.listen(made, "begin", _limit_idling_of_this_transaction)
    return Pool(made, os.getpid())


def recognise(made: psycopg.Connection, *_: object) -> None:
    """Find out whether PostgreSQL itself is at the other end, or a pooler such as PgBouncer.

    Through a pooler each transaction may be another server process: what was prepared there is not found again.
    """
    row = made.execute("SELECT pg_backend_pid()").fetchone()
    made.rollback()
    assert row is not None
    pooled = row[0] != made.info.backend_pid
    setattr(made, POOLED, pooled)
    if pooled:
        made.prepare_threshold = None


def is_pooled_elsewhere(made: psycopg.Connection) -> bool | None:
    """Whether a pooler between zea and PostgreSQL answers for it, telling of processes that the server has not.

    None while that is not known.
    """
    return getattr(made, POOLED, None)


def _limit_idling(made: psycopg.Connection, *_: object) -> None:
    """For all of its transactions; through a pooler others would find what was set there, or not find their own."""
    if not is_pooled_elsewhere(made):
        made.execute(f"SET idle_in_transaction_session_timeout = '{LONGEST_IDLE}'")
        made.commit()


def _limit_idling_of_this_transaction(begun: Connection) -> None:
    made: psycopg.Connection | None = begun.connection.driver_connection
    assert made is not None
    if is_pooled_elsewhere(made) and not made.autocommit:
        begun.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{LONGEST_IDLE}'")


def _replace_if_ended(pooled: psycopg.Connection, *_: object) -> None:
    """Have a connection whose server went away replaced before it is used, and all others that are as old with it.

    The kernel knows of the end already, so this costs a look at the socket and no round trip. Without it a restart of
    the database costs each process one more request or step, after it is back.
    """
    farewells: list[Diagnostic] = []

    def listen(said: Diagnostic) -> None:
        if said.severity_nonlocalized in ENDING:
            farewells.append(said)

    pooled.add_notice_handler(listen)
    try:
        while _has_something_to_read(pooled):
            pooled.pgconn.consume_input()
        # The server says goodbye a moment before the connection closes: what was read is looked at, not its end only.
        pooled.pgconn.is_busy()
    except psycopg.OperationalError as ended:
        raise InvalidatePoolError(str(ended)) from ended
    finally:
        pooled.remove_notice_handler(listen)
    if farewells:
        raise InvalidatePoolError(str(farewells[0].message_primary))


def _has_something_to_read(idle: psycopg.Connection) -> bool:
    """A notice, or that the connection has ended: an answer is not expected."""
    poll = select.poll()
    poll.register(idle.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def transaction() -> Iterator[Session]:
    """One unit of work: committed at the end of the block, rolled back if it raises.

    What was registered with ``after_commit`` runs once the commit succeeded, in order.
    """
    with Session(engine(), expire_on_commit=False) as db:
        try:
            yield db
            db.commit()
        except BaseException:
            # On a connection that is lost this fails too, with an error that would hide the one that matters. The
            # server has rolled back anyway, and SQLAlchemy learns of the loss: it replaces all pooled connections.
            with suppress(DBAPIError):
                db.rollback()
            raise
    for call in db.info.get(AFTER_COMMIT, ()):
        call()


@contextmanager
def reading() -> Iterator[Session]:
    """For reads that need no snapshot in common: each statement is one round trip, without BEGIN and COMMIT."""
    with Session(engine().execution_options(isolation_level="AUTOCOMMIT")) as db:
        yield db


def connection(db: Session) -> Connection:
    """The connection of the session's transaction, for statements beside the unit of work; looked up once."""
    found: Connection | None = db.info.get(CONNECTION)
    if found is None:
        found = db.info[CONNECTION] = db.connection()
    return found


def driver_connection(db: Session) -> psycopg.Connection:
    """The psycopg connection under the session's transaction."""
    driver: psycopg.Connection | None = connection(db).connection.driver_connection
    assert driver is not None
    return driver


def undo_to_savepoint(db: Session) -> bool:
    """Undo what the transaction did since its ``SAVEPOINT``.

    False if there is nothing left to undo it in: the connection was lost, or the session has rolled all of it back
    because a flush failed.
    """
    if not db.is_active or connection(db).invalidated or driver_connection(db).closed:
        return False
    try:
        driver_connection(db).execute(f"ROLLBACK TO {SAVEPOINT}")
    except psycopg.OperationalError:
        return False  # it was lost before, and says so only now
    db.expunge_all()
    return True


def after_commit(db: Session, call: Callable[[], None]) -> None:
    """Run ``call`` once this transaction is committed; never, if it is rolled back.

    ``call`` must not raise: the caller's work is already done when it runs.
    """
    db.info.setdefault(AFTER_COMMIT, []).append(call)


def close_connections() -> None:
    """Close this process's connections; it opens new ones, to what its settings say then, when it needs them."""
    if _pool.cache_info().currsize:
        _pool().engine.dispose()
        _pool.cache_clear()


def release_connections_of_parent() -> None:
    """Forget pooled connections inherited over a fork, without closing the parent's sockets."""
    if _pool.cache_info().currsize and _pool().process != os.getpid():
        _pool().engine.dispose(close=False)
        _pool.cache_clear()


def clock_of(db: Session) -> datetime:
    """The database's clock, which decides what is past: read it once what it decides about is held."""
    now: datetime = db.scalars(func.clock_timestamp(type_=DateTime(timezone=True))).one()
    return now


def first_line(error: Exception) -> str:
    """What the driver said, without the statement and its values, which SQLAlchemy adds on later lines."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def violated_constraint(error: DBAPIError) -> str | None:
    """The name of the constraint that refused a statement, or None if none did."""
    diagnostic: Diagnostic | None = getattr(error.orig, "diag", None)
    return diagnostic.constraint_name if diagnostic else None
