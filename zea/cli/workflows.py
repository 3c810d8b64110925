"""`zea workflows`: the definitions that this release runs, drawn."""

from typing import Annotated, Any

import typer
from rich.tree import Tree

from workflows.catalog import registry
from workflows.engine.definition import Workflow
from zea.cli import display, drawing
from zea.cli.executions import AsJson, workflow_names
from zea.errors import InvalidInput

app = typer.Typer()


@app.command(epilog="Example: zea workflows BookingRequest --mermaid")
def workflows(
    name: Annotated[
        str | None, typer.Argument(help="Only this one, such as BookingRequest.", autocompletion=workflow_names)
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print Mermaid flowcharts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the definitions that this release runs: their steps, what runs side by side, and what waits for people."""
    found = [each for each in registry if name in (None, each.name, each.name.rpartition(".")[2])]
    if not found:
        known = ", ".join(sorted({each.name for each in registry}))
        raise InvalidInput(f"There is no workflow {name}; there are {known}.", "name")
    if as_json:
        display.print_json({"items": [_described(each) for each in found], "next_cursor": None})
    elif mermaid:
        typer.echo("\n".join(drawing.mermaid(each) for each in found))
    else:
        _print_trees([drawing.tree(each) for each in found])


def _print_trees(trees: list[Tree]) -> None:
    for each in trees:
        display.print_table(each)


def _described(workflow: Workflow) -> dict[str, Any]:
    return {
        "workflow_name": workflow.name,
        "workflow_version": workflow.version,
        "fingerprint": workflow.fingerprint,
        "steps": [step.name for step in workflow.steps],
        **workflow.shape,
    }
