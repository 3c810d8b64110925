"""The fenced blocks of the documentation's pages, and who runs each of them.

A block is run by the test that its language has in ``RUN_BY_LANGUAGE``, unless a comment says otherwise. Readers do not
see it; it stands in the line above the block:

``<!-- run by tests/unit/test_waits_doc.py -->``: this test takes the block out of the page and runs it;
``<!-- not run: it needs an SMTP server -->``: nothing does, and why;
``<!-- beforehand: … -->``: it is run, once a scene of ``tests/e2e/scenes.py`` was made for it.

``<!-- every block is run by … -->``, anywhere in a page, speaks for all of them that say nothing themselves.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README, EN_ESPANOL, CONTRIBUTING = ROOT / "README.md", ROOT / "README.es.md", ROOT / "CONTRIBUTING.md"
PAGES = [README, EN_ESPANOL, CONTRIBUTING, *sorted(DOCS.rglob("*.md"))]

TYPED, PARSED = "tests/e2e/test_pages.py", "tests/unit/test_blocks.py"
RUN_BY_LANGUAGE = {
    **dict.fromkeys(("console", "cron", "ini", "sql"), TYPED),
    **dict.fromkeys(("json", "promql", "toml", "yaml"), PARSED),
}

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>.*)$", re.MULTILINE)
BLOCK = re.compile(FENCE.pattern + r"\n(?P<text>(?:.*\n)*?)(?P=indent)(?P=marks)$", re.MULTILINE)
NOTE = re.compile(r"^ *<!-- (.+) -->\n\Z", re.MULTILINE)
FOR_ALL = re.compile(r"^<!-- every block is (.+) -->$", re.MULTILINE)
RUN_BY, NOT_RUN, BEFOREHAND = "run by ", "not run: ", "beforehand: "


class Block(NamedTuple):
    """One fenced block; ``note`` is what the comment above it says, or one that speaks for the whole page."""

    page: str
    line: int
    language: str
    text: str
    note: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not run; nothing if it is."""
        return self.note.removeprefix(NOT_RUN) if self.note.startswith(NOT_RUN) else ""

    @property
    def runner(self) -> str:
        """The test that runs it; nothing if it says why none does, or if nobody knows of it."""
        if self.note.startswith(RUN_BY):
            return self.note.removeprefix(RUN_BY)
        return "" if self.reason else RUN_BY_LANGUAGE.get(self.language, "")

    @property
    def scene(self) -> str:
        """What is to be so before it is run."""
        return self.note.removeprefix(BEFOREHAND) if self.note.startswith(BEFOREHAND) else ""


class Command(NamedTuple):
    """What is typed, and what it is said to print."""

    typed: str
    shown: str


def blocks(page: Path) -> list[Block]:
    return list(blocks_in(page.read_text(), str(page.relative_to(ROOT))))


def blocks_in(text: str, page: str) -> Iterator[Block]:
    for_all = FOR_ALL.search(text)
    for found in BLOCK.finditer(text):
        before = text[: found.start()]
        own = NOTE.search(before)
        said = own[1] if own and own[1].startswith((RUN_BY, NOT_RUN, BEFOREHAND)) else for_all[1] if for_all else ""
        yield Block(page, before.count("\n") + 1, found["language"].strip(), dedent(found["text"]), said)


def commands(console: str) -> list[Command]:
    """What stands behind each prompt, with the lines that a backslash continues, and what is shown below it."""
    typed = re.findall(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*\n)*)", console, re.MULTILINE)
    return [Command(*each) for each in typed]
