"""What people are asked, from the command line: listed, answered in their place, and watched to the end."""

import io
import json
from datetime import timedelta
from uuid import UUID

import pytest
from rich.cells import cell_len
from rich.text import Text

from tests import review
from tests.integration.test_interventions_api import Zea, zea
from tests.review import client, drive, effects, pass_time, pending, types
from zea.cli import approvals, executions, interventions, watching
from zea.cli.interventions import actor
from zea.db import new_id

__all__ = ["zea"]
ANSWER = '{"stars": 4, "remark": "my left knee"}'


@pytest.fixture(autouse=True)
def commands_know_the_workflow(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    review.create_tables()
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: None)
    monkeypatch.setattr(interventions, "registry", review.registry)
    for module in (approvals, executions, watching):
        monkeypatch.setattr(module, "client", client)


@pytest.fixture
def execution(commands_know_the_workflow: None) -> UUID:
    return review.waiting()


def test_what_is_pending_is_listed_first(zea: Zea, execution: UUID) -> None:
    review.approve(execution, "ask_author")
    ran = zea("approvals")
    first, second = [line.split() for line in ran.output.splitlines()[1:]]
    asked = pending(execution, "ask_editor").approval_id
    assert first[:4] == [str(asked), "editor_judgement", f"user:{review.EDITOR}", "pending"]
    assert second[3] == "approved"
    only = json.loads(zea("approvals", "--pending", "--json").output)
    assert [each["approval_type"] for each in only["items"]] == ["editor_judgement"]


def test_a_list_goes_on(zea: Zea, execution: UUID) -> None:
    ran = zea("approvals", "--limit", "1")
    cursor = ran.output.splitlines()[-1].removeprefix("More: add --cursor ")
    assert len(json.loads(zea("approvals", "--limit", "1", "--cursor", cursor, "--json").output)["items"]) == 1


def test_an_answer_is_given_and_told(zea: Zea, execution: UUID) -> None:
    asked = pending(execution, "ask_author").approval_id
    ran = zea("approve", asked, "--data", ANSWER)
    assert ran.exit_code == 0
    assert ran.output == (f"Approved {asked}: {execution} is waiting_for_approval. Follow it: zea watch {execution}\n")
    told = pending(execution, "ask_author")
    assert (told.status, told.decided_by) == ("approved", actor())
    assert effects(execution)["ask_author_decision"] == "approved my left knee"


def test_an_answer_is_read_from_standard_input(zea: Zea, execution: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(ANSWER))
    ran = zea("approve", pending(execution, "ask_author").approval_id, "--data", "-", "--json")
    assert json.loads(ran.output)["output"]["ask_author"] == {"stars": 4, "remark": "[personal]"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "this is no JSON"),
        ("[]", "write an object"),
        ("[" * 100_000, "this is no JSON"),
        ('{"\\u001b[2J": 1}', "\ufffd[2J: There is no such field"),
        ("{}", "stars: Field required"),
        ('{"stars": 9}', "stars: Input should be less than or equal to 5"),
        ('{"stars": 5, "colour": "red"}', "colour: There is no such field"),
    ],
)
def test_a_wrong_answer_is_a_usage_error_and_changes_nothing(zea: Zea, execution: UUID, data: str, said: str) -> None:
    before = types(execution)
    ran = zea("approve", pending(execution, "ask_author").approval_id, "--data", data)
    assert (ran.exit_code, ran.output) == (2, "")
    complaint = " ".join(ran.complaint.replace("│", " ").split())
    assert "--data" in complaint
    assert said in complaint
    assert types(execution) == before


def test_a_refusal_is_told(zea: Zea, execution: UUID) -> None:
    asked = pending(execution, "ask_author").approval_id
    assert zea("reject", asked, "--reason", "no time").exit_code == 0
    told = pending(execution, "ask_author")
    assert (told.status, told.reason) == ("rejected", "no time")
    late = zea("approve", asked, "--data", ANSWER)
    assert (late.exit_code, late.output) == (1, "")
    assert "was rejected" in late.complaint


@pytest.mark.parametrize("command", [("approve", "--data", ANSWER), ("reject", "--reason", "no")], ids=lambda c: c[0])
def test_what_is_not_there_is_told(zea: Zea, command: tuple[str, ...]) -> None:
    name, *options = command
    nowhere = new_id()
    assert zea(name, nowhere, *options) == (1, "", f"zea: There is no approval {nowhere}.\n")


def test_status_and_events_tell_what_is_asked(zea: Zea, execution: UUID) -> None:
    asked = pending(execution, "ask_editor")
    shown = zea("status", execution).output
    assert f"ask_editor asks user:{review.EDITOR} until {asked.expires_at:%Y-%m-%d %H:%M:%S} UTC (" in shown
    assert f"zea approve {asked.approval_id}" in shown
    review.approve(execution, "ask_author")
    assert f"ask_author asked user:{review.AUTHOR}: approved by user:test" in zea("status", execution).output
    told = zea("events", execution).output
    assert f"ask_editor, asks user:{review.EDITOR}, until {asked.expires_at:%Y-%m-%d %H:%M:%S}" in told


class TestWatch:
    """To the end, and its exit code is how that was."""

    def test_a_completed_one_ends_with_0(self, zea: Zea, execution: UUID) -> None:
        review.approve(execution, "ask_author")
        review.approve(execution, "ask_editor")
        drive(execution)
        pass_time(execution, rest=2)
        review.fire()
        drive(execution)
        ran = zea("watch", execution)
        assert ran.exit_code == 0
        lines = ran.output.splitlines()
        assert len(lines) == len(client.events(execution)) + 1
        assert lines[-1].startswith("completed after ")

    def test_a_failed_one_ends_with_1(self, zea: Zea, execution: UUID) -> None:
        client.cancel(execution, actor="test", reason="no")
        drive(execution)
        assert zea("watch", execution).exit_code == 1

    def test_it_follows_what_happens_meanwhile(
        self, zea: Zea, execution: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def end_it(_: float) -> None:
            client.cancel(execution, actor="test", reason="no")
            drive(execution)

        monkeypatch.setattr(watching, "sleep", end_it)
        ran = zea("watch", execution, "--interval", "0.2")
        assert "approval.cancelled  ask_author" in ran.output
        assert ran.output.splitlines()[-1].startswith("cancelled after ")

    def test_leaving_it_is_no_success(self, zea: Zea, execution: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        def leave(_: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(watching, "sleep", leave)
        assert zea("watch", execution).exit_code == 130

    def test_on_a_terminal_it_is_a_picture(self, execution: UUID) -> None:
        from zea.cli import display

        console = display.console()
        with console.capture() as drawn:
            console.print(display.picture(client.get_execution_status(execution)))
        assert "waiting_for_approval, 14.3 %" in drawn.get()
        assert "ask_editor asks" in drawn.get()
        assert timedelta(days=6) < timedelta(seconds=pending(execution, "ask_editor").remaining_seconds or 0)

    def test_on_a_terminal_it_ends_with_why(self, zea: Zea, execution: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "60")
        client.cancel(execution, actor="test", reason="no")
        drive(execution)
        ran = zea("watch", execution)
        assert ran.exit_code == 1
        assert "Cancelled by test: no" in ran.output
        assert max(map(cell_len, Text.from_ansi(ran.output).plain.splitlines()[:-1])) <= 60

    def test_nothing_is_not_found(self, zea: Zea) -> None:
        assert zea("watch", new_id()).exit_code == 1


@pytest.mark.parametrize("command", ["approvals", "approve", "reject", "watch"])
def test_the_help_has_an_example(zea: Zea, command: str) -> None:
    ran = zea(command, "--help")
    assert ran.exit_code == 0
    assert f"Example: zea {command} " in ran.output
