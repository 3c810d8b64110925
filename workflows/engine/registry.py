"""Name and version → definition, and the check that a registered definition has not changed."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.definition import Workflow
from workflows.engine.dispatch import queue_of
from workflows.engine.nodes import Approval, Unit, is_long, limit_of
from workflows.engine.policy import STEP_TIMEOUT
from zea.errors import DefinitionError, FingerprintChanged

KINDS = ("step", "atomic", "parallel", "approval", "sleep")


class Registry:
    """The definitions that this process can run.

    Raises:
        DefinitionError: two definitions share name and version, or two workflows would share a task name.
    """

    def __init__(self, *workflows: Workflow) -> None:
        self._workflows: dict[tuple[str, int], Workflow] = {}
        prefixes: dict[str, str] = {}
        for workflow in workflows:
            if (workflow.name, workflow.version) in self._workflows:
                raise DefinitionError(f"{workflow} is registered twice.")
            if prefixes.setdefault(workflow.prefix, workflow.name) != workflow.name:
                raise DefinitionError(f"{workflow} and {prefixes[workflow.prefix]} would share their task names.")
            self._workflows[workflow.name, workflow.version] = workflow

    def __iter__(self) -> Iterator[Workflow]:
        return iter(self._workflows.values())

    def get(self, name: str, version: int) -> Workflow | None:
        """That version, or None if this process does not know it."""
        return self._workflows.get((name, version))

    def versions(self) -> list[tuple[str, int]]:
        return list(self._workflows)

    def tasks(self) -> dict[str, tuple[str, str]]:
        """Every Celery task's name → workflow name and unit name, over all versions."""
        return {
            workflow.task_name(unit): (workflow.name, unit.name)
            for workflow in self
            for unit in workflow.tasks.values()
        }

    def queues(self) -> list[str]:
        """Every queue that a step's message can go to."""
        return sorted({queue_of(task_name) for task_name in self.tasks()})

    def runs_alone(self, workflow_name: str, unit_name: str) -> bool:
        """Whether in every version that has this unit, no other unit can run beside it."""
        return all(unit_name in workflow.alone for workflow, _ in self._having(workflow_name, unit_name))

    def limit(self, workflow_name: str, unit_name: str) -> timedelta:
        """How long an attempt of this unit may take, in the version that allows most."""
        return max((limit_of(unit) for _, unit in self._having(workflow_name, unit_name)), default=STEP_TIMEOUT)

    def is_long(self, workflow_name: str, unit_name: str) -> bool:
        """Whether this unit says before it runs that it has started, in any version."""
        return any(is_long(unit) for _, unit in self._having(workflow_name, unit_name))

    def asks(self, workflow_name: str, unit_name: str) -> bool:
        """Whether this unit is an approval, in any version."""
        return any(isinstance(unit.steps[0].wait, Approval) for _, unit in self._having(workflow_name, unit_name))

    def _having(self, workflow_name: str, unit_name: str) -> Iterator[tuple[Workflow, Unit]]:
        for workflow in self:
            if workflow.name == workflow_name and (unit := workflow.unit(unit_name)):
                yield workflow, unit

    def register(self, db: Session) -> None:
        """Register what is new, and refuse what has changed without a new version.

        Raises:
            FingerprintChanged: naming the definition and what is different in it.
        """
        for workflow in self:
            store.register(db, workflow)
        self.verify(db)

    def verify(self, db: Session) -> None:
        """Refuse what has changed without a new version.

        Raises:
            FingerprintChanged: naming the definition and what is different in it.
        """
        for workflow in self:
            registered = store.registered(db, workflow)
            if registered and registered["fingerprint"] != workflow.fingerprint:
                change = _difference(registered["shape"], workflow.shape)
                raise FingerprintChanged(
                    f"{workflow} is not the one that is registered: {change}. "
                    "Give it a new version and keep the old one for the executions that run on it."
                )


def _difference(before: object, after: object) -> str:
    """The first thing that differs, in words."""
    match before, after:
        case dict(), dict() if _kind(before) != _kind(after):
            return f"{_names([before])} became {_names([after])}"
        case dict(), dict():
            changed = next(key for key in sorted(before | after) if before.get(key) != after.get(key))
            return f"{changed}: {_difference(before.get(changed), after.get(changed))}"
        case list(), list():
            return _first_difference(before, after)
        case None, dict():
            return f"{_name(after)} added"
        case dict(), None:
            return f"{_name(before)} removed"
        case _:
            return f"{before!r} became {after!r}"


def _first_difference(before: list[object], after: list[object]) -> str:
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            return f"number {index + 1}: {_difference(old, new)}"
    longer, word = (before, "removed") if len(before) > len(after) else (after, "added")
    return f"{_names(longer[min(len(before), len(after)) :])} {word}"


def _kind(entry: dict[str, object]) -> str | None:
    """What a node of a flow is; None for what is no node."""
    return next((kind for kind in KINDS if kind in entry), None)


def _names(entries: object) -> str:
    """What these nodes are called: a step by its name, others as they are written."""
    return ", ".join(_name(entry) for entry in entries) if isinstance(entries, list) else str(entries)


def _name(entry: object) -> str:
    match entry:
        case {"step": name} | {"approval": name} | {"sleep": name}:
            return str(name)
        case {"atomic": steps}:
            return f"atomic({_names(steps)})"
        case {"parallel": branches}:
            return f"parallel({', '.join(f'[{_names(branch)}]' for branch in branches)})"
    return str(entry)
