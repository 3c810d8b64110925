"""A definition that cannot work is refused when it is imported, and the error names what is wrong."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.nodes import Node, is_long, limit_of
from workflows.engine.policy import STEP_TIMEOUT, Retry
from zea.context import Failure, Personal, StepContext
from zea.errors import DefinitionError

Db = Any


@dataclass(frozen=True)
class Order:
    number: int
    note: Personal[str | None] = None


@dataclass(frozen=True)
class Price:
    price: int


def price_order(db: Db, *, number: int) -> Price:
    return Price(number * 10)


def discount(db: Db, *, price: int) -> Price:
    return Price(price - 1)


def ship(db: Db, *, price: int, ctx: StepContext) -> None: ...


def invoice(db: Db, *, price: int, copies: int = 1) -> None: ...


def define(*flow: Node) -> Workflow:
    return Workflow(name="test.TakeOrder", version=1, input=Order, flow=flow)


def test_an_argument_comes_from_the_latest_step_that_returned_it() -> None:
    workflow = define(step(price_order), step(discount), step(ship))
    assert workflow.sources == {
        "price_order": {"number": "input"},
        "discount": {"price": "price_order"},
        "ship": {"price": "discount"},
    }


def test_a_name_that_nothing_returns_is_refused() -> None:
    with pytest.raises(DefinitionError, match="step ship takes price, which nothing before it returns"):
        define(step(ship), step(price_order))


def test_an_argument_with_a_default_may_stay_unbound() -> None:
    assert define(step(price_order), step(invoice)).sources["invoice"] == {"price": "price_order"}


def test_a_branch_does_not_see_what_its_sibling_returns() -> None:
    with pytest.raises(DefinitionError, match="ship takes price"):
        define(parallel(step(price_order), step(ship)))


def test_what_follows_a_group_sees_what_its_branches_returned() -> None:
    assert define(parallel([step(price_order)]), step(ship)).sources["ship"] == {"price": "price_order"}


def test_a_name_that_two_branches_return_is_refused() -> None:
    def second_price(db: Db, *, number: int) -> Price: ...

    with pytest.raises(DefinitionError, match="two parallel branches both return price: price_order and second_price"):
        define(parallel(step(price_order), step(second_price)))


def test_a_step_name_is_unique() -> None:
    with pytest.raises(DefinitionError, match="two steps are named price_order"):
        define(step(price_order), step(price_order))


def test_a_workflow_needs_a_step() -> None:
    with pytest.raises(DefinitionError, match="at least one step"):
        define(parallel())
    with pytest.raises(DefinitionError, match="at least one step"):
        atomic()


def test_a_step_is_a_function_with_keyword_only_typed_arguments_that_returns_a_frozen_dataclass() -> None:
    def positional(db: Db, number: int) -> None: ...
    def untyped(db: Db, *, number) -> None: ...  # type: ignore[no-untyped-def]  # what is tested
    def returns_a_dict(db: Db) -> dict[str, int]: ...

    for function, complaint in [
        (positional, "must be keyword-only"),
        (untyped, "needs a type"),
        (returns_a_dict, "frozen dataclass or None"),
    ]:
        with pytest.raises(DefinitionError, match=complaint):
            step(function)


def test_a_block_is_one_unit_named_after_its_ends() -> None:
    workflow = define(atomic(step(price_order), step(discount)), step(ship))
    assert [workflow.task_name(unit) for unit in workflow.units] == [
        "take_order.price_order_to_discount",
        "take_order.ship",
    ]


def test_only_units_outside_of_groups_run_alone() -> None:
    workflow = define(step(price_order), parallel([step(discount), step(ship)]), step(invoice))
    assert workflow.alone == {"price_order", "invoice"}


def test_the_fingerprint_follows_the_shape_and_nothing_else() -> None:
    one = define(step(price_order), step(ship))
    assert one.fingerprint == define(step(price_order), step(ship)).fingerprint
    assert one.fingerprint != define(step(price_order), step(invoice)).fingerprint
    assert one.fingerprint != define(atomic(step(price_order), step(ship))).fingerprint


def unship(db: Db, *, price: int, ctx: StepContext) -> None: ...


def unprice(db: Db, *, number: int, price: int) -> None: ...


def test_an_undo_takes_what_its_step_took_and_returned() -> None:
    workflow = define(atomic(step(price_order, undo=unprice), step(discount)), step(ship, undo=unship))
    assert workflow.sources["undo_price_order"] == {"number": "input", "price": "price_order"}
    assert workflow.sources["undo_ship"] == {"price": "discount"}
    assert [(undo.name, [each.name for each in undo.steps]) for undo in workflow.undos.values()] == [
        ("undo_price_order_to_discount", ["undo_price_order"]),
        ("undo_ship", ["undo_ship"]),
    ]
    assert {"undo_ship", "undo_price_order_to_discount"} <= workflow.alone


def test_the_undos_of_a_block_are_one_unit_the_last_steps_first() -> None:
    workflow = define(atomic(step(price_order, undo=unprice), step(discount), step(ship, undo=unship)))
    (undo,) = workflow.undos.values()
    assert [each.name for each in undo.steps] == ["undo_ship", "undo_price_order"]
    assert workflow.unit("undo_price_order_to_ship") is undo


def test_an_undo_that_takes_what_is_not_there_or_returns_something_is_refused() -> None:
    def takes_more(db: Db, *, parcel: int) -> None: ...

    with pytest.raises(DefinitionError, match="step undo_ship takes parcel, which nothing before it returns"):
        define(step(price_order), step(ship, undo=takes_more))
    with pytest.raises(DefinitionError, match="its undo price_order must return None"):
        step(ship, undo=price_order)


def test_a_step_may_not_be_called_like_the_undo_of_another() -> None:
    def undo_ship(db: Db) -> None: ...

    with pytest.raises(DefinitionError, match="two steps are named undo_ship"):
        define(step(price_order), step(ship, undo=unship), step(undo_ship))


def test_a_policy_that_cannot_be_is_refused() -> None:
    for policy, complaint in [
        ({"attempts": 0}, "at least 1"),
        ({"first_delay": timedelta()}, "longer than nothing"),
        ({"longest_delay": timedelta(seconds=-1)}, "longer than nothing"),
    ]:
        with pytest.raises(DefinitionError, match=complaint):
            Retry(**policy)  # type: ignore[arg-type]  # values of several types
    with pytest.raises(DefinitionError, match="timeout must be longer than nothing"):
        step(price_order, timeout=timedelta())


def test_delays_double_up_to_the_longest_and_differ_by_a_quarter_at_most() -> None:
    retry = Retry(first_delay=timedelta(seconds=1), longest_delay=timedelta(seconds=10))
    for failures, nominal in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (500, 10)]:
        for _ in range(20):
            assert 0.75 * nominal <= retry.delay_after(failures).total_seconds() <= 1.25 * nominal
    assert len({retry.delay_after(1) for _ in range(20)}) > 1


def test_a_unit_may_take_as_long_as_its_steps_state_together() -> None:
    short, long = step(price_order, timeout=timedelta(seconds=4)), step(discount, timeout=timedelta(seconds=7))
    assert limit_of(step(price_order)) == STEP_TIMEOUT
    assert limit_of(short) == timedelta(seconds=4)
    assert limit_of(atomic(short, long)) == timedelta(seconds=11)
    assert limit_of(atomic(short, step(discount))) == STEP_TIMEOUT + timedelta(seconds=4)
    assert [is_long(unit) for unit in (short, long, atomic(short, long), step(ship))] == [False, False, True, False]


@dataclass(frozen=True)
class Envelope:
    letters: list[Personal[str]]


@dataclass(frozen=True)
class Parcel:
    order: Order


def test_a_personal_value_inside_another_value_is_refused() -> None:
    """It would be stored with the rest of it, where it can never be erased."""

    def open_envelope(db: Db) -> Envelope: ...
    def open_parcel(db: Db) -> Parcel: ...

    for function, name in [(open_envelope, "letters"), (open_parcel, "order")]:
        with pytest.raises(DefinitionError, match=f"a part of {name} is personal"):
            step(function)
    with pytest.raises(DefinitionError, match="a part of letters is personal"):
        Workflow(name="test.Post", version=1, input=Envelope, flow=[step(price_order)])


def test_the_fingerprint_covers_undos_but_not_patience() -> None:
    plain = define(step(price_order), step(ship))
    patient = define(step(price_order, retry=Retry(attempts=9), timeout=timedelta(minutes=1)), step(ship))
    assert plain.fingerprint == patient.fingerprint
    assert plain.fingerprint != define(step(price_order), step(ship, undo=unship)).fingerprint


class TestFailureHook:
    """What is called when an execution has come to nothing."""

    def define(self, hook: Any) -> Workflow:
        return Workflow(name="test.TakeOrder", version=1, input=Order, flow=[step(price_order)], on_failure=hook)

    def test_sees_the_input_and_the_failure(self) -> None:
        def apologise(db: Db, *, ctx: StepContext, number: int, failure: Failure) -> None: ...

        assert self.define(apologise).sources["apologise"] == {"number": "input"}

    def test_does_not_see_what_steps_return(self) -> None:
        def apologise(db: Db, *, price: int) -> None: ...

        with pytest.raises(DefinitionError, match="step apologise takes price"):
            self.define(apologise)

    def test_that_returns_something_is_refused(self) -> None:
        def apologise(db: Db, *, number: int) -> Price: ...

        with pytest.raises(DefinitionError, match="apologise must return None"):
            self.define(apologise)

    def test_that_is_called_like_a_step_is_refused(self) -> None:
        with pytest.raises(DefinitionError, match="two steps are named price_order"):
            self.define(_named_like_a_step())

    def test_may_change_without_a_new_version(self) -> None:
        def apologise(db: Db, *, number: int) -> None: ...

        assert self.define(apologise).fingerprint == define(step(price_order)).fingerprint


def _named_like_a_step() -> Any:
    def price_order(db: Db, *, number: int) -> None: ...

    return price_order
