"""Lists by keyset: a page goes on after the last row seen, so none is skipped or repeated while others write."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from zea.cursors import Position, to_cursor, to_position

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


class Page(BaseModel, Generic[Item]):
    """A part of a list; ``next_cursor`` asks for what follows, and is null at the end."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted: how many, and after which row."""

    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str | None, Query(max_length=200, description="the next_cursor of the page before")] = None


Paging = Annotated[PageRequest, Depends()]


def page(
    db: Session,
    statement: Select[*tuple[Any, ...]],
    moment: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    wanted: PageRequest,
    show: Callable[..., Item],
    *,
    earliest_first: bool = False,
) -> Page[Item]:
    """The rows of ``statement`` in the order of ``moment`` and ``row_id``, newest first unless said otherwise.

    ``show`` is given each row's columns and makes its item.

    Raises:
        InvalidInput: the cursor is none that this gave out.
    """
    ordered = _ordered(statement, moment, row_id, to_position(wanted.cursor), earliest_first)
    rows = db.execute(ordered.limit(wanted.limit + 1)).all()
    shown = rows[: wanted.limit]
    more = len(rows) > wanted.limit
    return Page(items=[show(*row[:-2]) for row in shown], next_cursor=to_cursor(*shown[-1][-2:]) if more else None)


def _ordered(
    statement: Select[*tuple[Any, ...]],
    moment: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    after: Position | None,
    earliest_first: bool,
) -> Select[*tuple[Any, ...]]:
    """The statement from the position on, its last two columns being each row's own position."""
    ascending = (moment.asc(), row_id.asc())
    statement = statement.add_columns(moment.label("page_moment"), row_id.label("page_id"))
    statement = statement.order_by(*(ascending if earliest_first else (moment.desc(), row_id.desc())))
    if after is None:
        return statement
    here = tuple_(moment, row_id)
    follows: ColumnElement[bool] = here > after if earliest_first else here < after
    return statement.where(follows)
