"""What a worker process does when it starts: check the definitions, and never share its parent's connections."""

import logging
import sys
from contextlib import suppress
from typing import Any

from celery.signals import after_setup_logger, worker_init, worker_process_init
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from workflows.catalog import registry
from zea import db
from zea.errors import ZeaError


@after_setup_logger.connect  # type: ignore[untyped-decorator]  # Celery has no types
def log_each_task_once(**_: Any) -> None:
    """A line when a task has ended says all that the one when it was received said."""
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)


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
    with suppress(OperationalError), db.reading() as handle:
        handle.execute(text("SELECT 1"))
