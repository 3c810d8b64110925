"""`zea up`: the whole system on this machine, until it is told to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from zea.cli.app import REFUSED
from zea.stack import platforms

if TYPE_CHECKING:
    from zea.stack.system import System

app = typer.Typer()


@app.command(epilog="Example: zea up --demo")
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Seed demonstration people and walk the workflows.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop after the walk, or once ready without --demo.")] = False,
) -> None:
    """Run the whole system on this machine: database, broker, API, workers, beat and Flower."""
    platforms.require_posix()
    from zea.stack.system import System  # elsewhere it cannot even be imported

    console = Console(highlight=False)
    system = System(lambda line: _report(console, line))
    with stopped_by_signals(system, console):
        interrupted = _run(system, console, demo, exit_)
    if interrupted:
        console.print("Stopped.")
    if interrupted and exit_:
        raise typer.Exit(REFUSED)


def _report(console: Console, line: str) -> None:
    """The system runs on when nobody reads any more: Rich answers a broken pipe with SystemExit."""
    with suppress(OSError, SystemExit):
        console.print(f"[yellow]{escape(line)}[/]")


def _run(system: "System", console: Console, demo: bool, exit_: bool) -> bool:
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


def _walk(system: "System", console: Console) -> bool:
    from zea.cli.demo import walk

    succeeded = walk(system.addresses.api_url, console)
    if not succeeded:
        console.print("[red]The demonstration did not complete.[/]")
    return succeeded


def _introduce(system: "System", console: Console) -> None:
    addresses, directory = system.addresses, system.directory
    login = f"{addresses.flower_user} / {addresses.flower_password}"
    for name, value in {
        "API": f"{addresses.api_url}/docs",
        "Flower": f"{addresses.flower_url} (login {login})",
        "Mail": str(directory.path / "mailbox"),
        "Logs": str(directory.logs),
    }.items():
        console.print(f"  [bold]{name:<8}[/] {escape(value)}", soft_wrap=True)


@contextmanager
def stopped_by_signals(system: "System", console: Console) -> Iterator[None]:
    """The first signal stops the system in good order, a second one hurries."""
    asked = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked or system.stopping:
            system.hurry()
            return
        asked = True
        _report(console, "Stopping; press Ctrl-C again to hurry.")
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup ignores SIGHUP on purpose
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
