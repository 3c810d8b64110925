"""What zea writes to people whose booking was changed, in Spanish and in English."""

from datetime import datetime

from zea.notifications.texts import Language, Reader, Text, letter, moment, one_line


def booking_cancelled(
    reader: Reader, other_name: str, *, starts_at: datetime, reason: str | None, refunded: bool | None
) -> Text:
    """To a party; ``refunded`` is None for the coach, to whom it is nothing."""
    other, when, why = one_line(other_name), moment(reader, starts_at), (reason or "").strip()
    if reader.language is Language.ENGLISH:
        return Text(
            f"Your session with {other} was cancelled",
            letter(
                f"Hi {one_line(reader.name)},",
                f"The training session with {other} on {when} was cancelled.",
                *([f"Reason:\n{why}"] if why else []),
                "The slot is open again." if refunded is None else _refund_in_english(refunded),
            ),
        )
    return Text(
        f"Se canceló tu hora con {other}",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Se canceló el entrenamiento con {other} del {when}.",
            *([f"Motivo:\n{why}"] if why else []),
            "La hora vuelve a estar disponible." if refunded is None else _refund_in_spanish(refunded),
        ),
    )


def booking_rescheduled(reader: Reader, other_name: str, *, before: datetime, starts_at: datetime) -> Text:
    """To a party."""
    other, old, new = one_line(other_name), moment(reader, before), moment(reader, starts_at)
    if reader.language is Language.ENGLISH:
        return Text(
            f"Your session with {other} was moved",
            letter(
                f"Hi {one_line(reader.name)},",
                f"The training session with {other} on {old} was moved to {new}.",
                "The booking stays confirmed.",
            ),
        )
    return Text(
        f"Tu hora con {other} cambió",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"El entrenamiento con {other} del {old} se movió al {new}.",
            "La reserva sigue confirmada.",
        ),
    )


def booking_missed(reader: Reader, other_name: str, *, starts_at: datetime, by_reader: bool) -> Text:
    """To a party; ``by_reader`` says whether it was the reader who did not come."""
    other, when = one_line(other_name), moment(reader, starts_at)
    if reader.language is Language.ENGLISH:
        who = "you did not come" if by_reader else f"{other} did not come"
        return Text(
            f"Your session with {other} was missed",
            letter(
                f"Hi {one_line(reader.name)},",
                f"It was noted that {who} to the training session on {when}.",
                "The credit is not given back." if by_reader else "The session is not paid for.",
            ),
        )
    who = "no llegaste" if by_reader else f"{other} no llegó"
    return Text(
        f"Inasistencia a tu hora con {other}",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Quedó registrado que {who} al entrenamiento del {when}.",
            "El crédito no se devuelve." if by_reader else "La sesión no se paga.",
        ),
    )


def _refund_in_english(refunded: bool) -> str:
    return "1 credit was given back to you." if refunded else "The credit is not given back."


def _refund_in_spanish(refunded: bool) -> str:
    return "Te devolvimos 1 crédito." if refunded else "El crédito no se devuelve."
