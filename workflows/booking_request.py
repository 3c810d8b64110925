"""An athlete asks for a coach's hour: booked and paid for at once or not at all, then both are told."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from workflows.engine.definition import Workflow, atomic, parallel, step
from zea.availability import service as availability
from zea.bookings import service as bookings
from zea.context import Personal
from zea.credits import service as credits
from zea.notifications import failures
from zea.notifications import service as notifications


@dataclass(frozen=True)
class BookingRequest:
    """What the athlete asks for; the notes are for the coach alone."""

    athlete_id: UUID
    coach_id: UUID
    slot_datetime: datetime
    athlete_notes: Personal[str | None] = None


booking_request = Workflow(
    name="zea_sport.BookingRequest",
    version=1,
    input=BookingRequest,
    subject="booking:{booking_id}",
    flow=[
        atomic(
            step(bookings.validate_slot),
            step(credits.check_balance),
            step(bookings.create_booking),
            step(availability.reserve_slot),
            step(credits.debit_credit),
            step(bookings.confirm_booking),
        ),
        parallel(
            step(notifications.notify_coach),
            step(notifications.notify_athlete),
        ),
    ],
    on_failure=failures.tell_of_failed_booking,
)
