"""Who may call what: every route of the API. What is not in this table is not served.

`python -m zea.api.access` prints it as docs/authorization.md shows it. The gate enforces who may call (`zea.api.gate`);
whose objects are found is enforced where they are read. tests/integration/test_access.py walks every route to see both.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from zea.accounts.models import Role
from zea.errors import ConfigurationError

EVERY_ROLE = frozenset(Role)
HEADINGS = "| call | who may | whose objects they find | remarks |\n|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call a route: people who have one of the roles. Only with ANYONE no token is looked at."""

    words: str
    roles: frozenset[Role] = frozenset()


@dataclass(frozen=True, slots=True)
class Objects:
    """Whose objects callers find behind a route; all others are not there: 404, or left out of a list.

    People with a role of ``unrestricted`` find everybody's.
    """

    words: str
    unrestricted: frozenset[Role] = frozenset()


ANYONE = Callers("anyone")
SIGNED_IN = Callers("any signed-in person", EVERY_ROLE)
ATHLETES = Callers("athletes", frozenset({Role.ATHLETE}))
COACHES = Callers("coaches", frozenset({Role.COACH}))
ADMINS = Callers("admins", frozenset({Role.ADMIN}))
COACHES_AND_ADMINS = Callers("coaches and admins", frozenset({Role.COACH, Role.ADMIN}))

NOBODYS = Objects("–")
THEIR_OWN = Objects("their own")
THE_PARTIES = Objects("those that they are a party to; admins: everybody's", frozenset({Role.ADMIN}))
WHAT_THEY_ARE_ASKED = Objects("what they are asked; admins: what anybody is", frozenset({Role.ADMIN}))
THEIR_ATHLETES = Objects(
    "their own; coaches: of athletes with a live booking with them; admins: everybody's", frozenset({Role.ADMIN})
)
EVERYBODYS = Objects("everybody's", EVERY_ROLE)


@dataclass(frozen=True, slots=True)
class Access:
    """An entry of the table: a route, who may call it, and whose objects they find there.

    ``route_checks_account``: the role is taken from the token alone, and the route itself sees in its own transaction
    that the account is still open, with ``accounts.service.check_active``. Otherwise the gate looks both up.
    """

    method: str
    path: str
    who: Callers
    objects: Objects
    remarks: str = ""
    route_checks_account: bool = False

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def restricted(self) -> frozenset[Role]:
        """The roles that may call, and find only some people's objects."""
        return self.who.roles - self.objects.unrestricted

    def row(self) -> str:
        """Itself in the document's table."""
        return f"| `{self.call}` | {self.who.words} | {self.objects.words} | {self.remarks} |"


# In the order of what people do: sign in, say who they are, offer hours, book, pay, are told; then what admins do.
TABLE = (
    Access("POST", "/api/auth/register", ANYONE, NOBODYS, "makes an athlete, never another role"),
    Access("POST", "/api/auth/login", ANYONE, NOBODYS, "failures are slowed by address and email"),
    Access("POST", "/api/auth/refresh", ANYONE, NOBODYS, "the refresh token that is sent says whose sign-in it is"),
    Access("POST", "/api/auth/logout", ANYONE, NOBODYS, "the refresh token that is sent says whose sign-in it is"),
    Access("GET", "/api/me", SIGNED_IN, THEIR_OWN),
    Access("PATCH", "/api/me", SIGNED_IN, THEIR_OWN, "never the role, nor whether they may book"),
    Access("PUT", "/api/athletes/me/profile", ATHLETES, THEIR_OWN),
    Access("POST", "/api/athletes/me/onboarding", ATHLETES, THEIR_OWN),
    Access("GET", "/api/athletes/{athlete_id}/profile", SIGNED_IN, THEIR_ATHLETES),
    Access("GET", "/api/coaches", SIGNED_IN, EVERYBODYS, "names and time zones only"),
    Access("GET", "/api/coaches/{coach_id}/slots", SIGNED_IN, EVERYBODYS, "not who booked them"),
    Access("POST", "/api/coaches/me/slots", COACHES, THEIR_OWN),
    Access("DELETE", "/api/coaches/me/slots/{slot_id}", COACHES, THEIR_OWN, "while nobody has booked it"),
    Access(
        "POST",
        "/api/bookings",
        ATHLETES,
        THEIR_OWN,
        "books for themselves, with any coach; the role is the token's, the account is checked with the booking",
        route_checks_account=True,
    ),
    Access("GET", "/api/bookings", SIGNED_IN, THE_PARTIES),
    Access("GET", "/api/bookings/{booking_id}", SIGNED_IN, THE_PARTIES),
    Access("POST", "/api/bookings/{booking_id}/complete", COACHES_AND_ADMINS, THE_PARTIES),
    Access("POST", "/api/bookings/{booking_id}/cancel", SIGNED_IN, THE_PARTIES),
    Access("POST", "/api/bookings/{booking_id}/reschedule", SIGNED_IN, THE_PARTIES),
    Access("POST", "/api/bookings/{booking_id}/no-show", COACHES_AND_ADMINS, THE_PARTIES),
    Access(
        "POST",
        "/api/feedback/submit",
        SIGNED_IN,
        WHAT_THEY_ARE_ASKED,
        "who is a party to the session, and gives the other party's answer, is told so: 403",
    ),
    Access(
        "GET",
        "/api/bookings/{booking_id}/feedback",
        SIGNED_IN,
        THE_PARTIES,
        "what they said themselves at once, what the other party said once the session is finalized",
    ),
    Access("GET", "/api/approvals", SIGNED_IN, WHAT_THEY_ARE_ASKED),
    Access("GET", "/api/approvals/{approval_id}", SIGNED_IN, WHAT_THEY_ARE_ASKED),
    Access("POST", "/api/approvals/{approval_id}/approve", SIGNED_IN, WHAT_THEY_ARE_ASKED),
    Access("POST", "/api/approvals/{approval_id}/reject", ADMINS, EVERYBODYS),
    Access("GET", "/api/me/credits", ATHLETES, THEIR_OWN),
    Access("POST", "/api/admin/credits", ADMINS, EVERYBODYS),
    Access("GET", "/api/me/notifications", SIGNED_IN, THEIR_OWN, "an admin's too: nobody reads another person's"),
    Access("POST", "/api/me/notifications/{notification_id}/read", SIGNED_IN, THEIR_OWN),
    Access("POST", "/api/admin/users", ADMINS, EVERYBODYS),
    Access("GET", "/api/admin/users", ADMINS, EVERYBODYS),
    Access("PATCH", "/api/admin/users/{user_id}", ADMINS, EVERYBODYS, "one admin stays"),
    Access("POST", "/api/admin/reports/payment", ADMINS, EVERYBODYS),
    Access("GET", "/api/admin/reports", ADMINS, EVERYBODYS),
    Access("GET", "/api/admin/reports/{report_id}.csv", ADMINS, EVERYBODYS),
    Access("GET", "/api/admin/reports/{report_id}", ADMINS, EVERYBODYS),
    Access("GET", "/api/executions", ADMINS, EVERYBODYS),
    Access("GET", "/api/executions/active", ADMINS, EVERYBODYS),
    Access(
        "GET",
        "/api/executions/{execution_id}",
        SIGNED_IN,
        THE_PARTIES,
        "whoever started it is a party; parties see statuses, admins also values and errors",
    ),
    Access(
        "GET",
        "/api/executions/{execution_id}/events",
        SIGNED_IN,
        THE_PARTIES,
        "parties see what and when, admins also by whom and the data",
    ),
    Access(
        "GET",
        "/api/executions/{execution_id}/watch",
        SIGNED_IN,
        THE_PARTIES,
        "parties see what and when, admins also by whom and the data",
    ),
    Access("POST", "/api/executions/{execution_id}/resume", ADMINS, EVERYBODYS),
    Access("POST", "/api/executions/{execution_id}/cancel", ADMINS, EVERYBODYS),
    Access("POST", "/api/executions/{execution_id}/rerun", ADMINS, EVERYBODYS),
    Access("GET", "/health/live", ANYONE, NOBODYS),
    Access("GET", "/health/ready", ANYONE, NOBODYS, "says what is away, and nothing of anybody"),
    Access("GET", "/health/workflows", ANYONE, NOBODYS, "says what does not move, and nothing of anybody"),
    Access(
        "GET", "/metrics", ANYONE, NOBODYS, "outside local with `ZEA_METRICS_TOKEN`; counts, and nothing of anybody"
    ),
    # FastAPI adds these itself, past the gate: nothing but ANYONE can be said of them.
    Access("GET", "/openapi.json", ANYONE, NOBODYS, "the API's description"),
    Access("GET", "/docs", ANYONE, NOBODYS, "the same for people"),
    Access("GET", "/docs/oauth2-redirect", ANYONE, NOBODYS, "where signing in from `/docs` comes back to"),
    Access("GET", "/redoc", ANYONE, NOBODYS, "the same for people"),
)
ENTRIES: Mapping[tuple[str, str], Access] = {(entry.method, entry.path): entry for entry in TABLE}


def entry_for(method: str, path: str) -> Access:
    """What the table says of a route.

    Raises:
        ConfigurationError: nothing.
    """
    if (method, path) not in ENTRIES:
        raise ConfigurationError(
            f"{method} {path} is not in the table of access, so it is not served: "
            "add to TABLE in zea/api/access.py who may call it, and whose objects they find there."
        )
    return ENTRIES[method, path]


def table() -> str:
    """The table, as docs/authorization.md shows it."""
    return "\n".join([HEADINGS, *(entry.row() for entry in TABLE)])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
