"""What an execution must do and come to, told a second time, so that the engine can be compared with it.

Nothing of the engine is used here. A flow is a list of nodes, one after the other; a node is a unit, or a list of flows
that run side by side. The undo of a unit, or of a step, is called ``undo_`` and its name.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

VANISHED_AT_MOST = 5


@dataclass(frozen=True)
class Unit:
    """What happens as a whole or not at all: one step, or the steps of a block.

    ``attempts`` is how often it may fail for a passing reason; one that ``naps`` waits for the clock in between, one
    that is ``long`` says beforehand that it begins. One that ``asks`` is done once somebody has answered; one that
    ``insists`` fails for good if nobody does.
    """

    name: str
    steps: tuple[str, ...]
    undoable: frozenset[str] = frozenset()
    attempts: int = 1
    naps: bool = False
    long: bool = False
    asks: bool = False
    insists: bool = False


Flow = list["Unit | list[Flow]"]


def units_of(flow: Flow) -> list[Unit]:
    found: list[Unit] = []
    for node in flow:
        found += [node] if isinstance(node, Unit) else [unit for branch in node for unit in units_of(branch)]
    return found


def turn(flow: Flow, done: Iterable[str]) -> list[str]:
    """Whose turn it is: in a list that of the first node which is not done, side by side that of every branch."""
    for node in flow:
        names = [node.name] if isinstance(node, Unit) else [name for branch in node for name in turn(branch, done)]
        if left := [name for name in names if name not in done]:
            return left
    return []


class Model:
    """An execution. It is told what happens, and says what may happen next and what has come of it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.units = {unit.name: unit for unit in units_of(flow)}
        self.history: list[str] = []  # the units and undos that were done, oldest first
        self.failed: dict[str, str] = {}  # why units and undos failed, until they are tried again
        self.napping: set[str] = set()
        self.asking: set[str] = set()
        self.failures: Counter[str] = Counter()  # for a passing reason, since it was started or resumed
        self.unheard: Counter[str] = Counter()  # attempts that said that they began, since one was heard of
        self.over: Counter[str] = Counter()  # attempts that were heard of, or never will be
        self.epoch = 1
        self.cancelled = False
        self.undoing = False
        self.ended: str | None = None

    # What may happen.

    @property
    def to_undo(self) -> list[str]:
        """The undos of what was done and can be undone, newest first."""
        undos = [f"undo_{name}" for name in reversed(self.history) if name in self.units and self.units[name].undoable]
        return [undo for undo in undos if undo not in self.history]

    @property
    def runnable(self) -> list[str]:
        if self.ended:
            return []
        next_ones = self.to_undo[:1] if self.undoing else turn(self.flow, self.history)
        return [name for name in next_ones if name not in {*self.failed, *self.napping, *self.asking}]

    def wants(self, name: str, epoch: int) -> bool:
        """Whether a message is acted on."""
        return epoch == self.epoch and name in self.runnable

    # What happens.

    def begins(self, name: str) -> bool:
        """An attempt says so before it runs; False if so many were not heard of again that it is given up."""
        if self.unheard[name] == VANISHED_AT_MOST:
            self.fails(name, "worker_lost")
            return False
        self.over[name] += self.unheard[name] > 0
        self.unheard[name] += 1
        return True

    def succeeds(self, name: str) -> None:
        self._heard_of(name)
        self.history.append(name)
        self._settle()

    def fails(self, name: str, kind: str) -> None:
        self._heard_of(name)
        self.failed[name] = kind
        self._settle()

    def fails_for_now(self, name: str, kind: str) -> None:
        self._heard_of(name)
        self.failures[name] += 1
        unit = self._unit(name)
        if self.failures[name] == unit.attempts:
            self.failed[name] = kind
        elif unit.naps:
            self.napping.add(name)
        self._settle()

    def asks(self, name: str) -> None:
        self._heard_of(name)
        self.asking.add(name)
        self._settle()

    def is_answered(self, name: str) -> None:
        self.asking.remove(name)
        self.history.append(name)
        self._settle()

    def is_left_unanswered(self, name: str) -> None:
        self.asking.remove(name)
        if self.units[name].insists:
            self.failed[name] = "refused"
        else:
            self.history.append(name)
        self._settle()

    def wakes(self, name: str) -> None:
        self.napping.remove(name)

    def is_cancelled(self) -> None:
        assert self.can_be_cancelled
        self.cancelled = True
        self._give_up()

    def is_resumed(self) -> None:
        """What failed is tried again. Once there is something undone, only its undoing goes on."""
        assert self.resumable
        self.failed = {name: why for name, why in self.failed.items() if self.undoing and name in self.units}
        self.failures.clear()
        self.epoch += 1
        self.ended = None

    # What comes of it.

    def _unit(self, name: str) -> Unit:
        return self.units[name.removeprefix("undo_")]

    def _heard_of(self, name: str) -> None:
        assert name in self.runnable
        self.unheard[name] = 0
        self.over[name] += 1

    def _settle(self) -> None:
        """While something runs there is more to come; clock and people are waited for, unless a step has failed."""
        if self.runnable or ((self.napping or self.asking) and (self.undoing or not self.failed)):
            return
        if self.undoing:
            self.ended = "cancelled" if self.cancelled and not self.to_undo else "failed"
        elif self.failed:
            self._give_up()
        else:
            self.ended = "completed"

    def _give_up(self) -> None:
        self.napping.clear()
        self.asking.clear()
        if self.to_undo:
            self.undoing = True
            self.epoch += 1
        else:
            self.ended = "cancelled" if self.cancelled else "failed"

    @property
    def status(self) -> str:
        if self.ended or self.undoing or self.runnable:
            return self.ended or ("compensating" if self.undoing else "running")
        return "waiting_for_approval" if self.asking else "sleeping"

    @property
    def error(self) -> str | None:
        """The kind of the error that it ended with: that of the first unit in flow order which failed."""
        if self.ended == "failed" and self.to_undo:
            return "compensation_failed"
        kinds = [self.failed[name] for name in self.units if name in self.failed]
        return {"failed": kinds[0] if kinds else None, "cancelled": "cancelled"}.get(self.ended or "")

    @property
    def can_be_cancelled(self) -> bool:
        return not self.ended and not self.undoing

    @property
    def resumable(self) -> bool:
        """Nobody was told "no", and nothing was undone; an undo that failed can always be tried again."""
        if self.undoing:
            return self.ended == "failed" and bool(self.to_undo)
        return self.ended == "failed" and "refused" not in self.failed.values()

    @property
    def effects(self) -> list[str]:
        """The steps and undos whose effects stand, oldest first; the last step of a block is undone first."""
        return [step for name in self.history for step in effects_of(self._unit(name), name)]


def effects_of(unit: Unit, name: str) -> list[str]:
    """What the unit does, or its undo, if that is what ``name`` is."""
    if name == unit.name:
        return list(unit.steps)
    return [f"undo_{step}" for step in reversed(unit.steps) if step in unit.undoable]


def assert_lawful(flow: Flow, effects: list[str], status: str, error: str | None) -> None:
    """Said without a model: what stands when an execution has ended, in whichever order its ``effects`` were made."""
    steps = {step: unit for unit in units_of(flow) for step in unit.steps}
    made = [effect for effect in effects if effect in steps]
    undone = [effect for effect in effects if effect not in steps]
    undoable = [f"undo_{step}" for step in reversed(made) if step in steps[step].undoable]
    assert len(set(effects)) == len(effects), "nothing is done, or undone, twice"
    assert all(made.count(step) == made.count(unit.steps[0]) for step, unit in steps.items()), "a block is whole"
    assert in_order(flow, made), "what follows something comes after all of it"
    assert undone == undoable[: len(undone)], "what is undone had stood, and the newest went first"
    assert not undone or effects == [*made, *undone], "nothing is done any more once something was undone"
    match status, error:
        case "completed", None:
            assert (len(made), undone) == (len(steps), []), "all of it stands"
        case "failed", "compensation_failed":
            assert len(undone) < len(undoable), "something is left to undo"
        case (("failed" | "cancelled"), _):
            assert undone == undoable, "all that can be undone is undone"
            assert status == "cancelled" or len(made) < len(steps)
        case _:
            raise AssertionError(f"it has not ended: {status}, {error}")


def in_order(flow: Flow, made: list[str]) -> bool:
    """Whether within each list, everything of a node was made before anything of the next one began."""
    before: list[str] = []
    for node in flow:
        of_node = [step for unit in units_of([node]) for step in unit.steps]
        begun = [made.index(step) for step in of_node if step in made]
        complete = all(step in made for step in before)
        if begun and not (complete and all(made.index(step) < min(begun) for step in before)):
            return False
        if isinstance(node, list) and not all(in_order(branch, made) for branch in node):
            return False
        before += of_node
    return True


def can_run_side_by_side(flow: Flow, one: str, other: str) -> bool:
    """Whether the two stand in different branches of a group, rather than one after the other."""
    for node in flow:
        homes = [[unit.name for unit in units_of(branch)] for branch in node] if isinstance(node, list) else []
        for branch, names in zip(node if isinstance(node, list) else [], homes, strict=True):
            if one in names and other in names:
                return can_run_side_by_side(branch, one, other)
        if any(one in names for names in homes) and any(other in names for names in homes):
            return True
    return False
