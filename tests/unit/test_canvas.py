"""Messages carry ids, chains end where units run side by side, and what a chain carries can be told from it."""

import json
from dataclasses import replace
from uuid import UUID

from celery.canvas import Signature

from tests.unit.test_planner import define, named
from workflows.engine.canvas import canvas, carried
from workflows.engine.definition import Workflow, parallel
from workflows.engine.nodes import Node

EXECUTION = UUID("01890000-0000-7000-8000-000000000001")


def drawn(workflow: Workflow, *unit_names: str) -> Signature | None:
    moves = [unit for name in unit_names if (unit := workflow.unit(name))]
    return canvas(workflow, moves, EXECUTION, epoch=3)


def outline(signature: dict[str, object]) -> object:
    """A signature as nested names: a list is a chain, a set a group."""
    tasks = signature["kwargs"].get("tasks", [])  # type: ignore[attr-defined]  # a signature is a dict of any
    match signature["task"]:
        case "celery.chain":
            return [outline(each) for each in tasks]
        case "celery.group":
            return frozenset(str(outline(each)) for each in tasks)
        case name:
            return str(name).removeprefix("flow.")


def outline_from(unit_name: str, *flow: Node) -> object:
    signature = drawn(define(*flow), unit_name)
    assert signature is not None
    return outline(json.loads(json.dumps(signature)))


def test_a_step_and_what_follows_it_is_a_chain() -> None:
    assert outline_from("a", named("a"), named("b"), named("c")) == ["a", "b", "c"]
    assert outline_from("b", named("a"), named("b"), named("c")) == ["b", "c"]


def test_a_chain_ends_where_units_run_side_by_side() -> None:
    flow = (named("a"), named("b"), parallel(named("c"), named("d")), named("e"))
    assert outline_from("a", *flow) == ["a", "b"]
    assert outline_from("b", *flow) == "b"


def test_a_branch_goes_to_its_own_end() -> None:
    flow = (parallel([named("a"), named("b")], named("c")), named("d"))
    assert outline_from("a", *flow) == ["a", "b"]
    assert outline_from("b", *flow) == "b"
    assert outline_from("d", *flow) == "d"


def test_several_moves_are_a_group() -> None:
    signature = drawn(define(parallel(named("a"), [named("b"), named("c")])), "a", "b")
    assert signature is not None
    assert outline(signature) == frozenset({"a", "['b', 'c']"})


def test_no_move_is_no_canvas() -> None:
    assert canvas(define(named("a")), (), EXECUTION, epoch=1) is None


def test_messages_hold_ids_only() -> None:
    signature = drawn(define(named("a")), "a")
    assert signature is not None
    assert (signature.task, signature.args, signature.kwargs) == ("flow.a", (str(EXECUTION), 3), {})


def test_what_a_chain_carries_is_its_next_link() -> None:
    signature = drawn(define(named("a"), named("b"), named("c")), "a")
    assert signature is not None
    # Celery hands a task the rest of its chain, the next link last.
    rest = json.loads(json.dumps(signature.tasks[1:]))[::-1]
    assert carried(rest) == {"flow.b"}
    assert carried(None) == carried([]) == frozenset()


def test_what_is_dispatched_again_says_so_and_what_follows_it_does_not() -> None:
    workflow = define(named("a"), named("b"))
    signature = canvas(workflow, workflow.units[:1], EXECUTION, epoch=3, dispatches=2)
    assert signature is not None
    assert [link["args"] for link in signature.tasks] == [(str(EXECUTION), 3, 2), (str(EXECUTION), 3)]


def test_an_undo_is_sent_alone() -> None:
    undone = replace(named("a"), undo=replace(named("undo_a"), undoes="a"))
    assert outline_from("undo_a", undone, named("b")) == "undo_a"
