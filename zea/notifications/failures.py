"""Telling an athlete that a booking which they were asked to wait for came to nothing."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from zea.bookings import answers
from zea.context import Failure, StepContext
from zea.errors import Cancelled, InsufficientCredits, OnboardingIncomplete, OverlappingBooking, SlotUnavailable
from zea.notifications import service
from zea.notifications.texts import Language, Reader, Text, letter, moment, one_line

REASONS = {
    Language.SPANISH: {
        SlotUnavailable.kind: "La hora ya no está disponible. Elige otra.",
        InsufficientCredits.kind: "No te quedan créditos. Compra créditos y vuelve a reservar.",
        OnboardingIncomplete.kind: "Tu perfil no está completo. Complétalo y vuelve a reservar.",
        OverlappingBooking.kind: "Ya tienes otra reserva a esa hora. Elige otra hora o cancela la otra reserva.",
        Cancelled.kind: "La solicitud fue cancelada por quienes administran zea.",
    },
    Language.ENGLISH: {
        SlotUnavailable.kind: "The slot is no longer available. Choose another one.",
        InsufficientCredits.kind: "You have no credits left. Buy credits, then book again.",
        OnboardingIncomplete.kind: "Your profile is not complete. Complete it, then book again.",
        OverlappingBooking.kind: "You already have a booking at that time. Choose another slot, or cancel that one.",
        Cancelled.kind: "The request was cancelled by the people who run zea.",
    },
}
UNEXPECTED = {
    Language.SPANISH: "Algo falló de nuestro lado. Si aún logramos confirmarla, te avisaremos. También puedes elegir"
    " otra hora.",
    Language.ENGLISH: "Something went wrong on our side. If we can still confirm it, we will tell you. You can also"
    " choose another slot.",
}


def tell_of_failed_booking(
    db: Session, *, ctx: StepContext, failure: Failure, athlete_id: UUID, coach_id: UUID, slot_datetime: datetime
) -> None:
    """Tell the athlete, if they were told that it would be decided later; else they have just been told why."""
    if not answers.note_failure(db, ctx.execution_id):
        return
    readers = service.readers_of(db, coach_id, athlete_id)
    coach_name = readers[coach_id].name if coach_id in readers else ""
    text = booking_failed(readers[athlete_id], coach_name=coach_name, starts_at=slot_datetime, kind=failure.kind)
    service.notify(db, ctx=ctx, kind="booking_failed", text=text, recipient_id=athlete_id)


def booking_failed(reader: Reader, *, coach_name: str, starts_at: datetime, kind: str) -> Text:
    """To the athlete, whose booking came to nothing."""
    language, when, coach = reader.language, moment(reader, starts_at), one_line(coach_name)
    why = REASONS[language].get(kind, UNEXPECTED[language])
    if language is Language.ENGLISH:
        with_whom = f" with {coach}" if coach else ""
        return Text(
            "Your booking could not be confirmed",
            letter(
                f"Hi {one_line(reader.name)},",
                f"The training session{with_whom} on {when} could not be booked. No credit was taken.",
                why,
            ),
        )
    with_whom = f" con {coach}" if coach else ""
    return Text(
        "No pudimos confirmar tu reserva",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"No se pudo reservar el entrenamiento{with_whom} del {when}. No se descontó ningún crédito.",
            why,
        ),
    )
