"""docs/reliability.md names what is there: every protection, every test; and each protection can be taken out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.catalogue import AREAS, MUTANTS, Mutant, table

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reliability.md").read_text()
NAMED_TEST = re.compile(r"`((?:unit|integration|e2e)/test_\w+\.py(?:::[^`]+)?)`")


@cache
def defined_in(path: Path) -> set[str]:
    """The test functions of a file, and the classes that hold some, as pytest names them."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name, body=body):
                found |= {name, *(f"{name}::{each.name}" for each in body if isinstance(each, ast.FunctionDef))}
    return found


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.exists() and (not name or name.partition("[")[0] in defined_in(path))


def test_it_shows_every_protection_and_no_other() -> None:
    assert table() in DOCUMENT, "print the tables anew: python -m tests.mutants --table"
    shown = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert shown == [mutant.name for mutant in MUTANTS]
    assert len(set(shown)) == len(shown)
    assert re.findall(r"^### (.*)", DOCUMENT, re.MULTILINE) == list(AREAS)


def test_every_test_that_it_names_is_there() -> None:
    named = NAMED_TEST.findall(DOCUMENT)
    assert len(named) > len(MUTANTS)
    assert [test for test in named if not is_there(f"tests/{test}")] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_protection_can_be_taken_out(mutant: Mutant) -> None:
    assert mutant.staleness(ROOT) is None
    assert mutant.tests
    assert mutant.old != mutant.new
    assert [test for test in mutant.tests if not is_there(test)] == []


def test_a_stale_anchor_and_a_missing_test_are_seen() -> None:
    stale = Mutant(
        "stale", "It.", "That.", "Makefile", "no such line", "", ("tests/unit/test_planner.py::test_nothing",)
    )
    assert "Makefile has it 0 times" in (stale.staleness(ROOT) or "")
    assert not is_there(stale.tests[0])
    assert is_there("tests/unit/test_planner.py::test_steps_run_one_after_the_other")
