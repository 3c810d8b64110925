"""What zea writes to people, in Spanish and in English, with dates and times as the reader's own clock shows them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from zea.config import settings


class Language(StrEnum):
    """The languages that every text exists in; Spanish is the default."""

    SPANISH = "es"
    ENGLISH = "en"


WEEKDAYS = {
    Language.SPANISH: ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    Language.ENGLISH: ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
MONTHS = {
    Language.SPANISH: (
        *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
        *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ),
    Language.ENGLISH: (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom a text is for."""

    name: str
    locale: str
    timezone: str

    @property
    def language(self) -> Language:
        return Language.ENGLISH if self.locale.partition("-")[0] == "en" else Language.SPANISH

    @property
    def zone(self) -> ZoneInfo:
        # A zone that this machine does not know must not keep the message from its reader.
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(settings().timezone)


@dataclass(frozen=True, slots=True)
class Text:
    """A message: one line, and what it says."""

    title: str
    body: str


# The messages


def booking_confirmed(reader: Reader, *, coach_name: str, starts_at: datetime, credits_left: int) -> Text:
    """To the athlete, whose booking stands."""
    coach, when = _one_line(coach_name), moment(reader, starts_at)
    if reader.language is Language.ENGLISH:
        return Text(
            f"Your session with {coach} is confirmed",
            _letter(
                f"Hi {_one_line(reader.name)},",
                f"Your training session with {coach} is confirmed for {when}.",
                _credits_left_in_english(credits_left),
            ),
        )
    return Text(
        f"Tu hora con {coach} está confirmada",
        _letter(
            f"Hola, {_one_line(reader.name)}:",
            f"Tu entrenamiento con {coach} quedó confirmado para el {when}.",
            _credits_left_in_spanish(credits_left),
        ),
    )


def booking_received(reader: Reader, *, athlete_name: str, starts_at: datetime, notes: str | None) -> Text:
    """To the coach, whose hour was booked."""
    athlete, when, notes = _one_line(athlete_name), moment(reader, starts_at), (notes or "").strip()
    if reader.language is Language.ENGLISH:
        return Text(
            f"{athlete} booked a session with you",
            _letter(
                f"Hi {_one_line(reader.name)},",
                f"{athlete} booked your session on {when}.",
                f"Notes from {athlete}:\n{notes}" if notes else f"{athlete} left no notes.",
            ),
        )
    return Text(
        f"{athlete} reservó una hora contigo",
        _letter(
            f"Hola, {_one_line(reader.name)}:",
            f"{athlete} reservó tu hora del {when}.",
            f"Notas de {athlete}:\n{notes}" if notes else f"{athlete} no dejó notas.",
        ),
    )


# Their parts


def moment(reader: Reader, at: datetime) -> str:
    """The date and time on the reader's own clock, and which clock that is."""
    local, language = at.astimezone(reader.zone), reader.language
    weekday, month = WEEKDAYS[language][local.weekday()], MONTHS[language][local.month - 1]
    if language is Language.ENGLISH:
        return f"{weekday} {local.day} {month} {local.year} at {local:%H:%M} ({_place(reader)} time)"
    return f"{weekday} {local.day} de {month} de {local.year} a las {local:%H:%M} (hora de {_place(reader)})"


def _place(reader: Reader) -> str:
    """The city that a zone is named after: "Buenos Aires" for America/Argentina/Buenos_Aires."""
    return reader.zone.key.rpartition("/")[2].replace("_", " ")


def _credits_left_in_spanish(credits_left: int) -> str:
    match credits_left:
        case 0:
            return "No te quedan créditos."
        case 1:
            return "Te queda 1 crédito."
    return f"Te quedan {credits_left} créditos."


def _credits_left_in_english(credits_left: int) -> str:
    match credits_left:
        case 0:
            return "You have no credits left."
        case 1:
            return "You have 1 credit left."
    return f"You have {credits_left} credits left."


def _one_line(name: str) -> str:
    """A name fit for a title, which becomes a mail's subject: line breaks in it would be headers of their own."""
    return " ".join(name.split())


def _letter(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)
