"""Any valid flow: drawn by Hypothesis for the oracle to judge, and built as a workflow for the engine to run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from tests.unit.oracle import Flow, Unit, units_of
from workflows.engine.definition import CONTINUE, Fail, Workflow, approval, atomic, parallel, step
from workflows.engine.nodes import Node, Step
from workflows.engine.policy import DEFAULT_RETRY, Retry
from zea.context import StepContext

NAME = "test.Drawn"
MOST_UNITS = 8
# A unit that naps waits for longer than a message is held back; one that does not comes back at once.
NAP, PAUSE = timedelta(minutes=2), timedelta(milliseconds=200)
LONG = timedelta(seconds=60)

Act = Callable[[Any, StepContext], None]


@dataclass(frozen=True)
class Nothing:
    """The input of a drawn workflow, and every answer; whoever is asked is the same person."""

    who: UUID = field(default_factory=lambda: UUID(int=1))


class _Drawing:
    """Turns bytes into a flow."""

    def __init__(self, drawn: bytes, undone: str, asks: bool) -> None:
        self._bytes = iter(drawn)
        self._undone = undone
        self._asks = asks
        self._numbers = count(1)
        self.flow = self._list(depth=0)

    def _list(self, depth: int) -> Flow:
        """Nodes up to a mark that ends the list, or to the end of what is drawn."""
        flow: Flow = []
        for byte in self._bytes:
            match byte % 8:
                case 6 | 7 if depth:
                    break
                case 4 | 5 | 6 | 7 if depth < 3:
                    flow.append([self._list(depth + 1) for _ in range((2, 3, 2, 2, 1, 0)[byte // 8 % 6])])
                case _ if (number := next(self._numbers)) <= MOST_UNITS:
                    flow.append(self._unit(number, byte // 8, next(self._bytes, 0)))
        return flow

    def _unit(self, number: int, marks: int, more: int) -> Unit:
        # What a queue of its own is routed by.
        stem = f"notify_{number}" if more & 1 else f"step_{number}"
        if self._asks and more & 128:
            # What asks is tried again like any step that states nothing of that.
            return Unit(stem, (stem,), attempts=DEFAULT_RETRY.attempts, asks=True, insists=bool(marks & 1))
        size = (1, 1, 2, 3)[more // 2 % 4]
        steps = tuple(f"{stem}{letter}" for letter in "abc"[:size]) if size > 1 else (stem,)
        undoable = {"all": steps, "some": [name for place, name in enumerate(steps) if marks >> place & 1], "none": ()}
        return Unit(
            name=f"{steps[0]}_to_{steps[-1]}" if size > 1 else stem,
            steps=steps,
            undoable=frozenset(undoable[self._undone]),
            attempts=1 + more // 8 % 3,
            naps=bool(more & 32),
            long=bool(more & 64),
        )


# What one attempt comes to. A worker that is killed says nothing of it.
FATES = {
    "anything": ("done", "done", "done", "done", "deadlock", "deadlock", "unexpected_error", "refused", "killed"),
    "failing": ("done", "done", "done", "done", "deadlock", "unexpected_error", "refused"),
    "mending": ("done", "done", "done", "deadlock", "unexpected_error"),
    "flaky": ("done", "deadlock"),
    "deadly": ("done", "killed", "killed"),
    "calm": ("done",),
}
# Mostly work, in any order; in between everything else that can come over an execution.
UNDISTURBED = (*("work",) * 12, *("work_twice",) * 2, "lose", "sweep", "clock", "resume")
ANSWERED = (*UNDISTURBED, *("answer",) * 4)
CANCELLED = (*UNDISTURBED * 2, "cancel")
CANCELLED_OR_ANSWERED = (*ANSWERED * 2, "cancel")


class Action(NamedTuple):
    """Something that happens, and a number up to 255 for what is left open: to which of several, and how it ends."""

    what: str
    number: int


@dataclass(frozen=True)
class Plot:
    """A flow, what its attempts come to, and what happens, one after the other."""

    flow: Flow
    fates: tuple[str, ...]
    story: list[Action]


def plots(longest: int = 90, *, asks: bool = False) -> st.SearchStrategy[Plot]:
    """Anything, with so many actions at the most; with units that ask somebody, if ``asks``.

    It is drawn as one run of bytes, because Hypothesis repeats itself where it draws several things.
    """
    return st.binary(min_size=80, max_size=36 + 2 * longest).map(partial(_plot, asks=asks))


def _plot(drawn: bytes, *, asks: bool) -> Plot:
    fates, undone, words, size, drawn = *drawn[:4], drawn[4:]
    # Only what has done nothing that can be undone is ever resumed.
    flow = _Drawing(drawn[: 4 + size % 28], ("some", "all", "none")[undone % 3], asks).flow
    calm, cancelled = (ANSWERED, CANCELLED_OR_ANSWERED) if asks else (UNDISTURBED, CANCELLED)
    words = (calm, calm, cancelled)[words % 3]
    story = [Action(words[what % len(words)], number) for what, number in zip(drawn[32::2], drawn[33::2], strict=False)]
    return Plot(
        flow if units_of(flow) else [Unit("step_1", ("step_1",))], list(FATES.values())[fates % len(FATES)], story
    )


def workflow_of(flow: Flow, act: Act, version: int = 1) -> Workflow:
    """The workflow whose steps, and their undos, all call ``act``."""
    return Workflow(name=NAME, version=version, input=Nothing, flow=_nodes(flow, act))


def _nodes(flow: Flow, act: Act) -> list[Node]:
    return [
        _unit_node(node, act) if isinstance(node, Unit) else parallel(*(_nodes(branch, act) for branch in node))
        for node in flow
    ]


def _unit_node(unit: Unit, act: Act) -> Node:
    if unit.asks:
        unanswered = Fail("refused") if unit.insists else CONTINUE
        return approval(
            unit.name,
            type="anything",
            response=Nothing,
            assignee="who",
            timeout=LONG,
            request=_function(unit.name, act),
            on_timeout=unanswered,
            on_reject=unanswered,
        )
    steps = [_step(unit, name, act) for name in unit.steps]
    return steps[0] if unit.name == unit.steps[0] else atomic(*steps)


def _step(unit: Unit, name: str, act: Act) -> Step:
    return step(
        _function(name, act),
        undo=_function(f"undo_{name}", act) if name in unit.undoable else None,
        retry=Retry(attempts=unit.attempts, first_delay=NAP if unit.naps else PAUSE),
        timeout=LONG if unit.long else None,
    )


def _function(name: str, act: Act) -> Callable[..., None]:
    def body(db: Any, *, ctx: StepContext) -> None:
        act(db, ctx)

    body.__name__ = name
    return body
