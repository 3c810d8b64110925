"""Approvals and sleeps as they are written: what they bind, what a version fixes of them, and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from workflows.engine.definition import CONTINUE, HALF, Fail, Workflow, approval, atomic, sleep, step
from workflows.engine.nodes import Node, Step
from workflows.engine.policy import Setting
from zea.context import ApprovalOutcome, Personal
from zea.errors import DefinitionError

Db = Any
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Offer:
    """Who is asked, and until when it stands."""

    buyer_id: UUID
    stands_until: datetime


@dataclass(frozen=True)
class Answer:
    """What the buyer says."""

    price: int
    remark: Personal[str | None] = None


@dataclass(frozen=True)
class Sold:
    """Whether it is."""

    sold: bool


def ask(db: Db, *, buyer_id: UUID) -> Answer | None: ...


def remind(db: Db, *, buyer_id: UUID) -> None: ...


def record(db: Db, *, outcome: ApprovalOutcome, response: Answer | None) -> Sold:
    return Sold(response is not None)


def hand_over(db: Db, *, sold: bool, ask_buyer: Answer | None) -> None: ...


def answers_otherwise(db: Db) -> Sold:
    return Sold(sold=False)


def asks_for_the_outcome(db: Db, *, outcome: ApprovalOutcome) -> None: ...


def asking(**changes: Any) -> Step:
    stated: dict[str, Any] = {
        "type": "offer",
        "response": Answer,
        "assignee": "buyer_id",
        "timeout": HOUR,
        "on_timeout": CONTINUE,
        "on_reject": CONTINUE,
        "record": record,
    }
    return approval(changes.pop("name", "ask_buyer"), **{**stated, **changes})


def define(*flow: Node) -> Workflow:
    return Workflow(name="test.Sale", version=1, input=Offer, flow=flow)


def test_the_answer_and_what_was_recorded_are_in_scope_for_what_follows() -> None:
    workflow = define(asking(), step(hand_over))
    assert workflow.sources["hand_over"] == {"sold": "ask_buyer", "ask_buyer": "ask_buyer"}
    assert workflow.sources["ask_buyer"] == {"buyer_id": "input"}
    assert [each.name for each in workflow.steps] == ["ask_buyer", "hand_over"]


def test_what_is_looked_up_must_be_there() -> None:
    for node in (asking(assignee="seller_id"), sleep("rest", until="tomorrow")):
        with pytest.raises(DefinitionError, match=r"takes (seller_id|tomorrow), which nothing before it returns"):
            define(node)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "ask buyer"}, "names no wait"),
        ({"name": "input"}, "names no wait"),
        ({"response": dict}, "must be a frozen dataclass"),
        ({"timeout": timedelta()}, "longer than nothing"),
        ({"remind_after": HALF}, "both remind and remind_after"),
        ({"remind": remind}, "both remind and remind_after"),
        ({"remind": remind, "remind_after": 1.0}, "between 0 and 1"),
        ({"remind": answers_otherwise, "remind_after": HALF}, "must return None"),
        ({"request": answers_otherwise}, "must return a Answer, None, or either"),
        ({"request": asks_for_the_outcome}, "takes outcome, which nothing before it returns"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_an_approval_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        define(asking(**changes))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sleep("rest"), "state a duration, or until which moment"),
        (lambda: sleep("rest", HOUR, until="stands_until"), "state a duration, or until which moment"),
        (lambda: sleep("rest", -HOUR), "longer than nothing"),
        (lambda: sleep("a rest", HOUR), "names no wait"),
        (lambda: atomic(sleep("rest", HOUR)), "no place to wait in"),
        (lambda: Setting("patience"), "no setting 'patience'"),
        (lambda: Setting("api_port"), "api_port is no duration"),
    ],
)
def test_a_wait_that_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        make()


def test_a_setting_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from zea import config

    patience = Setting("athlete_feedback_timeout")
    monkeypatch.setenv("ZEA_ATHLETE_FEEDBACK_TIMEOUT", "PT5M")
    config.settings.cache_clear()
    try:
        assert patience.value == timedelta(minutes=5)
    finally:
        monkeypatch.undo()
        config.settings.cache_clear()


def test_a_version_fixes_what_is_asked_and_not_how_long_or_by_which_words() -> None:
    fingerprint = define(asking()).fingerprint
    patient = asking(timeout=2 * HOUR, request=ask, remind=remind, remind_after=HALF)
    assert define(patient).fingerprint == fingerprint
    for change in (
        {"type": "bid"},
        {"response": Sold},
        {"record": None},
        {"on_timeout": Fail("not_answered")},
        {"on_reject": Fail("no")},
    ):
        assert define(asking(**change)).fingerprint != fingerprint
    assert define(sleep("rest", HOUR)).fingerprint == define(sleep("rest", 2 * HOUR)).fingerprint
    assert define(sleep("rest", HOUR)).fingerprint != define(sleep("rest", until="stands_until")).fingerprint
