"""Every error zea raises on purpose.

    ZeaError
    ├── ConfigurationError          a setting is missing or unsafe; the process does not start
    ├── Unreachable                 the database or the broker cannot be reached
    │   └── Degraded                executions do not move as they should
    ├── Busy                        somebody else is at it; try again in a few seconds
    ├── InvalidInput                well-formed, but not acceptable
    ├── Unauthenticated             no valid token, or wrong email or password
    ├── Forbidden                   known caller, wrong role
    ├── NotFound                    no such object, or none that the caller may see
    ├── DeadlinePassed              an approval whose time is over
    ├── TooManyRequests             slowed down; try again later
    ├── Conflict                    the request collides with what is already true
    │   ├── EmailTaken
    │   ├── SlotOverlap
    │   ├── SlotBooked
    │   ├── BookingBegun            too late to cancel or move a booking
    │   ├── BookingNotBegun         too early to say that somebody did not come
    │   ├── IdempotencyKeyReused
    │   ├── NotPossible             what is asked for does not fit how the execution stands
    │   ├── Cancelled               somebody ended the execution before it was done
    │   ├── AlreadyDecided          an approval that was answered, or is not asked for any more
    │   └── Refusal                 a business "no" that ends an execution; never resumed
    │       ├── SlotUnavailable
    │       ├── InsufficientCredits
    │       ├── OnboardingIncomplete
    │       ├── OverlappingBooking
    │       ├── BookingNotConfirmed
    │       └── ProfileNotCompleted
    └── WorkflowError
        ├── DefinitionError         a workflow cannot work as it is written; raised at import
        ├── FingerprintChanged      a registered version's definition is not the one that is registered
        ├── PersonalValueErased     a step needs a personal value that was erased
        └── StaleMessage            a delivery whose step is done, taken, or no longer wanted

The class docstring is the default message; ``kind`` is the word that callers, events and problem types carry.
"""

from collections.abc import Iterator
from typing import ClassVar


class ZeaError(Exception):
    """Something went wrong."""

    kind: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class ConfigurationError(ZeaError):
    """A setting is missing or unsafe."""

    kind = "configuration"


class Unreachable(ZeaError):
    """The database or the broker cannot be reached: start `zea up`, or check DATABASE_URL and REDIS_URL."""

    kind = "unreachable"


class Degraded(Unreachable):
    """Executions do not move as they should."""

    kind = "degraded"


class Busy(ZeaError):
    """Somebody else is working on this: try again in a few seconds."""

    kind = "busy"


class InvalidInput(ZeaError):
    """The request is well-formed but not acceptable.

    ``field`` names the offending field, as the caller wrote it, where there is one.
    """

    kind = "invalid_input"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unauthenticated(ZeaError):
    """Sign in first: send a valid access token as `Authorization: Bearer …`."""

    kind = "unauthenticated"


class Forbidden(ZeaError):
    """Your role may not do this."""

    kind = "forbidden"


class NotFound(ZeaError):
    """There is no such object, or none that you may see."""

    kind = "not_found"


class DeadlinePassed(ZeaError):
    """The time to answer is over."""

    kind = "deadline_passed"


class TooManyRequests(ZeaError):
    """Too many failed attempts; wait and try again.

    ``retry_after`` is in seconds.
    """

    kind = "too_many_requests"

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Too many failed attempts; try again in {retry_after:.0f} seconds.")
        self.retry_after = retry_after


class Conflict(ZeaError):
    """The request collides with what is already true."""

    kind = "conflict"


class EmailTaken(Conflict):
    """An account with this email exists already: sign in, or use another address."""

    kind = "email_taken"


class SlotOverlap(Conflict):
    """A slot of this coach overlaps another one: change its times, or remove the other slot first."""

    kind = "slot_overlap"


class SlotBooked(Conflict):
    """This slot is booked: cancel or reschedule its booking first."""

    kind = "slot_booked"


class BookingBegun(Conflict):
    """The training session has begun: it can be completed or marked as missed, but not cancelled or moved any more."""

    kind = "booking_begun"


class BookingNotBegun(Conflict):
    """The training session has not begun yet: cancel or reschedule it, or say afterwards that nobody came."""

    kind = "booking_not_begun"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used with another request: use a new key for a new request."""

    kind = "idempotency_key_reused"


class NotPossible(Conflict):
    """The execution stands in a way in which this cannot be done."""

    kind = "not_possible"


class Cancelled(Conflict):
    """It was cancelled by whoever runs the business: ask there, or ask for it again."""

    kind = "cancelled"


class AlreadyDecided(Conflict):
    """This was decided already."""

    kind = "already_decided"


class Refusal(Conflict):
    """The request was refused."""

    kind = "refused"


class SlotUnavailable(Refusal):
    """This slot does not exist, is taken, or has begun: choose another one."""

    kind = "slot_unavailable"


class InsufficientCredits(Refusal):
    """No credit is left: buy credits, then book again."""

    kind = "insufficient_credits"


class OnboardingIncomplete(Refusal):
    """Complete your profile before you book."""

    kind = "onboarding_incomplete"


class OverlappingBooking(Refusal):
    """You already have a booking at that time: choose another slot, or cancel the other booking."""

    kind = "overlapping_booking"


class BookingNotConfirmed(Refusal):
    """Only a confirmed booking can be completed, cancelled, moved or missed: this one is not, or not any more."""

    kind = "booking_not_confirmed"


class ProfileNotCompleted(Refusal):
    """The profile was not completed in time: begin a new onboarding."""

    kind = "profile_not_completed"


class WorkflowError(ZeaError):
    """A workflow cannot go on."""

    kind = "workflow"


class DefinitionError(WorkflowError):
    """A workflow cannot work as it is written."""

    kind = "definition"


class FingerprintChanged(WorkflowError):
    """A workflow changed without a new version."""

    kind = "fingerprint_changed"


class PersonalValueErased(WorkflowError):
    """A step needs a personal value that was erased."""

    kind = "personal_value_erased"


class StaleMessage(WorkflowError):
    """The step of this delivery is done, taken, or no longer wanted."""

    kind = "stale_message"


def _refusals(refusal: type[Refusal]) -> Iterator[type[Refusal]]:
    """This refusal and all that are more precise."""
    yield refusal
    for each in refusal.__subclasses__():
        yield from _refusals(each)


def told(kind: str, message: str) -> ZeaError:
    """The error to tell a caller whose execution failed: its refusal, or only that something went wrong.

    Why it was cancelled was not said to them.
    """
    if kind == Cancelled.kind:
        return Cancelled()
    refusal = next((refusal for refusal in _refusals(Refusal) if refusal.kind == kind), None)
    return refusal(message) if refusal else ZeaError(f"The workflow failed: {kind}.")
