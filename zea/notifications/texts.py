"""What zea writes to people, in Spanish and in English, with dates and times as the reader's own clock shows them."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from zea.config import settings


class Language(StrEnum):
    """The languages that every text exists in; Spanish is the default."""

    SPANISH = "es"
    ENGLISH = "en"


def language_of(locale: str) -> Language:
    """What somebody with this locale reads."""
    return Language.ENGLISH if locale.partition("-")[0] == "en" else Language.SPANISH


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
        return language_of(self.locale)

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
    coach, when = one_line(coach_name), moment(reader, starts_at)
    if reader.language is Language.ENGLISH:
        return Text(
            f"Your session with {coach} is confirmed",
            letter(
                f"Hi {one_line(reader.name)},",
                f"Your training session with {coach} is confirmed for {when}.",
                _credits_left_in_english(credits_left),
            ),
        )
    return Text(
        f"Tu hora con {coach} está confirmada",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Tu entrenamiento con {coach} quedó confirmado para el {when}.",
            _credits_left_in_spanish(credits_left),
        ),
    )


def booking_received(reader: Reader, *, athlete_name: str, starts_at: datetime, notes: str | None) -> Text:
    """To the coach, whose hour was booked."""
    athlete, when, notes = one_line(athlete_name), moment(reader, starts_at), (notes or "").strip()
    if reader.language is Language.ENGLISH:
        return Text(
            f"{athlete} booked a session with you",
            letter(
                f"Hi {one_line(reader.name)},",
                f"{athlete} booked your session on {when}.",
                f"Notes from {athlete}:\n{notes}" if notes else f"{athlete} left no notes.",
            ),
        )
    return Text(
        f"{athlete} reservó una hora contigo",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"{athlete} reservó tu hora del {when}.",
            f"Notas de {athlete}:\n{notes}" if notes else f"{athlete} no dejó notas.",
        ),
    )


def profile_wanted(reader: Reader, *, until: datetime) -> Text:
    """To a new athlete, who must tell of themselves before they may book."""
    when = moment(reader, until)
    if reader.language is Language.ENGLISH:
        return Text(
            "Complete your profile to start booking",
            letter(
                f"Hi {one_line(reader.name)},",
                "Welcome to zea. Before you book your first session, tell us about your sport, your goals and your"
                " experience, so that your coach can prepare.",
                f"You have until {when}.",
            ),
        )
    return Text(
        "Completa tu perfil para empezar a reservar",
        letter(
            f"Hola, {one_line(reader.name)}:",
            "Te damos la bienvenida a zea. Antes de reservar tu primera hora, cuéntanos de tu deporte, tus objetivos y"
            " tu experiencia, para que tu coach pueda prepararse.",
            f"Tienes plazo hasta el {when}.",
        ),
    )


def welcome(reader: Reader) -> Text:
    """To an athlete, who may book from now on."""
    if reader.language is Language.ENGLISH:
        return Text(
            "Your profile is complete: you can book",
            letter(
                f"Hi {one_line(reader.name)},",
                "Thank you for completing your profile. You can now book a session with any of our coaches.",
                "See you in training!",
            ),
        )
    return Text(
        "Tu perfil está completo: ya puedes reservar",
        letter(
            f"Hola, {one_line(reader.name)}:",
            "Gracias por completar tu perfil. Desde ahora puedes reservar una hora con cualquiera de nuestros coaches.",
            "¡Nos vemos en el entrenamiento!",
        ),
    )


def feedback_wanted(reader: Reader, coach_name: str, began_at: datetime, until: datetime) -> Text:
    """To the athlete, after a session."""
    coach, when, deadline = one_line(coach_name), moment(reader, began_at), moment(reader, until)
    if reader.language is Language.ENGLISH:
        return Text(
            f"How was your session with {coach}?",
            letter(
                f"Hi {one_line(reader.name)},",
                f"You trained with {coach} on {when}. How was it? A rating and a word or two help you both.",
                f"You can answer until {deadline}.",
            ),
        )
    return Text(
        f"¿Cómo estuvo tu hora con {coach}?",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Entrenaste con {coach} el {when}. ¿Cómo estuvo? Una nota y un par de palabras les sirven a los dos.",
            f"Puedes responder hasta el {deadline}.",
        ),
    )


def feedback_reminder(reader: Reader, coach_name: str, began_at: datetime, until: datetime) -> Text:
    """To the athlete, once half of the time is over."""
    coach, when, deadline = one_line(coach_name), moment(reader, began_at), moment(reader, until)
    if reader.language is Language.ENGLISH:
        return Text(
            f"A reminder: your session with {coach}",
            letter(
                f"Hi {one_line(reader.name)},",
                f"You have not told us yet how your session with {coach} on {when} was.",
                f"You can still answer until {deadline}.",
            ),
        )
    return Text(
        f"Te recordamos: tu hora con {coach}",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Todavía no nos cuentas cómo estuvo tu hora con {coach} del {when}.",
            f"Aún puedes responder hasta el {deadline}.",
        ),
    )


def evaluation_wanted(reader: Reader, athlete_name: str, began_at: datetime, until: datetime) -> Text:
    """To the coach, after a session."""
    athlete, when, deadline = one_line(athlete_name), moment(reader, began_at), moment(reader, until)
    if reader.language is Language.ENGLISH:
        return Text(
            f"How did {athlete} do?",
            letter(
                f"Hi {one_line(reader.name)},",
                f"The time of your session with {athlete} on {when} is recorded. How did {athlete} do, and what comes"
                " next?",
                f"You can send your evaluation until {deadline}.",
            ),
        )
    return Text(
        f"¿Cómo le fue a {athlete}?",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Quedó registrado el tiempo de tu hora con {athlete} del {when}. ¿Cómo le fue y qué viene ahora?",
            f"Puedes enviar tu evaluación hasta el {deadline}.",
        ),
    )


def evaluation_reminder(reader: Reader, athlete_name: str, began_at: datetime, until: datetime) -> Text:
    """To the coach, once half of the time is over."""
    athlete, when, deadline = one_line(athlete_name), moment(reader, began_at), moment(reader, until)
    if reader.language is Language.ENGLISH:
        return Text(
            f"A reminder: your evaluation of {athlete}",
            letter(
                f"Hi {one_line(reader.name)},",
                f"Your evaluation of {athlete} for the session on {when} is still missing.",
                f"You can still send it until {deadline}.",
            ),
        )
    return Text(
        f"Te recordamos: tu evaluación de {athlete}",
        letter(
            f"Hola, {one_line(reader.name)}:",
            f"Todavía falta tu evaluación de {athlete} por la hora del {when}.",
            f"Aún puedes enviarla hasta el {deadline}.",
        ),
    )


# Their parts


def day(reader: Reader, on: date) -> str:
    """A date in words."""
    month = MONTHS[reader.language][on.month - 1]
    return f"{on.day} {month} {on.year}" if reader.language is Language.ENGLISH else f"{on.day} de {month} de {on.year}"


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


def one_line(name: str) -> str:
    """A name fit for a title, which becomes a mail's subject: line breaks in it would be headers of their own."""
    return " ".join(name.split())


def letter(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)
