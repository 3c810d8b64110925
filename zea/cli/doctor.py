"""`zea doctor`: is everything as it should be, and what to do where it is not."""

from dataclasses import asdict
from typing import Final

import typer
from rich.text import Text

from zea.cli import display
from zea.cli.app import REFUSED
from zea.cli.checkup import Checkup, Finding, Level
from zea.cli.executions import AsJson

app = typer.Typer()

COLOURS: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@app.command(epilog="Example: zea doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Check the settings, servers, processes and the work itself; 1 if something fails."""
    findings = list(Checkup().findings())
    if as_json:
        display.print_json({"items": [asdict(each) for each in findings], "next_cursor": None})
    else:
        _show(findings)
    if any(each.level is Level.FAIL for each in findings):
        raise typer.Exit(REFUSED)


def _show(findings: list[Finding]) -> None:
    table = display.new_table("", "Checked", "Found", "What to do")
    for each in findings:
        display.add_row(table, Text(each.level, COLOURS[each.level]), each.name, each.said, each.advice or "")
    display.print_table(table)
