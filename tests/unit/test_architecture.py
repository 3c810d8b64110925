"""The house rules that can be read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("zea", "workflows", "tasks") for path in sorted((ROOT / folder).rglob("*.py"))]
AREAS = tuple(path.parent.name for path in sorted((ROOT / "zea").glob("*/service.py")))
BASE = ("config", "clock", "db", "broker", "errors", "context", "cursors", "logs", "tracing")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    """Which layer a module belongs to; longer names first."""
    match module.split("."):
        case ["zea"]:
            return "base"
        case ["zea", name, *_] if name in BASE:
            return "base"
        case ["zea", name, *_] if name in AREAS:
            return "area"
        case ["zea", "stack", *_]:
            return "stack"
        case ["zea", *_]:
            return "door"
        case ["workflows", "engine", *_]:
            return "engine"
        case ["workflows", *_]:
            return "definition"
        case ["tasks", *_]:
            return "tasks"
        case ["celeryconfig"]:
            return "celeryconfig"
    return "outside"


ALLOWED = {
    "base": {"base"},
    "area": {"base", "area"},
    "engine": {"base", "engine"},
    "definition": {"base", "area", "engine", "definition"},
    "stack": {"base", "stack"},
    "tasks": {"base", "area", "engine", "definition", "tasks"},
    "door": {"base", "area", "engine", "definition", "stack", "door"},
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    layer = layer_of(module_of(path))
    for imported in imports_of(path):
        other = layer_of(imported)
        if other != "outside":
            assert other in ALLOWED[layer], f"{module_of(path)} ({layer}) imports {imported} ({other})"


def test_the_rule_sees_a_forbidden_import() -> None:
    assert layer_of("workflows.engine.runner") not in ALLOWED[layer_of("zea.bookings.service")]
    assert layer_of("zea.bookings.service") not in ALLOWED[layer_of("workflows.engine.runner")]
    assert "tasks" not in set().union(*(ALLOWED[layer] for layer in ALLOWED if layer != "tasks"))


def attributes_used(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


@pytest.mark.parametrize(
    ("rule", "home"),
    [
        (lambda owner, name: name in ("commit", "rollback"), "zea.db"),
        (lambda owner, name: (owner, name) in {("os", "environ"), ("os", "getenv")}, "zea.config"),
        (lambda owner, name: owner.endswith("datetime") and name in ("now", "utcnow", "today"), "zea.clock"),
        (lambda owner, name: owner == "date" and name == "today", "zea.clock"),
    ],
    ids=["commit", "environment", "clock", "today"],
)
def test_one_place_for(rule, home: str) -> None:  # type: ignore[no-untyped-def]  # a lambda of two strings
    places = {module_of(path) for path in SOURCES for owner, name in attributes_used(path) if rule(owner, name)}
    assert places <= {home}


def test_every_module_says_in_a_sentence_what_lives_there() -> None:
    silent = [
        module_of(path)
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_a_definition_holds_nothing_but_its_process() -> None:
    for path in sorted((ROOT / "workflows").glob("*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert functions == [], f"{path.name} defines {functions[0].name if functions else ''}"
