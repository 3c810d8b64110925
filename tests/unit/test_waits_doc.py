"""docs/wait-for-people.md shows a definition that stands up to the checks at import."""

import re
from pathlib import Path
from typing import Any

from workflows.engine.definition import Workflow

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "wait-for-people.md").read_text()


def test_its_definition_is_one() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    defined: dict[str, Any] = {"__name__": "training_plan"}
    exec(compile(source, "docs/wait-for-people.md", "exec", dont_inherit=True), defined)
    plan = defined["training_plan"]
    assert isinstance(plan, Workflow)
    assert [step.name for step in plan.steps] == ["accept_plan", "until_it_begins", "begin_plan"]
    assert plan.shape["flow"][0]["on_reject"] == "fail as plan_rejected"


def test_the_settings_and_routes_that_it_names_are_there() -> None:
    from zea.config import Settings

    assert "athlete_feedback_timeout" in Settings.model_fields
    for path in re.findall(r"\((\.\./[^)]+)\)", DOCUMENT):
        assert (ROOT / "docs" / path).resolve().exists(), path
