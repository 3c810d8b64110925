"""`zea watch`: an execution as it goes, on a terminal as a picture that changes, elsewhere a line for each change."""

from collections.abc import Callable
from dataclasses import asdict
from time import sleep
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from workflows.engine.models import ENDED, ExecutionStatus
from workflows.engine.status import EventView, ExecutionView
from zea.cli import display
from zea.cli.app import INTERRUPTED, REFUSED
from zea.cli.executions import ExecutionId, client

app = typer.Typer()

Interval = Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")]


@app.command(epilog="Example: zea watch ID --interval 5")
def watch(
    execution_id: ExecutionId,
    interval: Interval = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each event.")] = False,
) -> None:
    """Follow an execution to its end: 0 if it completed, 1 if it failed or was cancelled."""
    # As wide as the terminal: a picture whose lines are wrapped cannot be drawn over.
    console = Console(highlight=False)
    try:
        if as_json:
            view = _follow_events(execution_id, interval, _print_json_line)
        elif console.is_terminal:
            view = _follow_live(console, execution_id, interval)
        else:
            view = _follow_events(execution_id, interval, _print_line)
            display.print_line(f"{view.status} after {view.elapsed_seconds:.3f} s")
    except KeyboardInterrupt:
        # It goes on without being watched, and how it ends is not known.
        raise typer.Exit(INTERRUPTED) from None
    if view.status != ExecutionStatus.COMPLETED:
        raise typer.Exit(REFUSED)


def _follow_live(console: Console, execution_id: ExecutionId, interval: float) -> ExecutionView:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            view = client.get_execution_status(execution_id)
            live.update(display.picture(view), refresh=True)
            if view.status in ENDED:
                break
            sleep(interval)
    display.print_end(view)
    return view


def _follow_events(execution_id: ExecutionId, interval: float, show: Callable[[EventView], None]) -> ExecutionView:
    position = 0
    while True:
        view = client.get_execution_status(execution_id)
        for event in client.events(execution_id, after=position):
            position = event.position
            show(event)
        if view.status in ENDED:
            return view
        sleep(interval)


def _print_line(event: EventView) -> None:
    display.print_line(display.event_line(event))


def _print_json_line(event: EventView) -> None:
    display.print_json_line(asdict(event))
