"""A definition that cannot work is refused when it is imported, and the error names what is wrong."""

from dataclasses import dataclass
from typing import Any

import pytest

from workflows.engine.definition import Node, Workflow, atomic, parallel, step
from workflows.engine.values import Personal
from zea.context import StepContext
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
