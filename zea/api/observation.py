"""What is seen of every request: its id, a line in the log, and what is counted of it."""

import logging
import re
from time import perf_counter
from typing import Final

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zea import logs
from zea.api.http_metrics import HttpMetrics
from zea.db import new_id

log = logging.getLogger(__name__)

REQUEST_ID: Final = "X-Request-ID"
# What a caller may name a request: it stands in every line of the log.
ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Asked every few seconds by machines: nothing that a person would want to read.
UNSAID: Final = ("/health/", "/metrics")
FAILED: Final = 500
# FastAPI puts them into the request's span.
QUERY, PATH = "url.query", "url.path"
LEFT_OUT: Final = "[left out]"


class Observation:
    """ASGI middleware around all others; ``metrics`` counts what it sees.

    The time is taken until the answer begins: what streams goes on for as long as its reader likes. An answer is named
    by its route: a path holds ids, and a query may hold anything.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        if scope["query_string"]:
            trace.get_current_span().set_attribute(QUERY, LEFT_OUT)
        with logs.about(request_id=request_id):
            answer = Answer(scope, send, request_id)
            try:
                await self.app(scope, receive, answer.send)
            finally:
                self._tell(scope, answer)

    def _tell(self, scope: Scope, answer: "Answer") -> None:
        route = getattr(scope.get("route"), "path", None)
        self.metrics.count(scope["method"], route, answer.status, answer.seconds)
        level = logging.DEBUG if scope["path"].startswith(UNSAID) else logging.INFO
        log.log(
            level, "%s %s: %d in %.1f ms", scope["method"], route or "elsewhere", answer.status, 1000 * answer.seconds
        )


class Answer:
    """Passes an answer on, with the request's id, and remembers its status and when it began.

    One that never began counts as a 500.
    """

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._asked_at = perf_counter()
        self._began_at: float | None = None
        self.status = FAILED

    @property
    def seconds(self) -> float:
        return (self._began_at or perf_counter()) - self._asked_at

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._began_at = message["status"], perf_counter()
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
            if "route" not in self._scope:
                # What leads nowhere may be anything.
                trace.get_current_span().set_attribute(PATH, LEFT_OUT)
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The caller's, so that a request can be followed through several systems; else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if ACCEPTABLE.fullmatch(given) else str(new_id())
