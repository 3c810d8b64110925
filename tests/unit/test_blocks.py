"""Every block of every page is run by a test, or says why none does; what is data is parsed here."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import promql
from tests.documented import PAGES, PARSED, ROOT, RUN_BY_LANGUAGE, TYPED, Block, blocks, blocks_in, commands

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "promql": promql.parsed,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
# These two read all pages.
READS_ALL = {TYPED, PARSED}


def complaint(block: Block) -> str:
    """What is wrong about who runs a block; nothing if all is well."""
    if block.reason:
        return "" if len(block.reason.split()) > 2 else "says hardly why it is not run"
    if not block.runner:
        return "is run by nobody, and does not say why: see tests/documented.py"
    test = ROOT / block.runner
    if not test.is_file():
        return f"is said to be run by {block.runner}, which is not there"
    if block.runner not in READS_ALL and Path(block.page).name not in test.read_text():
        return f"is said to be run by {block.runner}, which does not read this page"
    return ""


@EVERY_PAGE
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    assert [f"{block.place} {said}" for block in blocks(page) if (said := complaint(block))] == []


@EVERY_PAGE
def test_no_block_is_overlooked(page: Path) -> None:
    fences = [line for line in page.read_text().splitlines() if line.lstrip().startswith(("```", "~~~"))]
    assert len(fences) == 2 * len(blocks(page))


@EVERY_PAGE
def test_data_is_what_it_says(page: Path) -> None:
    for block in blocks(page):
        if block.runner == PARSED:
            assert PARSERS[block.language](block.text) is not None, block.place


def test_each_language_is_run_where_it_says() -> None:
    assert {language for language, test in RUN_BY_LANGUAGE.items() if test == PARSED} == set(PARSERS)
    for test in READS_ALL:
        assert "tests.documented import" in (ROOT / test).read_text()


WRONG = """
```python
nobody()
```
<!-- not run: no -->
```python
hardly()
```
<!-- run by tests/unit/test_nothing.py -->
```python
missing()
```
<!-- run by tests/unit/test_waits_doc.py -->
```python
another_page()
```
"""
RIGHT = """
<!-- not run: it needs an SMTP server -->
```console
$ swaks
```
1. A list:

   <!-- beforehand: it rains -->
   ```console
   $ zea list \\
       --json
   { }
   $ zea active
   ```
<!-- every block is run by tests/unit/test_waits_doc.py -->
"""


def test_what_is_wrong_is_seen() -> None:
    complaints = [complaint(block) for block in blocks_in(WRONG, "docs/a.md")]
    assert [said.split(",")[0] for said in complaints] == [
        "is run by nobody",
        "says hardly why it is not run",
        "is said to be run by tests/unit/test_nothing.py",
        "is said to be run by tests/unit/test_waits_doc.py",
    ]


def test_what_is_right_is_read() -> None:
    first, second = blocks_in(RIGHT, "docs/wait-for-people.md")
    assert (first.reason, first.line, complaint(first)) == ("it needs an SMTP server", 3, "")
    assert (second.scene, second.runner, complaint(second)) == ("it rains", TYPED, "")
    assert commands(second.text) == [("zea list \\\n    --json", "{ }\n"), ("zea active", "")]
    (third,) = blocks_in("```python\n```\n" + RIGHT.splitlines()[-1], "docs/wait-for-people.md")
    assert (third.runner, complaint(third)) == ("tests/unit/test_waits_doc.py", "")
