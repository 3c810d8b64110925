"""The one door to executions, for the API, the command line and any other Python program."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import approval_rows, census, interventions, search, store
from workflows.engine.census import Census
from workflows.engine.definition import Workflow
from workflows.engine.models import ENDED
from workflows.engine.pulse import Pulse, feel
from workflows.engine.registry import Registry
from workflows.engine.search import Filter
from workflows.engine.start import Started, start
from workflows.engine.status import (
    ApprovalView,
    EventView,
    ExecutionSummary,
    ExecutionView,
    Standing,
    approval_view,
    event_view,
    standing_of,
    summary_of,
    view_of,
)
from workflows.engine.values import UNSTORABLE
from zea import db as database
from zea.cursors import Position, to_cursor, to_position
from zea.errors import InvalidInput, NotFound

POLL_SECONDS = 0.1
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """A part of a list, newest first; ``next_cursor`` continues it, None at its end."""

    items: list[ExecutionSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """A part of a list of approvals; ``next_cursor`` continues it, None at its end."""

    items: list[ApprovalView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ExecutionClient:
    """Starts executions and tells how they stand.

    >>> client = ExecutionClient(catalog.registry)
    >>> started = client.start(booking_request, BookingRequest(...), actor="cli:ana")
    >>> client.wait(started.execution_id, timeout=timedelta(seconds=5)).status
    'completed'
    """

    registry: Registry

    def start(
        self,
        workflow: Workflow,
        inputs: object,
        *,
        actor: str,
        start_key: str | None = None,
        execution_id: UUID | None = None,
        timeouts: Mapping[str, timedelta] | None = None,
        db: Session | None = None,
    ) -> Started:
        """Begin an execution. It is accepted, for good, when this returns; with ``db``, when that transaction commits.

        ``inputs`` is an instance of the workflow's input; two starts with one ``start_key`` are one execution.
        ``timeouts`` are how long this execution's approvals and sleeps take, by name, instead of what its workflow
        says.

        Raises:
            InvalidInput: the workflow is none of this client's, whose workers would not run it; ``inputs`` is something
                else, or one of its values is of another type; or a timeout is for nothing that waits.
        """
        if self.registry.get(workflow.name, workflow.version) is not workflow:
            raise InvalidInput(f"{workflow} is not in the catalog, so no worker would run it: add it there first.")
        with nullcontext(db) if db else database.transaction() as handle:
            return start(
                handle,
                workflow,
                inputs,
                actor=actor,
                start_key=start_key,
                execution_id=execution_id,
                timeouts=timeouts,
            )

    def approve(
        self, approval_id: UUID, data: Mapping[str, Any], *, actor: str, db: Session | None = None
    ) -> ExecutionView:
        """Give the answer that an approval asks for. Answers how its execution stands then.

        Raises:
            NotFound: there is no such approval.
            InvalidInput: ``data`` is no answer to it; the field is named as in ``data.rating``.
            AlreadyDecided: it was answered, or is not asked for any more.
            DeadlinePassed: its time is over.
            Busy: a step of its execution has been running for as long as one waits here (5 seconds).
        """
        with nullcontext(db) if db else database.transaction() as handle:
            execution_id = interventions.approve(handle, self.registry, approval_id, dict(data), actor=actor)
            return self._status(handle, execution_id)

    def reject(self, approval_id: UUID, *, actor: str, reason: str, db: Session | None = None) -> ExecutionView:
        """Refuse to answer an approval. Answers how its execution stands then.

        Raises:
            InvalidInput: the reason is blank, or longer than 500 characters.
            NotFound, AlreadyDecided, DeadlinePassed, Busy: as for ``approve``.
        """
        said = _said(reason)
        with nullcontext(db) if db else database.transaction() as handle:
            execution_id = interventions.reject(handle, self.registry, approval_id, actor=actor, reason=said)
            return self._status(handle, execution_id)

    def hold_pending(self, execution_id: UUID, approval_type: str, db: Session) -> ApprovalView | None:
        """The pending approval of this type, if its execution has come to it; neither changes before ``db`` ends.

        What is committed together with this is seen by an execution that asks for it later.

        Raises:
            NotFound: there is no such execution.
            Busy: a step of it has been running for as long as one waits here (5 seconds).
        """
        interventions.hold(db, execution_id)
        asked = (each for each in approval_rows.of_execution(db, execution_id) if each.status == "pending")
        return next((approval_view(each) for each in asked if each.type == approval_type), None)

    def approvals_of(self, execution_id: UUID) -> list[ApprovalView]:
        """Everything that an execution has asked for, oldest first; nothing for an execution that does not exist."""
        with database.transaction() as db:
            return [approval_view(each) for each in approval_rows.of_execution(db, execution_id)]

    def get_approval(self, approval_id: UUID, db: Session | None = None) -> ApprovalView:
        """How an approval stands now.

        Raises:
            NotFound: there is no such approval.
        """
        with nullcontext(db) if db else database.transaction() as handle:
            found = approval_rows.read(handle, approval_id)
        if found is None:
            raise NotFound(f"There is no approval {approval_id}.")
        return approval_view(found)

    def list_approvals(
        self, assignee: str | None = None, *, pending: bool = False, limit: int = 50, cursor: str | None = None
    ) -> ApprovalPage:
        """Approvals, those that are pending first and otherwise the newest, ``limit`` at the most.

        ``assignee`` is whose, as ``user:`` and their id; everybody's if it is not stated.

        Raises:
            InvalidInput: the cursor is none that an earlier page gave out.
        """
        of_settled, after = _place(cursor)
        with database.transaction() as db:
            rows = [] if of_settled else approval_rows.pending(db, limit + 1, assignee, after)
            if len(rows) <= limit and not pending:
                rows += approval_rows.settled(db, limit + 1 - len(rows), assignee, after if of_settled else None)
        last = rows[limit - 1] if len(rows) > limit else None
        return ApprovalPage([approval_view(row) for row in rows[:limit]], _cursor_after(last) if last else None)

    def cancel(self, execution_id: UUID, *, actor: str, reason: str, db: Session | None = None) -> ExecutionView:
        """End an execution that has not ended; what was completed is undone. Answers how it stands then.

        Raises:
            InvalidInput: the reason is blank, or longer than 500 characters.
            NotFound: there is no such execution.
            NotPossible: it has ended, or is being undone already.
            Busy: a step of it has been running for as long as one waits here (5 seconds).
        """
        said = _said(reason)
        with nullcontext(db) if db else database.transaction() as handle:
            interventions.cancel(handle, self.registry, execution_id, actor=actor, reason=said)
            return self._status(handle, execution_id)

    def resume(
        self, execution_id: UUID, *, actor: str, reason: str | None = None, db: Session | None = None
    ) -> ExecutionView:
        """Let a failed execution go on at what failed. Answers how it stands then.

        Raises:
            InvalidInput: there is a reason, and it is blank, or longer than 500 characters.
            NotFound: there is no such execution.
            NotPossible: it has not failed, was refused, or was undone.
            Busy: somebody else has been at it for as long as one waits here (5 seconds).
        """
        said = None if reason is None else _said(reason)
        with nullcontext(db) if db else database.transaction() as handle:
            interventions.resume(handle, self.registry, execution_id, actor=actor, reason=said)
            return self._status(handle, execution_id)

    def rerun(
        self,
        execution_id: UUID,
        *,
        actor: str,
        reason: str,
        from_step: str | None = None,
        new_execution_id: UUID | None = None,
        db: Session | None = None,
    ) -> Started:
        """Begin a new execution with the inputs of one that has ended, linked to it.

        With ``from_step`` it begins there: what that step follows, or runs beside, and is completed is not run again.

        Raises:
            NotFound: there is no such execution.
            InvalidInput: the workflow has no step of that name; the reason is blank, or longer than 500 characters.
            NotPossible: it has not ended, its version is unknown, or what ``from_step`` builds on does not stand.
            Busy: somebody else has been at it for as long as one waits here (5 seconds).
        """
        said = _said(reason)
        with nullcontext(db) if db else database.transaction() as handle:
            return interventions.rerun(
                handle,
                self.registry,
                execution_id,
                actor=actor,
                reason=said,
                from_step=from_step,
                new_execution_id=new_execution_id,
            )

    def get_execution_status(self, execution_id: UUID) -> ExecutionView:
        """How the execution stands now.

        Raises:
            NotFound: there is no such execution.
        """
        with database.transaction() as db:
            return self._status(db, execution_id)

    def _status(self, db: Session, execution_id: UUID) -> ExecutionView:
        row = store.found(store.read(db, execution_id), execution_id)
        workflow = self.registry.get(row.workflow, row.version)
        held = frozenset() if row.completed_at else store.held_keys(db)
        return view_of(workflow, row, approval_rows.of_execution(db, row.id), store.now(db), held)

    def standings(self, execution_ids: Sequence[UUID]) -> list[Standing]:
        """Status, output and error of each of these executions that exists, in one cheap query."""
        with database.reading() as db:
            return [standing_of(row) for row in store.standings(db, execution_ids)]

    def wait(
        self,
        execution_id: UUID,
        timeout: timedelta,
        until: Callable[[ExecutionView], bool] = lambda view: view.status in ENDED,
    ) -> ExecutionView:
        """The execution's status once ``until`` holds, by default its end; the latest one when ``timeout`` passes.

        Raises:
            NotFound: there is no such execution.
        """
        deadline = time.monotonic() + timeout.total_seconds()
        while not until(view := self.get_execution_status(execution_id)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return view

    def list_executions(
        self, wanted: Filter | None = None, limit: int = 50, cursor: str | None = None, db: Session | None = None
    ) -> ExecutionPage:
        """Executions, newest first, ``limit`` at the most.

        Raises:
            InvalidInput: the cursor is none that an earlier page gave out.
        """
        with nullcontext(db) if db else database.transaction() as handle:
            rows = search.executions(handle, wanted or Filter(), limit + 1, to_position(cursor))
        last = rows[limit - 1] if len(rows) > limit else None
        next_cursor = to_cursor(last.created_at, last.id) if last else None
        return ExecutionPage([self._summary(row) for row in rows[:limit]], next_cursor)

    def _summary(self, row: store.Stored) -> ExecutionSummary:
        known = self.registry.get(row.workflow, row.version) is not None
        return summary_of(row, workflow_known=known)

    def list_active_workflows(self, limit: int = 50, cursor: str | None = None) -> ExecutionPage:
        """Executions that have not ended, newest first, ``limit`` at the most.

        Raises:
            InvalidInput: the cursor is none that an earlier page gave out.
        """
        return self.list_executions(Filter(active=True), limit, cursor)

    def events(self, execution_id: UUID, after: int = 0, limit: int | None = None) -> list[EventView]:
        """The execution's events past position ``after``, oldest first.

        Raises:
            NotFound: there is no such execution.
        """
        with database.transaction() as db:
            store.found(store.read(db, execution_id), execution_id)
            return [event_view(row) for row in store.event_rows(db, execution_id, after, limit)]

    def pulse(self) -> Pulse:
        """Whether executions move: the oldest due work, what failed lately, the sweeps' lag and the queues' age."""
        with database.reading() as db:
            return feel(db)

    def census(self, db: Session | None = None) -> Census:
        """What `GET /metrics` tells: executions by status, what was counted since the beginning, and the pulse."""
        with nullcontext(db) if db else database.reading() as handle:
            return census.take(handle)

    def close(self) -> None:
        """Give back this process's database connections; the client opens new ones when it is used again."""
        database.close_connections()


PENDING_CURSOR, SETTLED_CURSOR = "pending.", "settled."


def _cursor_after(row: approval_rows.StoredApproval) -> str:
    kind = PENDING_CURSOR if row.status == "pending" else SETTLED_CURSOR
    return kind + to_cursor(row.requested_at, row.id)


def _place(cursor: str | None) -> tuple[bool, Position | None]:
    """Whether the list goes on among what is settled, and after which one."""
    of_settled = cursor is not None and cursor.startswith(SETTLED_CURSOR)
    return of_settled, to_position(cursor and cursor.removeprefix(SETTLED_CURSOR if of_settled else PENDING_CURSOR))


def _said(reason: str) -> str:
    """The reason, without the space around it.

    Raises:
        InvalidInput: nothing, too much, or what cannot be stored was said.
    """
    said = reason.strip()
    if not 1 <= len(said) <= LONGEST_REASON:
        raise InvalidInput(f"Say why, in 1 to {LONGEST_REASON} characters.", "reason")
    if UNSTORABLE.search(said):
        raise InvalidInput("The reason holds characters that cannot be stored: write it as UTF-8 text.", "reason")
    return said
