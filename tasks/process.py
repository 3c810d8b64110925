"""What a worker process does when it starts: check the definitions, and never share its parent's connections."""

import sys
from typing import Any

from celery.signals import worker_init, worker_process_init

from workflows.catalog import registry
from zea import db
from zea.errors import ZeaError


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def check_definitions(**_: Any) -> None:
    """A worker whose definitions are not the registered ones does not start: it would finish executions wrongly."""
    try:
        with db.transaction() as handle:
            registry.verify(handle)
    except ZeaError as error:
        sys.exit(f"zea: {error.message}")


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def release_connections_of_parent(**_: Any) -> None:
    db.release_connections_of_parent()
