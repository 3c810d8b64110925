"""Definitions as pictures: as a tree on a terminal, and as a Mermaid flowchart (mermaid.js.org, flowchart syntax)."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from rich.text import Text
from rich.tree import Tree

from workflows.engine.definition import Workflow
from workflows.engine.nodes import Approval, Atomic, Continuation, Duration, Fail, Node, Parallel, Sleep, Step
from workflows.engine.policy import Setting

# Tree


def tree(workflow: Workflow) -> Tree:
    """The flow, from top to bottom."""
    subject = f"  about {workflow.subject}" if workflow.subject else ""
    drawn = Tree(Text(f"{workflow}{subject}", "bold"))
    _grow(drawn, workflow.flow)
    if hook := workflow.failure_hook:
        drawn.add(Text(f"on failure: {hook.name}", "dim"))
    return drawn


def _grow(drawn: Tree, nodes: Iterable[Node]) -> None:
    for node in nodes:
        match node:
            case Step():
                drawn.add(Text(described(node)))
            case Atomic():
                _grow(drawn.add(Text("all or nothing", "cyan")), node.steps)
            case Parallel():
                _grow_branches(drawn.add(Text("side by side", "cyan")), node.branches)


def _grow_branches(drawn: Tree, branches: Sequence[Sequence[Node]]) -> None:
    for branch in branches:
        single = len(branch) == 1
        _grow(drawn if single else drawn.add(Text("one after the other", "cyan")), branch)


def described(step: Step) -> str:
    """The step, and what it waits for, or how it is undone."""
    match step.wait:
        case Approval() as wait:
            return f"{step.name}: asks {wait.assignee.name} for {wait.approval_type}, {_terms(wait)}"
        case Sleep() as wait:
            until = f"until {wait.until.name}" if wait.until else f"for {_duration(wait.duration)}"
            return f"{step.name}: sleeps {until}"
    timeout = f", at most {_duration(step.timeout)}" if step.timeout else ""
    undo = f" (undo: {step.undo.function.__name__})" if step.undo else ""
    return f"{step.name}{timeout}{undo}"


def _terms(wait: Approval) -> str:
    remind = f", reminds after {wait.remind_after:.0%} of it" if wait.remind_after else ""
    return (
        f"{_duration(wait.timeout)}{remind};"
        f" without an answer it {_continuation(wait.on_timeout)}, rejected it {_continuation(wait.on_reject)}"
    )


def _continuation(continuation: Continuation) -> str:
    return f"fails as {continuation.kind}" if isinstance(continuation, Fail) else "goes on"


def _duration(duration: Duration | None) -> str:
    found = duration.value if isinstance(duration, Setting) else duration or timedelta()
    return str(found).removesuffix(", 0:00:00")


# Mermaid


def mermaid(workflow: Workflow) -> str:
    """The flow as a flowchart: blocks are subgraphs, branches lie side by side."""
    lines = ["flowchart TD", f'    begin(["{workflow}"])']
    lines += _charted(workflow.flow, ["begin"], "    ")
    return "\n".join(lines)


def _charted(nodes: Iterable[Node], before: list[str], indent: str) -> Iterator[str]:
    """Lines for the nodes, each reached from what is ``before`` it; ``before`` is what comes last, afterwards."""
    for node in nodes:
        match node:
            case Step():
                yield from _step(node, before, indent)
            case Atomic():
                yield from _block(node, before, indent)
            case Parallel():
                yield from _branches(node, before, indent)


def _step(step: Step, before: list[str], indent: str) -> Iterator[str]:
    left, right = ("{{", "}}") if step.wait else ("[", "]")
    yield f'{indent}{step.name}{left}"{step.name}"{right}'
    yield from (f"{indent}{each} --> {step.name}" for each in before)
    before[:] = [step.name]


def _block(block: Atomic, before: list[str], indent: str) -> Iterator[str]:
    inside: list[str] = []
    yield f'{indent}subgraph {block.name}["all or nothing"]'
    yield from _charted(block.steps, inside, indent + "    ")
    yield f"{indent}end"
    # To the block's edge: an arrow to its first step would cross the title.
    yield from (f"{indent}{each} --> {block.name}" for each in before)
    before[:] = inside


def _branches(node: Parallel, before: list[str], indent: str) -> Iterator[str]:
    ends: list[str] = []
    for branch in node.branches:
        last = list(before)
        yield from _charted(branch, last, indent)
        ends += last
    before[:] = ends
