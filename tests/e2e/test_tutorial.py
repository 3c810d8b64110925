"""The tutorial, followed to the letter: its files are written, its commands typed, and what it shows is compared.

Nothing of it is repeated here. A block that is not run says why, in a comment above it.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import psycopg
import pytest

from tests.documented import Command, commands
from tests.e2e.conftest import CELERY_IS_READY
from tests.e2e.nodes import ProcessContainer, StartNode
from tests.terminal import Terminal
from zea.errors import DefinitionError
from zea.stack import processes

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "add-a-workflow.md"
COPIED = ("zea", "workflows", "tasks", "migrations", "celeryconfig.py", "flowerconfig.py", "pyproject.toml")

BLOCK = re.compile(
    r"(?:^\*\*`(?P<path>[^`\n]+)`\*\*(?P<change>, changed|, added)?\n\n)?"
    r"(?:^<!-- (?P<note>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
REFUSED, NOT_RUN = "each definition is refused in these words", "not run: "
ACTIVATES, STARTS_THE_SYSTEM = ". .venv/bin/activate", "zea up"
LOOKS = ("zea status", "zea events", "zea active")
PATIENCE = 20.0

# What differs from one run, or one machine, to the next → what stands for it.
VARIES = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?", "MOMENT"),
    (r"\d:\d\d:\d\d from now", "SOON"),
    # An attempt meets the limit of its transaction or that of its wait for a lock, whichever PostgreSQL sees first.
    (r"timeout: .+ \(\w{5}\): (.+), again in \d+\.\d s", r"timeout: \1, LATER"),
    (r"\+?\d+\.\d (?:ms|s)\b|\d+\.\d{3} s", "DURATION"),
    (r"worker:worker@\S+", "WORKER"),
    (r"cli:\S+", "PERSON"),
    (r"\S*/migrations/versions/[\d_]+", "migrations/versions/"),
    (r" +", " "),
)
# Branches end in any order; that their undos take the opposite one is checked in the events.
BESIDE = re.compile(r"^\d+ MOMENT \S+ (?:reserve_bed|reserve_seat|order_ticket)\b")


class Block(NamedTuple):
    """One fenced block; ``path`` is the file it goes into, ``note`` the comment above it."""

    path: str | None
    change: str | None
    note: str | None
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(**found.groupdict()) for found in BLOCK.finditer(TUTORIAL.read_text())]


def comparable(output: str) -> list[str]:
    """The lines of an output without what varies; those of steps side by side in the order of the alphabet."""
    lines = [_without_what_varies(line) for line in output.strip().splitlines()]
    groups = groupby(lines, lambda line: bool(BESIDE.match(line)))
    return [line for beside, group in groups for line in (_in_one_order(group) if beside else group)]


def _without_what_varies(line: str) -> str:
    for pattern, word in VARIES:
        line = re.sub(pattern, word, line)
    return line.strip()


def _in_one_order(lines: Iterator[str]) -> list[str]:
    return sorted(line.partition(" ")[2] for line in lines)


def agrees(shown: str, seen: str) -> bool:
    """Whether an output is what the tutorial shows; a line `…` there stands for any lines."""
    lines = [r"(?:.*\n)*?.*" if line == "…" else re.escape(line) for line in comparable(shown)]
    return re.fullmatch("\n".join(lines), "\n".join(comparable(seen))) is not None


def write(directory: Path, block: Block) -> None:
    """Put a block into its file: as the whole of it, at its end, or as the change that it describes."""
    assert block.path, f"this block goes nowhere:\n{block.text}"
    path = directory / block.path
    match block.language, block.change:
        case "python", None:
            path.write_text(block.text)
        case "python", ", added":
            gap = "\n\n" if block.text.startswith(("def ", "class ")) else "\n"
            path.write_text(f"{path.read_text()}{gap}{block.text}")
        case "python", ", changed":
            path.write_text(registering(path.read_text(), block.text))
        case "diff", ", changed":
            path.write_text(patched(path.read_text(), block.text))
        case _:
            raise AssertionError(f"what is to be done with this block?\n{block.text}")


def registering(catalog: str, change: str) -> str:
    """The catalog with one more import and one more definition; `...` stands for those that are there."""
    found = re.fullmatch(r"(from .+)\n\nregistry = Registry\(\.\.\., (\w+)\)\n", change)
    assert found, f"this does not register a definition:\n{change}"
    changed, times = re.subn(r"Registry\(([^)]+?),?\s*\)", rf"Registry(\1, {found[2]})", catalog)
    assert times == 1, "the catalog makes one registry"
    return changed.replace("from ", f"{found[1]}\nfrom ", 1)


def patched(before: str, diff: str) -> str:
    """The text with the one place that the diff shows changed."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    assert before.count(old) == 1, f"this is not in the file, or not once:\n{old}"
    return before.replace(old, new)


def follow(terminal: Terminal, command: Command) -> None:
    """Type a command and compare what it prints, again and again if it only looks: work goes on meanwhile."""
    looks, is_job = command.typed.startswith(LOOKS), command.typed.endswith("&")
    deadline = monotonic() + (PATIENCE if looks or is_job else 0.0)
    seen = terminal.type(command.typed, PATIENCE).output
    while not agrees(command.shown, seen):
        assert monotonic() < deadline, (
            f"$ {command.typed}\n--- is said to print\n{command.shown}\n--- and prints\n{seen}"
        )
        seen = (terminal.type(command.typed, PATIENCE) if looks else terminal.printed()).output


@pytest.fixture
def checkout(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the product to write the tutorial's files into; every process started from now on runs it."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, directory / name)
    environment |= {
        "PYTHONPATH": str(directory),
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "ZEA_SWEEP_INTERVAL": "5",  # as the reader has it
    }
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def start_system(start_node: StartNode, environment: dict[str, str]) -> Callable[[], None]:
    """Start what runs steps, anew if it runs: what `zea up` does, on servers that are there already."""
    running: list[ProcessContainer] = []

    def start() -> None:
        for node in running:
            node.signal("SIGTERM")
        for node in running:
            node.process.wait(PATIENCE)
        running[:] = [start_node(make(environment), CELERY_IS_READY) for make in (processes.worker, processes.sweeper)]
        for node in running:
            node.ready()

    return start


@pytest.fixture
def terminal(checkout: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(checkout, environment)
    yield opened
    opened.close()


@pytest.mark.timeout(600)  # it starts forty programs, one after the other: on a busy machine that takes its time
def test_the_tutorial_does_what_it_says(
    database: str,
    checkout: Path,
    terminal: Terminal,
    beat: ProcessContainer,
    start_system: Callable[[], None],
) -> None:
    for block in blocks():
        if block.language == "console":
            for command in commands(block.text):
                if command.typed == STARTS_THE_SYSTEM:
                    start_system()
                elif command.typed != ACTIVATES:
                    follow(terminal, command)
        elif block.path:
            write(checkout, block)
    assert_the_code_is_in_order(checkout)
    assert_what_was_done_was_undone_backwards(database)


def assert_the_code_is_in_order(checkout: Path) -> None:
    written = sorted({str(checkout / block.path) for block in blocks() if block.path and not block.change})
    for command in ("check", "format --check"):
        ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", *written]
        finished = subprocess.run(ruff, cwd=checkout, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout


def assert_what_was_done_was_undone_backwards(database: str) -> None:
    with psycopg.connect(database) as connection:
        histories = connection.execute("""
            SELECT array_agg(step ORDER BY position) FILTER (WHERE type = 'step.completed'),
                   array_agg(step ORDER BY position) FILTER (WHERE type = 'step.compensated')
            FROM workflow_events GROUP BY execution_id
            HAVING count(*) FILTER (WHERE type = 'step.compensated') > 0""").fetchall()
    assert histories
    for completed, compensated in histories:
        assert compensated == [step for step in reversed(completed) if step in compensated]


def test_every_block_is_run_or_says_why_not() -> None:
    fences = re.findall(r"^```\w+$", TUTORIAL.read_text(), re.MULTILINE)
    assert len(fences) == len(blocks())
    for block in blocks():
        is_run = block.path or (block.language == "console" and block.text.startswith("$ ")) or block.note == REFUSED
        assert is_run or (block.note or "").startswith(NOT_RUN), f"neither run nor explained:\n{block.text}"


@pytest.mark.parametrize("example", [text for each in blocks() if each.note == REFUSED for text in [each.text]])
def test_what_is_said_to_be_refused_is_refused_in_these_words(example: str) -> None:
    names: dict[str, object] = {"__name__": "tutorial"}
    for code, words in re.findall(r"(.*?)^# DefinitionError: (.+?)\n", example, re.MULTILINE | re.DOTALL):
        with pytest.raises(DefinitionError) as refused:
            exec(code, names)
        assert refused.value.message == words
