"""What a worker process does when it starts: check the definitions, and never share its parent's connections."""

import logging
import sys
from contextlib import suppress
from typing import Any

from celery.signals import setup_logging, worker_init, worker_process_init, worker_process_shutdown
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from workflows.catalog import registry
from zea import db, logs, tracing
from zea.errors import ZeaError


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def log_as_everybody_does(loglevel: int | None = None, **_: Any) -> None:
    """Celery sets up nothing of its own where this is connected."""
    logs.configure(loglevel or logging.INFO)


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def check_definitions(**_: Any) -> None:
    """A worker whose definitions are not the registered ones does not start: it would finish executions wrongly.

    One that cannot find out, such as while the database is away, ends as well, and whoever supervises it starts it
    again. Celery would log any other exception of this function, and have the worker run unchecked.
    """
    try:
        with db.transaction() as handle:
            registry.register(handle)
    except ZeaError as error:
        sys.exit(f"zea: {error.message}")
    except Exception as error:
        sys.exit(f"zea: the definitions cannot be compared with the registered ones: {db.first_line(error)}")


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def begin_with_connections_of_its_own(**_: Any) -> None:
    """A connection shared with the parent would mix their answers; one that is open already speeds the first task."""
    db.release_connections_of_parent()
    tracing.begin("zea-worker")
    with suppress(OperationalError), db.reading() as handle:
        handle.execute(text("SELECT 1"))


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def send_the_last_traces(**_: Any) -> None:
    """Such a process ends without Python's own tidying up."""
    tracing.end()
