"""What people are told, in both languages and on their own clock."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from zea.notifications import texts
from zea.notifications.texts import MONTHS, WEEKDAYS, Language, Reader, Text

SUMMER = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
WINTER = datetime(2026, 7, 7, 13, 0, tzinfo=UTC)


def reader(locale: str = "es", timezone: str = "America/Santiago", name: str = "Ana") -> Reader:
    return Reader(name, locale, timezone)


def confirmed(to: Reader, credits_left: int = 3, coach_name: str = "Bruno") -> Text:
    return texts.booking_confirmed(to, coach_name=coach_name, starts_at=SUMMER, credits_left=credits_left)


def received(to: Reader, notes: str | None = "Rodilla izquierda", athlete_name: str = "Bruno") -> Text:
    return texts.booking_received(to, athlete_name=athlete_name, starts_at=SUMMER, notes=notes)


DEADLINE = SUMMER + timedelta(days=2)


def after_a_session(write: Callable[[Reader, str, datetime, datetime], Text]) -> Callable[[Reader], Text]:
    return lambda to: write(to, "Bruno", SUMMER, DEADLINE)


MESSAGES: dict[str, Callable[[Reader], Text]] = {
    "booking_confirmed": confirmed,
    "booking_received": received,
    "profile_wanted": lambda to: texts.profile_wanted(to, until=DEADLINE),
    "welcome": texts.welcome,
    "feedback_wanted": after_a_session(texts.feedback_wanted),
    "feedback_reminder": after_a_session(texts.feedback_reminder),
    "evaluation_wanted": after_a_session(texts.evaluation_wanted),
    "evaluation_reminder": after_a_session(texts.evaluation_reminder),
}
OF_TWO = [name for name in MESSAGES if name not in ("profile_wanted", "welcome")]
WITH_DEADLINE = [name for name in MESSAGES if name.endswith(("_wanted", "_reminder"))]


def test_every_message_is_among_the_tested_ones() -> None:
    functions = inspect.getmembers(texts, inspect.isfunction)
    assert {name for name, each in functions if each.__annotations__.get("return") is Text} == MESSAGES.keys()


@pytest.mark.parametrize("write", MESSAGES.values(), ids=MESSAGES.keys())
def test_every_message_exists_in_both_languages(write: Callable[[Reader], Text]) -> None:
    spanish, english = write(reader("es")), write(reader("en"))
    assert spanish.title != english.title
    assert spanish.body.startswith("Hola, Ana:")
    assert english.body.startswith("Hi Ana,")
    # One language's paragraphs are none of the other's.
    assert not set(spanish.body.split("\n\n")) & set(english.body.split("\n\n"))


@pytest.mark.parametrize("name", OF_TWO)
def test_every_message_about_a_session_names_the_other_and_says_when(name: str) -> None:
    spanish, english = MESSAGES[name](reader("es")), MESSAGES[name](reader("en"))
    assert "martes 6 de enero de 2026 a las 10:00 (hora de Santiago)" in spanish.body
    assert "Tuesday 6 January 2026 at 10:00 (Santiago time)" in english.body
    assert "Bruno" in spanish.title
    assert "Bruno" in english.title


@pytest.mark.parametrize("name", WITH_DEADLINE)
def test_every_message_that_asks_says_until_when_on_the_readers_clock(name: str) -> None:
    assert "hasta el jueves 8 de enero de 2026 a las 10:00 (hora de Santiago)" in MESSAGES[name](reader("es")).body
    assert "until Thursday 8 January 2026 at 14:00 (Madrid time)" in MESSAGES[name](reader("en", "Europe/Madrid")).body


@pytest.mark.parametrize(("locale", "greeting"), [("es-CL", "Hola"), ("en-GB", "Hi"), ("pt", "Hola"), ("", "Hola")])
def test_regions_read_their_language_and_all_others_spanish(locale: str, greeting: str) -> None:
    assert confirmed(reader(locale)).body.startswith(greeting)


def test_a_moment_is_told_on_the_readers_own_clock() -> None:
    assert "lunes" not in texts.moment(reader(timezone="Pacific/Auckland"), SUMMER)
    assert texts.moment(reader("en", "Pacific/Auckland"), SUMMER) == "Wednesday 7 January 2026 at 02:00 (Auckland time)"
    assert texts.moment(reader("en", "America/Argentina/Buenos_Aires"), SUMMER).endswith("10:00 (Buenos Aires time)")


def test_the_hour_follows_the_zones_rules_of_that_date() -> None:
    assert "a las 10:00" in texts.moment(reader(), SUMMER)
    assert "a las 09:00" in texts.moment(reader(), WINTER)


def test_a_zone_that_is_not_known_becomes_the_business_zone() -> None:
    assert texts.moment(reader(timezone="Mars/Olympus"), SUMMER) == texts.moment(reader(), SUMMER)


@pytest.mark.parametrize(
    ("credits_left", "spanish", "english"),
    [
        (0, "No te quedan créditos.", "You have no credits left."),
        (1, "Te queda 1 crédito.", "You have 1 credit left."),
        (2, "Te quedan 2 créditos.", "You have 2 credits left."),
    ],
)
def test_credits_are_counted_as_people_say_it(credits_left: int, spanish: str, english: str) -> None:
    assert confirmed(reader("es"), credits_left).body.endswith(spanish)
    assert confirmed(reader("en"), credits_left).body.endswith(english)


def test_the_coach_reads_the_athletes_notes() -> None:
    assert received(reader("es")).body.endswith("Notas de Bruno:\nRodilla izquierda")
    assert received(reader("en")).body.endswith("Notes from Bruno:\nRodilla izquierda")


@pytest.mark.parametrize("notes", [None, "", "  \n"])
def test_without_notes_the_coach_is_told_so(notes: str | None) -> None:
    assert received(reader("es"), notes).body.endswith("Bruno no dejó notas.")
    assert received(reader("en"), notes).body.endswith("Bruno left no notes.")


@pytest.mark.parametrize("language", Language)
def test_a_name_cannot_add_lines_to_a_title(language: Language) -> None:
    forged = "Bruno\r\nBcc: everybody@example.com"
    assert len(confirmed(reader(language), coach_name=forged).title.splitlines()) == 1
    assert len(received(reader(language), athlete_name=forged).title.splitlines()) == 1


@pytest.mark.parametrize("language", Language)
def test_the_calendar_is_complete(language: Language) -> None:
    assert len(set(WEEKDAYS[language])) == 7
    assert len(set(MONTHS[language])) == 12
