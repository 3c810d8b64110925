"""Indexes on tables that are in use: made and removed while everybody goes on reading and writing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import TextClause

from zea.stack.schema import LOCK_TIMEOUT


def create_index(name: str, table: str, columns: Sequence[str | TextClause], **options: Any) -> None:
    """Make an index without keeping anybody from writing; ``options`` are those of ``op.create_index``.

    It is in no transaction, so a migration of its own holds it: what was interrupted is run again from the start. An
    index of that name is then what the interrupted one left, which may be invalid, and goes first.
    """
    with _however_long_it_takes():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Remove an index without keeping anybody from reading or writing."""
    with _however_long_it_takes():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _however_long_it_takes() -> Iterator[None]:
    """Outside of a transaction, and without a limit: it waits for older transactions, and nobody waits for it."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
