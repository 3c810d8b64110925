"""Runs the integration tests against other servers than the embedded ones: `make test-matrix`, one with `ONLY=part`.

Every row has servers of its own, in directories, on ports and with passwords of their own: a service of the machine is
left alone. What cannot be had here is said, and is no failure.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.matrix.obtaining import Obtained, obtained
from tests.matrix.rows import Row, rows_of

ROOT = Path(__file__).parents[2]
RING = ROOT / "tests" / "integration"
# Left out: they are about the embedded servers themselves.
LEFT_OUT = ("test_embedded_servers.py",)
# As in `make test`, they have the machine to themselves.
ALONE = ("test_silence.py", "test_waits_at_scale.py")
# Patient: other servers may be slower, and nobody waits for this one.
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--no-header", "--timeout", "600")
FAILED = 1


class Outcome(NamedTuple):
    """How a row went: pytest's last line of each part, and whether both ended well."""

    row: Row
    said: tuple[str, ...]
    is_well: bool
    seconds: float

    def __str__(self) -> str:
        return f"{'ok  ' if self.is_well else 'FAIL'}  {self.row.name:<44}  {'; then alone: '.join(self.said)}"


def run(row: Row) -> Outcome:
    """Both parts of the ring, its output shown as it comes."""
    print(f"\n=== {row.name}", flush=True)
    begun = time.monotonic()
    apart = [f"--ignore={RING / name}" for name in (*LEFT_OUT, *ALONE)]
    together = _pytest(row, "-n", "2", "--dist", "loadfile", str(RING), *apart)
    alone = _pytest(row, *(str(RING / name) for name in ALONE))
    parts = (together, alone)
    return Outcome(row, tuple(said for said, _ in parts), all(well for _, well in parts), time.monotonic() - begun)


def _pytest(row: Row, *arguments: str) -> tuple[str, bool]:
    command = [*PYTEST, *row.options, *arguments]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return last.strip("= "), running.returncode == 0


def report(outcomes: Sequence[Outcome], missing: Sequence[str]) -> int:
    """What is printed at the end, and the exit code: what is missing is a notice, what failed a failure."""
    print()
    for outcome in outcomes:
        print(f"{outcome}  ({outcome.seconds:.0f} s in all)")
    for each in missing:
        print(f"skipped  {each}")
    if not outcomes:
        print("Nothing was run: no other server can be had here.")
    return FAILED if any(not outcome.is_well for outcome in outcomes) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-matrix", description=__doc__)
    parser.add_argument("--only", default="", help="a part of a row's name: that row alone")
    only = parser.parse_args().only.lower()
    found: Obtained = obtained(ROOT / ".matrix")
    rows = [row for row in rows_of(found) if only in row.name.lower()]
    print("\n".join(["To be run:", *(f"  {row.name}" for row in rows)]), flush=True)
    return report([run(row) for row in rows], found.missing)


if __name__ == "__main__":
    sys.exit(main())
