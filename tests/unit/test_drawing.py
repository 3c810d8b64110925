"""`zea workflows`: what a definition looks like."""

import json
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.review import review
from workflows.catalog import registry
from workflows.engine.definition import Workflow
from zea.cli import drawing
from zea.cli.app import app
from zea.errors import InvalidInput

EVERY = pytest.mark.parametrize("workflow", list(registry), ids=str)


def drawn(workflow: Workflow) -> str:
    console = Console(width=200)
    with console.capture() as found:
        console.print(drawing.tree(workflow))
    return found.get()


def edges(chart: str) -> set[tuple[str, str]]:
    """The arrows of a chart; one that ends at a block leads to its first step."""
    first = dict(re.findall(r"subgraph (\w+)\[.*\n +(\w+)\[", chart))
    arrows = (line.split(" --> ") for line in chart.splitlines() if " --> " in line)
    return {(before.strip(), first.get(after.strip(), after.strip())) for before, after in arrows}


@EVERY
def test_a_tree_has_every_step_in_order(workflow: Workflow) -> None:
    text = drawn(workflow)
    places = [text.index(f" {step.name}") for step in workflow.steps]
    assert places == sorted(places)
    assert str(workflow) in text


@EVERY
def test_a_chart_has_every_step_and_no_stranger(workflow: Workflow) -> None:
    chart = drawing.mermaid(workflow)
    names = {step.name for step in workflow.steps}
    assert {after for _, after in edges(chart)} == names
    assert {before for before, _ in edges(chart)} <= names | {"begin"}
    assert chart.count("subgraph") == chart.count("\n    end")


def test_an_arrow_ends_at_the_edge_of_a_block_and_crosses_no_title() -> None:
    (booking,) = (each for each in registry if each.name == "zea_sport.BookingRequest")
    assert "begin --> validate_slot_to_confirm_booking\n" in drawing.mermaid(booking)


def test_branches_of_a_chart_meet_again() -> None:
    (completion,) = (each for each in registry if each.name == "zea_sport.SessionCompletion")
    assert edges(drawing.mermaid(completion)) == {
        ("begin", "record_time"),
        ("record_time", "request_athlete_feedback"),
        ("record_time", "request_coach_evaluation"),
        ("request_athlete_feedback", "finalize_session"),
        ("request_coach_evaluation", "finalize_session"),
    }


def test_a_tree_says_what_is_waited_for_and_what_a_failure_does() -> None:
    texts = {each.name.rpartition(".")[2]: drawn(each) for each in registry}
    assert "asks athlete_id for athlete_session_feedback, 2 days, reminds after 50% of it" in texts["SessionCompletion"]
    assert "without an answer it fails as profile_not_completed" in texts["AthleteOnboarding"]
    assert "enable_booking_capability (undo: disable_booking_capability)" in texts["AthleteOnboarding"]
    assert "on failure: tell_of_failed_booking" in texts["BookingRequest"]
    assert "export_csv, at most 0:10:00" in texts["PaymentReport"]


def test_sleeps_and_longer_branches_are_drawn() -> None:
    text = drawn(review)
    assert "rest: sleeps for 1:00:00" in text
    assert "until_printed_at: sleeps until printed_at" in text
    assert text.index("one after the other") < text.index("ask_editor") < text.index("thank")
    assert {("ask_editor", "thank"), ("thank", "rest"), ("ask_author", "rest")} <= edges(drawing.mermaid(review))


@pytest.mark.parametrize("name", ["BookingRequest", "zea_sport.BookingRequest"])
def test_one_is_shown_by_either_name(name: str) -> None:
    said = CliRunner().invoke(app, ["workflows", name, "--json"])
    (found,) = json.loads(said.stdout)["items"]
    assert (found["workflow_name"], found["workflow_version"]) == ("zea_sport.BookingRequest", 1)
    assert found["steps"][0] == "validate_slot"


def test_all_are_shown_unless_one_is_named() -> None:
    said = CliRunner().invoke(app, ["workflows"]).stdout
    assert all(str(each) in said for each in registry)
    assert CliRunner().invoke(app, ["workflows", "--mermaid"]).stdout.count("flowchart TD") == len(list(registry))


def test_an_unknown_one_is_refused_with_those_that_there_are() -> None:
    refused = CliRunner().invoke(app, ["workflows", "Bokings"])
    assert isinstance(refused.exception, InvalidInput)
    assert "zea_sport.BookingRequest" in str(refused.exception)
