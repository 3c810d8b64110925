"""Idempotency keys: a repeated POST joins the first one's work instead of doing it again.

The key is written in the transaction of the work itself. Work that fails takes its key along, and a second request that
comes while the first is at work waits on the key's row until the first is committed or rolled back.
"""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, delete, func, null, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from zea.api.models import IdempotencyKey
from zea.config import settings
from zea.errors import IdempotencyKeyReused

KEPT = timedelta(hours=24)
# A request may find a key at its last moment and read it a moment later.
GRACE = timedelta(hours=1)
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A caller's request on one route, under the key that the caller gave it, if any.

    ``body`` is the request as it was understood: how its JSON was written does not matter.
    """

    key: str | None
    caller: str
    route: str
    body: BaseModel


class NoBody(BaseModel):
    """The body of a request that sends none: with one key, all of them are the same."""


def idempotent(db: Session, request: KeyedRequest, answer_type: type[Answer], create: Callable[[], Answer]) -> Answer:
    """Create and answer, or give the answer that the key's first request was given.

    Raises:
        IdempotencyKeyReused: the key stands for another request.
    """
    if request.key is None:
        return create()
    first = _claim(db, request)
    if first is not None:
        return answer_type.model_validate(first.answer)
    answer = create()
    db.execute(update(IdempotencyKey).where(_is_key_of(request)).values(answer=answer.model_dump(mode="json")))
    return answer


def claim(db: Session, request: KeyedRequest, execution_id: UUID) -> UUID:
    """The execution that the request's key stands for: the given one when it is new, else the first request's.

    Raises:
        IdempotencyKeyReused: the key stands for another request.
    """
    if request.key is None:
        return execution_id
    first = _claim(db, request, execution_id)
    if first is None:
        return execution_id
    if first.execution_id is None:
        raise IdempotencyKeyReused
    return first.execution_id


def prune(db: Session, limit: int) -> int:
    """Remove at most ``limit`` keys that stand for nothing any more; answers how many that were."""
    key = (IdempotencyKey.caller, IdempotencyKey.route, IdempotencyKey.key)
    old = (
        select(*key)
        .where(IdempotencyKey.created_at < func.statement_timestamp() - (KEPT + GRACE))
        .order_by(IdempotencyKey.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    removing = delete(IdempotencyKey).where(tuple_(*key).in_(select(old))).returning(IdempotencyKey.key)
    return len(db.scalars(removing).all())


def _claim(db: Session, request: KeyedRequest, execution_id: UUID | None = None) -> IdempotencyKey | None:
    """Take the key for this request. None when it is taken; else what the first request left."""
    request_hash = _hash(request.body)
    if _insert(db, request, request_hash, execution_id):
        return None
    first = db.scalars(select(IdempotencyKey).where(_is_key_of(request))).one()
    if not hmac.compare_digest(first.request_hash, request_hash):
        raise IdempotencyKeyReused
    return first


def _insert(db: Session, request: KeyedRequest, request_hash: str, execution_id: UUID | None) -> bool:
    """Whether the key was free, or only held by a request of more than a day ago, whose place this one takes."""
    content = {"request_hash": request_hash, "execution_id": execution_id, "answer": null()}
    statement = (
        insert(IdempotencyKey)
        .values(caller=request.caller, route=request.route, key=request.key, **content)
        .on_conflict_do_update(
            index_elements=[IdempotencyKey.caller, IdempotencyKey.route, IdempotencyKey.key],
            set_={**content, "created_at": func.clock_timestamp()},
            where=IdempotencyKey.created_at <= func.clock_timestamp() - KEPT,
        )
        .returning(IdempotencyKey.key)
    )
    return db.execute(statement).first() is not None


def _is_key_of(request: KeyedRequest) -> ColumnElement[bool]:
    return and_(
        IdempotencyKey.caller == request.caller,
        IdempotencyKey.route == request.route,
        IdempotencyKey.key == request.key,
    )


def _hash(body: BaseModel) -> str:
    """Keyed, because a body may hold a password, and a plain hash of that could be guessed."""
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = settings().secret_key.get_secret_value().encode()
    return hmac.new(key, b"idempotency:" + canonical.encode(), sha256).hexdigest()
