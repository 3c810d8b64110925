"""The pages, followed to the letter on one running system: what they have typed is typed, and prints what they show.

Nothing of them is repeated here. Whatever a page shows has to be printed, but for what differs from one run, or one
machine, to the next. An id that stood in an output stands in later commands for the one that was printed in its place.
README.es.md has the same blocks as README.md, which tests/unit/test_docs.py checks.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.documented import DOCS, EN_ESPANOL, PAGES, README, ROOT, TYPED, Block, Command, blocks, commands
from tests.e2e.machine import Machine, end, started
from tests.e2e.scenes import SCENES, execute
from tests.terminal import Terminal
from tests.waiting import wait_until

# Some twenty programs for a page, one after the other: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(600)

FOLLOWED = [page for page in PAGES if page != EN_ESPANOL and any(block.runner == TYPED for block in blocks(page))]
PATIENCE = 120.0
SECRETS = {"ZEA_METRICS_TOKEN": "whoever-knows-this-may-read", "ZEA_FLOWER_BASIC_AUTH": "operator:knows-this"}

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What a page shows, and its reader finds another one of.
NAME = re.compile(rf"{UUID}|executions-[\w.]+\.jsonl\.gz")
# What a page leaves to its reader → where it is found.
PLACEHOLDERS = {
    "EXECUTION": "SELECT id FROM workflow_executions ORDER BY id DESC LIMIT 1",
    "APPROVAL": "SELECT id FROM workflow_approvals WHERE status = 'pending' ORDER BY requested_at DESC LIMIT 1",
}
# What differs from one run, or one machine, to the next → what stands for it.
VARIES = (
    (UUID, "ID"),
    (r"\d{4}_\d\d_\d\d_\w+", "MIGRATION"),
    (r"@\S+", "@HOST"),
    (r"\+?\d+(?:\.\d+)? m?s\b", "DURATION"),
    (r"\d+(?:[.:]\d+)*", "N"),
    (r" +", " "),
)
# What a page has its reader use that neither zea nor a shell brings with it.
BESIDES = ("curl", "zgrep")
# The values that a page's Python takes to be there.
GIVEN = """
from datetime import datetime
from uuid import UUID

from tests.benchmarks.seeding import customer
from zea.accounts import tokens

athlete = customer(1)
athlete_id = tokens.identify(athlete.token).user_id
request = next(athlete.requests)
coach_id, slot_datetime = UUID(request["coach_id"]), datetime.fromisoformat(request["slot_datetime"])

"""
KILLED = re.compile(r'pkill -9 -f "([^"]+)"')


def comparable(line: str) -> str:
    for pattern, word in VARIES:
        line = re.sub(pattern, word, line)
    return line.strip()


def typed_in(block: Block) -> list[Command]:
    """What a reader types of a block, or has a machine do at its time."""
    match block.language:
        case "console":
            return commands(block.text)
        case "cron":
            return [Command(line.split(maxsplit=5)[5], "") for line in block.text.splitlines()]
        case "ini":
            units = ConfigParser(interpolation=None)
            units.read_string(block.text)
            return [Command(unit["ExecStart"], "") for unit in units.values() if "ExecStart" in unit]
        case _:
            raise AssertionError(f"{block.place}: what is to be done with {block.language}?")


class Reader:
    """Somebody who follows a page at a terminal."""

    def __init__(self, system: Machine, home: Path, terminal: Terminal) -> None:
        self._system, self._home, self._terminal = system, home, terminal
        self._at_hand = ""
        self._found: dict[str, str] = {}
        self._places = {
            "127.0.0.1:8000": f"127.0.0.1:{system.api_port}",
            "127.0.0.1:5555": f"127.0.0.1:{system.flower_port}",
            "/etc/prometheus": str(home / "prometheus"),
            "/srv/zea": str(home),
        }

    def follow(self, block: Block) -> None:
        if block.scene:
            self._at_hand = SCENES[block.scene](self._system)
        match block.language:
            case "python":
                self._type(block, Command(f"python {self._written(block)}", ""))
            case "sql":
                execute(self._system, block.text)
            case _:
                for command in typed_in(block):
                    self._type(block, command)

    def _written(self, block: Block) -> Path:
        """The block as a program, with the values that it takes to be there."""
        path = self._home / "shown.py"
        path.write_text(GIVEN + block.text)
        return path

    def _type(self, block: Block, command: Command) -> None:
        typed = self._as_typed_here(command.typed)
        said, exit_code = self._terminal.type(typed, PATIENCE)
        assert exit_code == 0, f"{block.place}: $ {typed}\nends with {exit_code}\n{said}"
        missing = self._compare(command.shown, said)
        assert not missing, f"{block.place}: $ {typed}\n--- does not print\n{missing}\n--- but\n{said}"

    def _as_typed_here(self, typed: str) -> str:
        for shown, here in self._places.items():
            typed = typed.replace(shown, here)
        typed = KILLED.sub(lambda asked: f"kill -9 {self._processes(asked[1])}", typed)
        typed = NAME.sub(lambda name: self._found.get(name[0], self._at_hand), typed)
        return re.sub(rf"\b({'|'.join(PLACEHOLDERS)})\b", lambda word: self._newest(PLACEHOLDERS[word[1]]), typed)

    def _processes(self, words: str) -> str:
        """Of this system only: others on this machine may be called the same."""
        found = []
        for process in self._system.processes():
            with suppress(psutil.NoSuchProcess):
                if words in " ".join(process.cmdline()):
                    found.append(str(process.pid))
        assert found, f"no process is called {words}"
        return " ".join(found)

    def _newest(self, query: str) -> str:
        wait_until(lambda: execute(self._system, query), what=query)
        return execute(self._system, query)

    def _compare(self, shown: str, said: str) -> str:
        """The lines that are shown and were not printed; of the others it is remembered which names they have here."""
        for place, here in self._places.items():
            said = said.replace(here, place)
        left = said.splitlines()
        missing = []
        for line in shown.splitlines():
            found = next((each for each in left if comparable(each) == comparable(line)), None)
            if found is None:
                missing.append(line)
            else:
                left.remove(found)
                self._found |= zip(NAME.findall(line), NAME.findall(found), strict=True)
        return "\n".join(missing)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is: with an installation, and what other programs on a server have."""
    home = tmp_path_factory.mktemp("home")
    (home / ".venv").symlink_to(sys.prefix)
    (home / ".curlrc").write_text("fail\nsilent\n")  # an answer that says no is a failure
    (home / "prometheus").mkdir()
    for file in (DOCS / "monitoring").glob("*.yml"):
        shutil.copy(file, home / "prometheus")
    return home


@pytest.fixture(scope="module")
def system(home: Path) -> Iterator[Machine]:
    machine = Machine(home / ".zea", **SECRETS)
    up = started(machine)
    yield machine
    code = end(up)
    for process in machine.processes():
        process.kill()
    assert code == 0


@pytest.fixture
def reader(system: Machine, home: Path) -> Iterator[Reader]:
    environment = {
        **system.environment,
        "CURL_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{system.environment['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ZEA_DATA_DIR": ".zea",  # which nobody sets: it is where one is
    }
    terminal = Terminal(home, environment)
    yield Reader(system, home, terminal)
    terminal.close()


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, system: Machine, reader: Reader) -> None:
    if missing := [program for program in BESIDES if f"$ {program} " in page.read_text() and not shutil.which(program)]:
        pytest.skip(f"{', '.join(missing)}: not on this machine")
    if page != README and not execute(system, "SELECT id FROM workflow_executions LIMIT 1"):
        assert system.run("demo").returncode == 0
    for block in blocks(page):
        if block.runner == TYPED:
            reader.follow(block)


def test_what_is_not_printed_is_seen(system: Machine, reader: Reader) -> None:
    wrong = Block("docs/a.md", 1, "console", "$ echo this\nthat\n", "")
    with pytest.raises(AssertionError, match=r"docs/a.md:1: .*\n.*does not print\n.*that\n"):
        reader.follow(wrong)
    with pytest.raises(AssertionError, match="ends with 1"):
        reader.follow(wrong._replace(text="$ false\n"))
