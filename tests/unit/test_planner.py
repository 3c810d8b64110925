"""What runs next follows from the definition and the state alone; any order of completion leads to one end."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FunctionType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.events import (
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    Fact,
    StepCompleted,
    StepFailed,
    StepRetried,
)
from workflows.engine.nodes import Atomic, Node, Parallel, Step
from workflows.engine.planner import conclusion, next_moves
from workflows.engine.state import State, Tries, apply, replay

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Nothing:
    pass


def named(name: str) -> Step:
    def body(db: Any) -> None: ...

    function: Callable[..., Any] = FunctionType(body.__code__, body.__globals__, name)
    function.__annotations__ = {"db": Any, "return": None}
    return step(function)


def define(*flow: Node) -> Workflow:
    return Workflow(name="test.Flow", version=1, input=Nothing, flow=flow)


def after(*facts: Fact) -> State:
    return replay(Event(index + 1, MOMENT, "test", fact) for index, fact in enumerate(facts))


def completed(name: str) -> StepCompleted:
    return StepCompleted(name, 1, MOMENT, 0.0, {})


def failed(name: str) -> StepFailed:
    return StepFailed(name, 1, MOMENT, 0.0, "broken", "it broke", resumable=True)


def names(workflow: Workflow, state: State) -> list[str]:
    return [unit.name for unit in next_moves(workflow, state)]


def test_steps_run_one_after_the_other() -> None:
    workflow = define(named("a"), named("b"))
    assert names(workflow, after()) == ["a"]
    assert names(workflow, after(completed("a"))) == ["b"]
    assert names(workflow, after(completed("a"), completed("b"))) == []


def test_branches_run_side_by_side_and_what_follows_waits_for_all() -> None:
    workflow = define(parallel([named("a"), named("b")], named("c")), named("d"))
    assert names(workflow, after()) == ["a", "c"]
    assert names(workflow, after(completed("a"))) == ["b", "c"]
    assert names(workflow, after(completed("a"), completed("b"))) == ["c"]
    assert names(workflow, after(completed("a"), completed("b"), completed("c"))) == ["d"]


def test_groups_of_no_branch_and_of_one_behave_like_groups_of_two() -> None:
    assert names(define(parallel(), named("d")), after()) == ["d"]
    assert names(define(parallel([]), named("d")), after()) == ["d"]
    assert names(define(parallel(named("a")), named("d")), after(completed("a"))) == ["d"]


def test_an_execution_is_completed_when_every_step_is() -> None:
    workflow = define(named("a"), parallel(named("b"), named("c")))
    assert conclusion(workflow, after(completed("a"), completed("b"))) is None
    assert conclusion(workflow, after(completed("a"), completed("b"), completed("c"))) == ExecutionCompleted()


def test_a_failed_step_ends_a_sequence_with_its_reason() -> None:
    ending = conclusion(define(named("a"), named("b")), after(failed("a")))
    assert ending == ExecutionFailed("a", "broken", "it broke", resumable=True)


def test_the_other_branches_go_on_to_their_end_before_the_execution_fails() -> None:
    workflow = define(parallel(named("a"), [named("b"), named("c")]), named("d"))
    half = after(failed("a"), completed("b"))
    assert names(workflow, half) == ["c"]
    assert conclusion(workflow, half) is None
    assert isinstance(conclusion(workflow, after(failed("a"), completed("b"), completed("c"))), ExecutionFailed)


def test_a_retried_step_may_run_again_with_the_next_attempt() -> None:
    workflow = define(named("a"))
    state = after(StepRetried("a", 1, "database_error", "deadlock", 0.2))
    assert names(workflow, state) == ["a"]
    assert state.tries_of(workflow.units[0]) == Tries(attempt=2, failures=1)


def test_nothing_runs_after_the_end() -> None:
    workflow = define(named("a"), named("b"))
    state = after(failed("a"), ExecutionFailed("a", "broken", "it broke", resumable=True))
    assert names(workflow, state) == []
    assert conclusion(workflow, state) is None


def flows(depth: int) -> st.SearchStrategy[list[Any]]:
    """Flows as nested lists: "s" a step, ("atomic", n) a block, [[...], ...] a group."""
    leaf = st.one_of(st.just("s"), st.tuples(st.just("atomic"), st.integers(1, 3)))
    node = leaf if depth == 0 else st.one_of(leaf, st.lists(flows(depth - 1), max_size=3))
    return st.lists(node, max_size=4)


def build(drawn: list[Any], prefix: str = "s") -> list[Node]:
    nodes: list[Node] = []
    for index, each in enumerate(drawn):
        name = f"{prefix}_{index}"
        match each:
            case "s":
                nodes.append(named(name))
            case ("atomic", int(size)):
                nodes.append(atomic(*(named(f"{name}_{part}") for part in range(size))))
            case _:
                nodes.append(parallel(*(build(branch, f"{name}_{number}") for number, branch in enumerate(each))))
    return nodes


def order_respected(nodes: list[Node] | tuple[Node, ...], done: list[str]) -> bool:
    """The oracle: within a sequence, everything of one node is done before anything of the next."""
    last = -1
    for node in nodes:
        steps = steps_of(node)
        places = [done.index(name) for name in steps]
        if places and min(places) < last:
            return False
        if isinstance(node, Parallel) and not all(order_respected(branch, done) for branch in node.branches):
            return False
        last = max([last, *places])
    return True


def steps_of(node: Node) -> list[str]:
    if isinstance(node, Step | Atomic):
        return [each.name for each in node.steps]
    return [name for branch in node.branches for inner in branch for name in steps_of(inner)]


@given(drawn=flows(2), choices=st.lists(st.integers(0, 10**6), min_size=120, max_size=120))
def test_any_flow_ends_in_any_order_of_completion_with_every_step_done_once(
    drawn: list[Any], choices: list[int]
) -> None:
    nodes = [named("first"), *build(drawn)]
    workflow = define(*nodes)
    state, done = after(), list[str]()
    while moves := next_moves(workflow, state):
        unit = moves[choices[len(done) % len(choices)] % len(moves)]
        for each in unit.steps:
            state = apply(state, Event(state.position + 1, MOMENT, "test", completed(each.name)))
            done.append(each.name)
    assert sorted(done) == sorted(each.name for each in workflow.steps)
    assert order_respected(nodes, done)
    assert conclusion(workflow, state) == ExecutionCompleted()
