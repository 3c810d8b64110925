"""The pages lead where they say, the index knows all of them, and both READMEs say the same."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from tests import documented
from workflows import booking_request
from zea.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README, EN_ESPANOL = ROOT / "README.md", ROOT / "README.es.md"
INDEX = DOCS / "README.md"
PAGES = [*sorted(DOCS.rglob("*.md")), README, EN_ESPANOL, ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^([ ]*)```[^\n]*\n.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
FIRST_COLUMN = re.compile(r"^\| (`.+?`) \| ", re.MULTILINE)


def links(text: str) -> list[str]:
    """Where a page's links lead, those to other hosts left out. What is in code is not a link."""
    targets: list[str] = LINK.findall(BLOCK.sub("", text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> Iterator[str]:
    """A page's anchors, as GitHub makes them of its headings, and those that stand in it."""
    seen: dict[str, int] = {}
    prose = BLOCK.sub("", text)
    for heading in HEADING.findall(prose):
        name = anchor(heading)
        seen[name] = seen.get(name, -1) + 1
        yield f"{name}-{seen[name]}" if seen[name] else name
    yield from re.findall(r'<a id="([^"]+)">', prose)


def anchor(heading: str) -> str:
    words = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@cache
def anchors_of(page: Path) -> frozenset[str]:
    return frozenset(anchors(page.read_text()))


def is_there(target: str, page: Path) -> bool:
    path, _, fragment = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.exists():
        return False
    return not fragment or (found.suffix == ".md" and fragment in anchors_of(found))


def dead_links(text: str, page: Path) -> list[str]:
    return [target for target in links(text) if not is_there(target, page)]


def unlisted(index: str, pages: list[Path]) -> list[Path]:
    """The pages that no line of the index names; a folder in it stands for what it holds."""
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in links(index)}
    return [page for page in pages if page not in listed and page.parent not in listed - {DOCS}]


def blocks(text: str) -> list[str]:
    return [found.group() for found in BLOCK.finditer(text)]


def unknown_commands(text: str) -> list[str]:
    """What a console block of ``text`` has `zea` do, and it does not know."""
    said = "\n".join(block for block in blocks(text) if block.startswith("```console"))
    called = re.findall(r"^\$ (?:.*; )?zea ([\w-]+)", said, re.MULTILINE)
    return [command for command in called if command not in COMMANDS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page.read_text(), page) == []


def test_the_index_names_every_page() -> None:
    pages = [page for page in DOCS.rglob("*.md") if page != INDEX]
    assert len(pages) > 10
    assert unlisted(INDEX.read_text(), pages) == []


def test_the_readmes_have_the_same_commands_and_settings() -> None:
    english, spanish = (FIRST_COLUMN.findall(page.read_text()) for page in (README, EN_ESPANOL))
    assert english == spanish
    assert {row.strip("`").split()[1] for row in english if row.startswith("`zea ")} == set(COMMANDS)


def test_the_readmes_have_the_same_code() -> None:
    assert blocks(README.read_text()) == blocks(EN_ESPANOL.read_text())
    assert len(blocks(README.read_text())) > 5


def test_the_readmes_have_the_same_sections_and_links() -> None:
    english, spanish = README.read_text(), EN_ESPANOL.read_text()
    assert [mark.count("#") for mark in re.findall(r"^#+ ", english, re.MULTILINE)] == [
        mark.count("#") for mark in re.findall(r"^#+ ", spanish, re.MULTILINE)
    ]
    assert set(links(english)) - {EN_ESPANOL.name} == set(links(spanish)) - {README.name}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    assert unknown_commands(page.read_text()) == []


def test_the_concepts_name_every_table_and_no_other() -> None:
    table = re.compile(r'^    __tablename__ = "(\w+)"', re.MULTILINE)
    sources = [path for folder in ("zea", "workflows") for path in (ROOT / folder).rglob("models.py")]
    there = {name for source in sources for name in table.findall(source.read_text())}
    said = (DOCS / "concepts.md").read_text().partition("## What is in which table")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.+?`) \| ", said, re.MULTILINE) for name in re.findall(r"\w+", row)}
    assert named == there


def test_what_is_wrong_is_seen() -> None:
    wrong = "[a](nowhere.md) [b](concepts.md#nothing) [c](../zea/config.py#L1) [d](#none)\n```text\n[e](no.md)\n```\n"
    assert dead_links(wrong, INDEX) == ["nowhere.md", "concepts.md#nothing", "../zea/config.py#L1", "#none"]
    assert unlisted("[a](concepts.md) [b](decisions)", [DOCS / "new.md", DOCS / "decisions" / "0001.md"]) == [
        DOCS / "new.md"
    ]
    assert unknown_commands("```console\n$ zea list\n$ pkill x; zea dance\n```\n") == ["dance"]


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("How it holds", "how-it-holds"),
        ("What `zea doctor` says, and what to do", "what-zea-doctor-says-and-what-to-do"),
        ("Cómo resiste", "cómo-resiste"),
        ("1. The tables", "1-the-tables"),
    ],
)
def test_an_anchor_is_made_of_its_heading(heading: str, name: str) -> None:
    assert anchor(heading) == name


@pytest.mark.parametrize("page", [README, EN_ESPANOL], ids=lambda page: page.name)
def test_the_workflow_that_the_readmes_show_is_the_one_that_runs(page: Path) -> None:
    source, *_ = (block for block in documented.blocks(page) if block.runner == "tests/unit/test_docs.py")
    shown = dict(vars(booking_request))
    exec(compile(source.text, source.place, "exec", dont_inherit=True), shown)
    assert shown["booking_request"] is not booking_request.booking_request
    assert shown["booking_request"].fingerprint == booking_request.booking_request.fingerprint
    assert shown["booking_request"].subject == booking_request.booking_request.subject


def options(name: str, command: Any) -> Iterator[tuple[str, set[str]]]:
    """Each command's own, by the words that it is called with."""
    known = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    if command.callback and not getattr(command, "no_args_is_help", False):
        yield name, known - {"--help", "--install-completion", "--show-completion"}
    for word, below in getattr(command, "commands", {}).items():
        yield from options(f"{name} {word}", below)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_option(name: str) -> None:
    rows = [row.strip("`") for row in FIRST_COLUMN.findall(README.read_text()) if row.startswith("`zea ")]
    group = typer.main.get_group(import_module(COMMANDS[name].module).app)
    for words, known in options(name, group if COMMANDS[name].group else group.commands[name]):
        told = [row for row in rows if f"{row} ".startswith(f"zea {words} ")]
        if words == "archive":
            told = [row for row in told if not row.startswith("zea archive show")]
        assert {option for row in told for option in re.findall(r"--[\w-]+", row)} == known, words
