"""Takes each protection out in turn and shows that a test goes red without it: `make mutants`, one with `ONLY=name`.

Nothing here touches the working tree: each mutant is applied to a copy, and its tests run there.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants.catalogue import MUTANTS, Mutant, table

ROOT = Path(__file__).parents[2]
COPIED = ("zea", "workflows", "tasks", "migrations", "tests", "celeryconfig.py", "flowerconfig.py", "pyproject.toml")
# Two at a time at most: tests that wait for processes have deadlines.
PARALLEL = 2
ENDS_WITHIN = 180.0  # seconds for the tests of one mutant
REFERENCE_ENDS_WITHIN = 900.0

TESTS_FAILED = 1  # pytest's exit code; others mean that it could not run them
FAILURE = re.compile(r"^FAILED (\S+)(?: - (.*))?", re.MULTILINE)
# A test that fails so says that the mutant does not work at all, and nothing about what it takes out.
DOES_NOT_WORK = re.compile(
    r"\b(NameError|ImportError|ModuleNotFoundError|SyntaxError|Undefined(Column|Table|Function))\b"
)
IMPORTED_FROM = """
import celeryconfig, migrations, tasks, tests, workflows, zea
print(celeryconfig.__file__, *(each.__path__[0] for each in (migrations, tasks, tests, workflows, zea)), sep="\\n")
"""


@dataclass(frozen=True)
class Run:
    """How pytest ended, and what it said."""

    exit_code: int | None
    output: str
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: ``caught_by`` names the test that went red, ``problem`` says why none did."""

    mutant: Mutant
    seconds: float
    caught_by: str | None = None
    problem: str | None = None

    def __str__(self) -> str:
        told = self.caught_by or f"{self.problem}"
        return f"{self.mutant.name:<34} {'' if self.caught_by else '*** '}{told:<110} {self.seconds:5.1f} s"


def copied(source: Path, target: Path) -> Path:
    """A copy of what the tests need; one of a copy has its compiled modules too, which saves each mutant a second."""
    ignored = shutil.ignore_patterns(*(["__pycache__"] if source == ROOT else []))
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=ignored)
        else:
            shutil.copy2(source / name, target / name)
    return target


def environment(copy: Path) -> dict[str, str]:
    """The copy is what tests and the processes that they start import; no setting comes from outside."""
    outside = re.compile(r"ZEA_.*|DATABASE_URL|REDIS_URL|PYTEST_.*")
    kept = {name: value for name, value in os.environ.items() if not outside.fullmatch(name)}
    return {**kept, "PYTHONPATH": str(copy), "COLUMNS": "250"}


def require_that_the_copy_is_imported(copy: Path) -> None:
    """By a process that a test starts, as by the test itself, although the working tree is installed as well."""
    command = [sys.executable, "-c", IMPORTED_FROM]
    told = {**environment(copy), "REDIS_URL": "redis://localhost"}
    places = subprocess.run(command, cwd=copy, env=told, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    if elsewhere := [place for place in places if not Path(place).is_relative_to(copy)]:
        sys.exit(f"Not from the copy: {', '.join(elsewhere)}.")


def pytest(copy: Path, tests: Iterable[str], ends_within: float) -> Run:
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={copy / 'tmp'}", "--show-capture=no", "--tb=short"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    begun_at = time.monotonic()
    try:
        ran = subprocess.run(
            command, cwd=copy, env=environment(copy), capture_output=True, text=True, timeout=ends_within
        )
    except subprocess.TimeoutExpired as late:
        return Run(None, str(late), time.monotonic() - begun_at)
    return Run(ran.returncode, ran.stdout + ran.stderr, time.monotonic() - begun_at)


def apply(mutant: Mutant, copy: Path) -> None:
    path = copy / mutant.file
    path.write_text(mutant.applied_to(path.read_text()))


def judged(mutant: Mutant, run: Run) -> Verdict:
    if run.exit_code == 0:
        return Verdict(mutant, run.seconds, problem="survives: no test went red")
    failure = FAILURE.search(run.output)
    if run.exit_code != TESTS_FAILED or failure is None:
        last = run.output.strip().splitlines()[-1:]
        return Verdict(mutant, run.seconds, problem=f"broken: pytest ended with {run.exit_code}: {' '.join(last)}")
    if DOES_NOT_WORK.search(failure[2] or ""):
        return Verdict(mutant, run.seconds, problem=f"broken: {failure[2]}")
    return Verdict(mutant, run.seconds, caught_by=failure[1])


def tried(mutant: Mutant, unchanged: Path) -> Verdict:
    with TemporaryDirectory(prefix="mutant-") as directory:
        copy = copied(unchanged, Path(directory))
        apply(mutant, copy)
        verdict = judged(mutant, pytest(copy, mutant.tests, ENDS_WITHIN))
    print(verdict, flush=True)
    return verdict


def require_green(unchanged: Path, mutants: Sequence[Mutant]) -> None:
    """Without a change all of their tests pass."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    run = pytest(unchanged, tests, REFERENCE_ENDS_WITHIN)
    if run.exit_code != 0:
        sys.exit(f"{run.output}\nThese tests do not pass as it is; a mutant would prove nothing.")
    print(f"{len(tests)} tests pass as it is, in {run.seconds:.0f} s", flush=True)


def chosen(only: str) -> list[Mutant]:
    names = [name for name in only.split(",") if name]
    known: Mapping[str, Mutant] = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"There is no mutant {', '.join(unknown)}. Known are: {', '.join(known)}.")
    return [known[name] for name in names] or list(MUTANTS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="names of mutants, with commas between them")
    parser.add_argument("--table", action="store_true", help="print the table of docs/reliability.md, and run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    mutants = chosen(arguments.only)
    if stale := [problem for mutant in mutants if (problem := mutant.staleness(ROOT))]:
        sys.exit("\n".join(stale))
    begun_at = time.monotonic()
    with TemporaryDirectory(prefix="unchanged-") as directory, ThreadPoolExecutor(PARALLEL) as pool:
        unchanged = copied(ROOT, Path(directory))
        require_that_the_copy_is_imported(unchanged)
        require_green(unchanged, mutants)
        verdicts = list(pool.map(lambda mutant: tried(mutant, unchanged), mutants))
    missed = [verdict for verdict in verdicts if not verdict.caught_by]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} caught, in {time.monotonic() - begun_at:.0f} s")
    for verdict in missed:
        print(verdict)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
