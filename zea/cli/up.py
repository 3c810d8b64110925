"""`zea up`: the whole system on this machine, until it is told to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from zea.cli.app import REFUSED
from zea.stack.system import System

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = typer.Typer()


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Seed demonstration people and walk the workflows.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop after the walk, or once ready without --demo.")] = False,
) -> None:
    """Run the whole system on this machine: database, broker, API, workers, beat and Flower."""
    console = Console(highlight=False)
    system = System(lambda line: console.print(f"[yellow]{escape(line)}[/]"))
    with stopped_by_signals(system, console):
        interrupted = _serve(system, console, demo, exit_)
    if interrupted:
        console.print("Stopped.")
    if interrupted and exit_:
        raise typer.Exit(REFUSED)


def _serve(system: System, console: Console, demo: bool, exit_: bool) -> bool:
    """Start, walk and serve; whether a signal ended it."""
    try:
        console.print("Starting …")
        with system:
            _introduce(system, console)
            if demo and not _walk(system, console) and exit_:
                raise typer.Exit(REFUSED)
            if not exit_:
                console.print("Press Ctrl-C to stop.")
                system.wait()
    except KeyboardInterrupt:
        return True
    return False


def _walk(system: System, console: Console) -> bool:
    from zea.cli import demo

    succeeded: bool = demo.walk(system.addresses.api_url, console)
    if not succeeded:
        console.print("[red]The demonstration did not complete.[/]")
    return succeeded


def _introduce(system: System, console: Console) -> None:
    addresses, directory = system.addresses, system.directory.path
    login = f"{addresses.flower_user} / {addresses.flower_password}"
    for name, value in {
        "API": f"{addresses.api_url}/docs",
        "Console": f"{addresses.api_url}/console",
        "Flower": f"{addresses.flower_url} (login {login})",
        "Mail": str(directory / "mailbox"),
        "Logs": str(system.directory.logs),
    }.items():
        console.print(f"  [bold]{name:<8}[/] {escape(value)}", soft_wrap=True)


@contextmanager
def stopped_by_signals(system: System, console: Console) -> Iterator[None]:
    """The first signal stops the system in good order, a second one hurries."""
    asked = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            system.hurry()
            return
        asked = True
        console.print("Stopping; press Ctrl-C again to hurry.")
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, stop)
        for number in STOPPING_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup ignores SIGHUP on purpose
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
