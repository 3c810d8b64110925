"""docs/authorization.md shows the table that is enforced."""

import subprocess
import sys
from pathlib import Path

from zea.api.access import TABLE, table

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "authorization.md").read_text()
PRINT = "python -m zea.api.access"


def test_it_shows_the_table() -> None:
    assert table() in DOCUMENT, f"print the table anew: {PRINT}"
    assert DOCUMENT.count("\n| `") == len(TABLE)


def test_the_table_is_printed_as_it_says() -> None:
    assert f"`{PRINT}`" in DOCUMENT
    printed = subprocess.run([sys.executable, *PRINT.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == table() + "\n"
    assert printed.stderr == ""
