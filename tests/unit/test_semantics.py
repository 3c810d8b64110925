"""Whatever happens to an execution, in whatever order: replay and planner say of it what the oracle says."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import example, given, note, settings

from tests.drawn_flows import Action, Plot, plots, workflow_of
from tests.unit import oracle
from tests.unit.oracle import VANISHED_AT_MOST, Model, assert_lawful, can_run_side_by_side
from workflows.engine import store
from workflows.engine.attempt import block_of
from workflows.engine.definition import Fail, Workflow
from workflows.engine.events import (
    ApprovalApproved,
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalRejected,
    ApprovalRequested,
    Event,
    ExecutionRedriven,
    ExecutionResumed,
    ExecutionStarted,
    Fact,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    TimerCancelled,
    TimerFired,
    TimerSet,
)
from workflows.engine.interventions import _obstacle_to_resume, _to_try_again
from workflows.engine.models import ENDED, ExecutionStatus, StepStatus
from workflows.engine.nodes import Approval, Undo, Unit, is_long
from workflows.engine.planner import Conclusion, cancellation, conclusion, next_moves, status_of
from workflows.engine.policy import LONGEST_COUNTDOWN
from workflows.engine.state import State, apply, replay

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def never_called(*_: object) -> None:
    raise AssertionError("Nothing is executed here.")


@dataclass(frozen=True)
class Message:
    """One that the broker holds; ``repeated`` if an earlier one may have been lost together with its worker."""

    unit: str
    epoch: int
    repeated: bool = False


class Play:
    """Plays the runner, the sweep and the broker over the pure core: what they would record, and what they would send.

    An attempt begins in one action and ends in another, so that anything can happen in between, as it does to a branch
    or to a long step. The model is told only what happens in the world.
    """

    def __init__(self, plot: Plot) -> None:
        self.flow, self.model, self.fates = plot.flow, Model(plot.flow), plot.fates
        self.workflow: Workflow = workflow_of(plot.flow, never_called)
        self.now = BEGINNING
        self.events: list[Event] = []
        self.state = State()
        self.broker: list[Message] = []
        self.running: dict[str, Message] = {}  # those whose claims are held
        self.seen: set[Message] = set()
        self.add(ExecutionStarted(self.workflow.name, 1, {}))
        self.publish(self.moves)

    # The runner.

    @property
    def moves(self) -> list[str]:
        return [unit.name for unit in next_moves(self.workflow, self.state)]

    def unit(self, name: str) -> Unit:
        unit = self.workflow.unit(name)
        assert unit is not None
        return unit

    def add(self, fact: Fact) -> None:
        self.now += timedelta(milliseconds=1)
        event = Event(self.state.position + 1, self.now, "test", fact)
        stored = json.loads(json.dumps(event.to_row()))
        event_again = Event.from_row(**{**stored, "at": datetime.fromisoformat(stored["at"])})
        assert event_again == event
        self.state = apply(self.state, event)
        self.events.append(event_again)

    def end(self, ending: Conclusion | None) -> None:
        if ending:
            for timer in sorted(self.state.timers):
                self.add(TimerCancelled(timer))
            for approval in sorted(self.state.approvals):
                self.add(ApprovalCancelled(approval))
            self.add(ending)

    def conclude(self) -> None:
        self.end(conclusion(self.workflow, self.state))

    def publish(self, names: list[str], *, repeated: bool = False) -> None:
        sent = [Message(name, self.state.epoch, repeated) for name in names]
        self.broker += sent
        self.seen |= set(sent)

    def is_wanted(self, message: Message) -> bool:
        wanted = message.epoch == self.state.epoch and message.unit in self.moves
        assert wanted == self.model.wants(message.unit, message.epoch)
        return wanted

    def begin(self, message: Message) -> None:
        """A worker has taken the message: it claims the unit and, where that is due, says that it begins."""
        if message.unit in self.running or not self.is_wanted(message):
            return
        unit = self.unit(message.unit)
        if message.repeated or is_long(unit):
            tries, step, block = self.state.tries_of(unit), unit.steps[0].name, block_of(unit)
            has_room = tries.vanished + tries.started < VANISHED_AT_MOST
            before = self.moves
            assert has_room == self.model.begins(unit.name)
            if not has_room:
                self.add(StepFailed(step, tries.attempt, self.now, 0.0, "worker_lost", "lost", True, block=block))
                self.close(before)
                return
            self.add(StepStarted(step, tries.attempt + tries.started, block))
        self.running[unit.name] = message

    def finish(self, name: str, fate: str, number: int) -> None:
        """The attempt is over; what it did is recorded if it is wanted still."""
        message, before = self.running.pop(name), self.moves
        if fate == "killed" or not self.is_wanted(message):
            return
        unit = self.unit(name)
        step = unit.steps[number % len(unit.steps)]
        attempt = self.state.tries_of(unit).attempt
        match fate:
            case "done" if isinstance(step.wait, Approval):
                self.model.asks(name)
                asked = str(UUID(int=self.state.position))
                self.add(ApprovalRequested(name, asked, "anything", "user:1", attempt, self.now + DAY))
            case "done":
                self.model.succeeds(name)
                self.complete(unit, attempt)
            case "deadlock":
                self.model.fails_for_now(name, fate)
                self.fail_for_now(unit, attempt, fate, number)
            case _:
                self.model.fails(name, fate)
                block, resumable = block_of(unit), fate != "refused"
                self.add(StepFailed(step.name, attempt, self.now, 0.1, fate, "no", resumable, block=block))
        self.close(before)

    def complete(self, unit: Unit, attempt: int) -> None:
        for step in unit.steps:
            if step.undoes:
                self.add(StepCompensated(step.undoes, attempt, self.now, 0.1))
            else:
                self.add(StepCompleted(step.name, attempt, self.now, 0.1, {f"of_{step.name}": self.state.position}))

    def fail_for_now(self, unit: Unit, attempt: int, kind: str, number: int) -> None:
        step, block = unit.steps[number % len(unit.steps)], block_of(unit)
        failures = self.state.tries_of(unit).failures + 1
        if failures == step.retry.attempts:
            self.add(StepFailed(step.name, attempt, self.now, 0.1, kind, "again", resumable=True, block=block))
            return
        delay = step.retry.delay_after(failures)
        self.add(StepRetried(step.name, attempt, kind, "again", delay.total_seconds(), block))
        if delay > LONGEST_COUNTDOWN:
            self.add(TimerSet(unit.name, self.now + delay))
        else:
            self.publish([unit.name])

    def close(self, before: list[str]) -> None:
        self.conclude()
        self.publish([name for name in self.moves if name not in before])

    # What happens.

    def act(self, action: Action) -> None:
        getattr(self, action.what)(action.number)
        self.check()

    def work(self, number: int) -> None:
        """A worker takes any message, not the oldest, or comes to the end of an attempt."""
        choices = [*sorted(self.running), *self.broker]
        match choices[number % len(choices)] if choices else None:
            case None:
                self.sweep()
            case Message() as message:
                self.broker.remove(message)
                self.begin(message)
            case str(name):
                self.finish(name, self.fates[number // 8 % len(self.fates)], number)

    def work_twice(self, number: int) -> None:
        """A message is delivered and stays: it is delivered again."""
        if self.broker:
            self.begin(self.broker[number % len(self.broker)])

    def lose(self, number: int) -> None:
        if self.broker:
            self.broker.pop(number % len(self.broker))

    def sweep(self, _: int = 0) -> None:
        if lost := [name for name in self.moves if name not in self.running]:
            self.add(ExecutionRedriven(lost))
            self.conclude()
            self.publish(lost, repeated=True)

    def clock(self, _: int = 0) -> None:
        """It is late enough for the next timer to fire."""
        if not self.state.timers:
            return
        self.now = max(self.now, min(self.state.timers.values()))
        before = self.moves
        for timer, fires_at in sorted(self.state.timers.items()):
            if fires_at <= self.now:
                self.add(TimerFired(timer))
                self.model.wakes(timer)
        self.close(before)

    def answer(self, number: int) -> None:
        """Somebody decides, or the time is over."""
        if not self.state.approvals:
            return
        before, name = self.moves, sorted(self.state.approvals)[number // 4 % len(self.state.approvals)]
        step, attempt = self.workflow.step(name), self.state.step(name).attempt
        assert isinstance(step.wait, Approval)
        said = (ApprovalApproved(name, {}), ApprovalRejected(name, "no"), ApprovalExpired(name))[number % 3]
        self.add(said)
        answered = isinstance(said, ApprovalApproved)
        if answered:
            self.model.is_answered(name)
        else:
            self.model.is_left_unanswered(name)
        if not answered and isinstance(step.wait.on_timeout, Fail):
            self.add(StepFailed(name, attempt, self.now, 0.1, "refused", "no", resumable=False))
        else:
            self.add(StepCompleted(name, attempt, self.now, 0.1, {name: None}))
        self.close(before)

    def cancel(self, _: int) -> None:
        assert self.model.can_be_cancelled == (self.state.status is ExecutionStatus.RUNNING)
        if self.model.can_be_cancelled:
            self.model.is_cancelled()
            self.end(cancellation(self.workflow, self.state, "test", "no more"))
            self.publish(self.moves)

    def resume(self, _: int = 0) -> None:
        assert self.model.resumable == (_obstacle_to_resume(self.state) is None)
        if self.model.resumable:
            self.model.is_resumed()
            self.add(ExecutionResumed(_to_try_again(self.workflow, self.state)))
            self.publish(self.moves)

    def come_to_an_end(self) -> None:
        """Workers stay alive, every step succeeds, and what is lost is sent again."""
        for _ in range(100):
            if self.model.ended:
                return
            self.sweep()
            while self.broker:
                self.begin(self.broker.pop())
            for name in sorted(self.running):
                self.finish(name, "done", 0)
            self.check()
            self.clock()
            self.answer(0)
        raise AssertionError("it does not end")

    # What is always true.

    def check(self) -> None:
        self.check_against_the_model()
        self.check_that_what_may_run_neither_ended_nor_waits_for_another()
        self.check_that_it_has_ended_or_something_will_happen()
        self.check_that_its_events_and_its_row_give_it_again()

    # What is always true.

    def check_against_the_model(self) -> None:
        state, model = self.state, self.model
        assert self.moves == model.runnable
        assert status_of(self.workflow, state) == model.status
        assert (state.error.kind if state.error else None) == model.error
        assert state.resumable == model.resumable
        assert state.epoch == model.epoch
        assert state.timers.keys() == model.napping
        assert state.approvals.keys() == model.asking
        assert effects_in(self.events) == model.effects
        attempts = {name: state.tries_of(self.unit(name)).attempt for name in self.moves}
        assert attempts == {name: model.over[name] + 1 for name in self.moves}, "no two attempts have one number"

    def check_that_what_may_run_neither_ended_nor_waits_for_another(self) -> None:
        for name in self.moves:
            assert {self.state.step(step.name).status for step in self.unit(name).steps} == {StepStatus.PENDING}
        if self.state.status is ExecutionStatus.COMPENSATING:
            assert all(isinstance(self.unit(name), Undo) for name in self.moves)
            assert len(self.moves) <= 1
        else:
            pairs = [(one, other) for one in self.moves for other in self.moves if one != other]
            assert all(can_run_side_by_side(self.flow, *pair) for pair in pairs)

    def check_that_it_has_ended_or_something_will_happen(self) -> None:
        has_ended = self.state.status in ENDED
        assert has_ended == (self.state.completed_at is not None)
        assert has_ended != bool(self.moves or self.state.timers or self.state.approvals)
        assert conclusion(self.workflow, self.state) is None, "nothing is left undecided"

    def check_that_its_events_and_its_row_give_it_again(self) -> None:
        assert replay(self.events) == self.state
        assert self.stored_again().current == self.state

    def stored_again(self) -> store.Stored:
        """The row, after it has been JSON where that is what a column holds."""
        columns = store.summary(self.workflow, self.state)
        columns |= {name: json.loads(json.dumps(columns[name])) for name in ("state", "output", "error")}
        of_start = {
            "start_key": None,
            "started_by": "test",
            "inputs": {},
            "rerun_of": None,
            "created_at": self.events[0].at,
        }
        return store.Stored(
            id=UUID(int=1),
            workflow=self.workflow.name,
            version=self.workflow.version,
            total_steps=len(self.workflow.steps),
            dispatches=0,
            due_at=None,
            **columns,
            **of_start,
        )

    def check_end(self) -> None:
        """Nothing of what was ever sent is acted on any more."""
        assert_lawful(self.flow, effects_in(self.events), self.state.status, self.model.error)
        assert not any(self.is_wanted(message) for message in self.seen)


def effects_in(events: list[Event]) -> list[str]:
    effects: list[str] = []
    for event in events:
        match event.fact:
            case StepCompleted(step=name):
                effects.append(name)
            case StepCompensated(step=name):
                effects.append(f"undo_{name}")
    return effects


# Four workers vanish, the fifth is heard of, and the next one vanishes again: that is no reason to give up.
HEARD_OF_IN_BETWEEN = Plot(
    flow=[oracle.Unit("step_1", ("step_1",), attempts=2, long=True)],
    fates=("killed", "deadlock"),
    story=[Action("work", number) for number in (*(0,) * 13, 8, *(0,) * 4)],
)


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@example(plot=HEARD_OF_IN_BETWEEN)
@given(plot=plots(asks=True))
def test_any_execution_goes_and_ends_as_the_oracle_says(plot: Plot) -> None:
    note(str(plot))
    play = Play(plot)
    for action in plot.story:
        play.act(action)
    play.come_to_an_end()
    play.check_end()
    while play.model.resumable:
        play.resume()
        play.come_to_an_end()
        play.check_end()
