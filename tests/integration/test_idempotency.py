"""A repeated POST with the same key joins the first one's work."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from sqlalchemy import func, select, text, update

from tests.integration.conftest import PASSWORD, Person
from tests.waiting import eventually
from zea.accounts.models import User
from zea.api.idempotency import KeyedRequest, claim
from zea.api.models import IdempotencyKey
from zea.api.schemas import Request
from zea.db import new_id, transaction
from zea.errors import IdempotencyKeyReused
