"""The `zea` command itself: which commands there are, and what their errors mean to the shell."""

import sys
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from zea.errors import ConfigurationError, Unreachable, ZeaError

REFUSED: Final = 1
INTERRUPTED: Final = 130  # 128 and the signal's number, as shells have it
USAGE: Final = 2
UNREACHABLE: Final = 3


class Entry(NamedTuple):
    """Where a command lives: the module's ``app`` holds it under its own name, or is itself the group."""

    module: str
    summary: str
    group: bool = False


UNREACHABLE_ERRORS: Final = (
    ("sqlalchemy.exc", "OperationalError"),
    ("psycopg", "OperationalError"),
    ("redis.exceptions", "ConnectionError"),
    ("kombu.exceptions", "OperationalError"),
    ("httpx", "TransportError"),
)

EXECUTIONS = "zea.cli.executions"
INTERVENTIONS = "zea.cli.interventions"
APPROVALS = "zea.cli.approvals"
COMMANDS: Final = {
    "up": Entry("zea.cli.up", "Run the whole system on this machine."),
    "demo": Entry("zea.cli.demo", "Walk through every workflow on a running system."),
    "list": Entry(EXECUTIONS, "List executions, newest first."),
    "active": Entry(EXECUTIONS, "List executions that have not ended."),
    "status": Entry(EXECUTIONS, "Show one execution."),
    "events": Entry(EXECUTIONS, "Show what happened in an execution."),
    "watch": Entry("zea.cli.watching", "Follow an execution to its end."),
    "approvals": Entry(APPROVALS, "List what people are asked, what is pending first."),
    "approve": Entry(APPROVALS, "Answer what is asked."),
    "reject": Entry(APPROVALS, "Have it go on, or fail, without an answer."),
    "resume": Entry("zea.cli.resuming", "Let failed executions go on."),
    "cancel": Entry(INTERVENTIONS, "End an execution, and undo what was completed."),
    "rerun": Entry(INTERVENTIONS, "Run an execution anew."),
    "archive": Entry("zea.cli.archive", "Move what ended long ago into a file.", group=True),
    "doctor": Entry("zea.cli.doctor", "Check whether everything is as it should be."),
    "workflows": Entry("zea.cli.workflows", "Show the definitions that this release runs."),
    "report": Entry("zea.cli.report", "Make a payment report of a period."),
    "users": Entry("zea.cli.users", "Create users.", group=True),
    "db": Entry("zea.cli.database", "Manage the database's schema.", group=True),
}


class LazyCommand(TyperCommand):
    """A command's name and summary; the module with the rest is loaded when it is called."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.summary)
        self._entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self._loaded().make_context(info_name, args, parent, **extra)

    def _loaded(self) -> Any:
        group = typer.main.get_group(import_module(self._entry.module).app)
        return group if self._entry.group else group.commands[str(self.name)]


class Commands(TyperGroup):
    """All of zea's commands, in the order of the table."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(LazyCommand(name, entry))


app = typer.Typer(
    name="zea",
    cls=Commands,
    help="Sports coaching on durable workflows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def zea(context: typer.Context) -> None:
    """Sports coaching on durable workflows."""
    # What a command starts or decides is traced as well; `zea up` does neither, its processes do.
    if context.invoked_subcommand != "up":
        from zea import tracing  # completing a command and showing its help need nothing of it

        tracing.begin("zea-cli")


def main() -> NoReturn:
    """Run the command line; an error of zea's own is one line on standard error and an exit code."""
    try:
        app(prog_name="zea")
    except ZeaError as error:
        _end(error)
    except Exception as error:
        if not _means_unreachable(error):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _end(Unreachable(f"{Unreachable().message} ({reason[0]})"))
    sys.exit(0)


def _end(error: ZeaError) -> NoReturn:
    typer.echo(f"zea: {error.message}", err=True)
    sys.exit(exit_code(error))


def _means_unreachable(error: Exception) -> bool:
    """Whether it is a library's word for a server that does not answer; only what is imported can have raised it."""
    known = (getattr(sys.modules.get(module), name, None) for module, name in UNREACHABLE_ERRORS)
    return isinstance(error, tuple(filter(None, known)))


def exit_code(error: ZeaError) -> int:
    """1 refused or failed, 3 not reachable or cannot start."""
    return UNREACHABLE if isinstance(error, ConfigurationError | Unreachable) else REFUSED
