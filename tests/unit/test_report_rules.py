"""The rules of payment reports that need no database: periods, months, cells, and the form of an attachment."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zea.errors import InvalidInput
from zea.notifications.attachments import LARGEST_COMPRESSED, LARGEST_PLAIN, Form, form_of
from zea.reports.csv_file import COLUMNS, Packer, cell, render, unpacked
from zea.reports.lines import hours
from zea.reports.periods import check_period, due_at, following, last_day, months_due, report_id_of

ZONES = ["America/Santiago", "America/New_York", "Europe/Madrid", "Asia/Kolkata", "Pacific/Apia"]
DAYS = st.dates(date(1990, 1, 1), date(2090, 12, 31))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


# Cells


@given(st.one_of(st.integers(), st.floats(allow_nan=False)))
def test_a_number_is_never_escaped(number: float) -> None:
    assert cell(number) == number


@given(TEXTS, st.sampled_from(["", ";", "\t", "\n", "\r\n"]))
def test_no_text_begins_as_a_formula_does_nor_any_part_of_it(text: str, separator: str) -> None:
    written = str(cell(f"{text}{separator}={text}"))
    assert not any(part[:1] in "=+-@＝＋－＠" for part in re.split(r"[;\t\r\n]", written) if part)
    assert str(cell(text)).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@given(st.lists(st.lists(TEXTS, min_size=len(COLUMNS), max_size=len(COLUMNS)), max_size=5))
def test_a_strict_reader_gets_back_what_was_written(rows: list[list[str]]) -> None:
    content = b"".join(render([rows])).decode("utf-8-sig")
    header, *found = csv.reader(io.StringIO(content, newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert found == [[cell(value) for value in row] for row in rows]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_packed_file_is_the_same_again(chunks: list[bytes]) -> None:
    packer = Packer()
    assert b"".join(unpacked(list(packer.parts(chunks)))) == b"".join(chunks)
    assert packer.size == sum(map(len, chunks))


def test_a_file_whose_end_is_missing_is_not_taken_for_a_whole_one() -> None:
    parts = list(Packer().parts([b"x" * 1000, b"y" * 1000]))
    with pytest.raises(EOFError):
        list(unpacked([parts[0][:-3]]))


@pytest.mark.parametrize(
    ("minutes", "expected"), [(285, 4.75), (100, 1.67), (50, 0.83), (0, 0), (6_000_001, 100000.02)]
)
def test_hours_have_two_decimals(minutes: int, expected: float) -> None:
    assert hours(minutes) == expected


# Periods


def test_a_period_is_a_day_at_least_and_a_year_at_most() -> None:
    check_period(date(2026, 1, 1), date(2026, 1, 1))
    check_period(date(2028, 1, 1), date(2028, 12, 31))
    wrong = [
        (date(2026, 1, 2), date(2026, 1, 1)),
        (date(2026, 1, 1), date(2027, 1, 2)),
        (date(9999, 12, 1), date(9999, 12, 31)),
    ]
    for start, end in wrong:
        with pytest.raises(InvalidInput) as refused:
            check_period(start, end)
        assert refused.value.field == "end_date"


def test_a_report_is_named_by_coach_and_period() -> None:
    assert report_id_of(date(2026, 1, 1), date(2026, 1, 31), None) == "report-ALL_COACHES-2026-01-01-2026-01-31"


@given(DAYS)
def test_months_follow_each_other(day: date) -> None:
    month = day.replace(day=1)
    assert month <= day <= last_day(month) < following(month)
    assert following(month) - last_day(month) == timedelta(days=1)


# Months


@pytest.mark.parametrize(
    ("zone", "month", "due"),
    [
        ("America/Santiago", date(2026, 1, 1), "2026-02-01T05:00:00Z"),
        ("America/Santiago", date(2026, 5, 1), "2026-06-01T06:00:00Z"),
        # Clocks go back that night, at two.
        ("America/New_York", date(2026, 10, 1), "2026-11-01T07:00:00Z"),
        ("Europe/Madrid", date(2026, 12, 1), "2027-01-01T01:00:00Z"),
        ("Asia/Kolkata", date(2026, 1, 1), "2026-01-31T20:30:00Z"),
    ],
)
def test_a_month_is_due_at_two_on_the_first_day_after_it(zone: str, month: date, due: str) -> None:
    assert due_at(month, ZoneInfo(zone)) == datetime.fromisoformat(due)
    moment = datetime.fromisoformat(due)
    assert list(months_due(month, moment, ZoneInfo(zone))) == [month]
    assert list(months_due(month, moment - timedelta(microseconds=1), ZoneInfo(zone))) == []


@given(DAYS, st.integers(0, 40), st.sampled_from(ZONES))
def test_every_month_up_to_now_is_due_once(day: date, months: int, zone: str) -> None:
    first = last = day.replace(day=1)
    for _ in range(months):
        last = following(last)
    now = (due_at(last, ZoneInfo(zone)) + timedelta(days=3)).astimezone(UTC)
    due = list(months_due(first, now, ZoneInfo(zone)))
    assert (due[0], due[-1], len(due)) == (first, last, months + 1)
    assert due == sorted(set(due))


# Attachments


@pytest.mark.parametrize(
    ("size", "compressed", "form"),
    [
        (0, 0, Form.CSV),
        (LARGEST_PLAIN, LARGEST_PLAIN, Form.CSV),
        (LARGEST_PLAIN + 1, LARGEST_COMPRESSED, Form.ZIP),
        (LARGEST_PLAIN + 1, LARGEST_COMPRESSED + 1, Form.LEFT_OUT),
    ],
)
def test_a_file_goes_with_a_mail_as_servers_take_it(size: int, compressed: int, form: Form) -> None:
    assert form_of(size, compressed) is form
