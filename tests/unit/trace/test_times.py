"""Time stamps of every form are read, the year and the zone included; moments are understood."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import UsageError
from postmaster.postfix.stamps import Clock
from postmaster.trace.times import moment


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("reference", "stamp", "expected"),
    [
        ("2026-05-28T20:30", "May 28 20:26:40", "2026-05-28T18:26:40"),
        ("2026-01-01T00:10", "Dec 31 23:59:59", "2025-12-31T22:59:59"),  # over New Year
        ("2026-01-01T00:10", "Jan  1 00:05:00", "2025-12-31T23:05:00"),
        ("2026-03-01T00:10", "Feb 29 12:00:00", "2024-02-29T11:00:00"),  # the last leap day
        ("2104-03-01T00:10", "Feb 29 12:00:00", "2104-02-29T11:00:00"),
        ("2104-02-20T00:10", "Feb 29 12:00:00", "2096-02-29T11:00:00"),  # eight years apart over 2100
        ("2026-05-28T20:30", "2026-05-28T20:26:40+02:00", "2026-05-28T18:26:40"),
        ("2026-05-28T20:30", "2026-05-28T20:26:40.250000-0430", "2026-05-29T00:56:40.250"),
        ("2026-05-28T20:30", "2026-05-28T20:26:40Z", "2026-05-28T20:26:40"),
        ("2026-05-28T20:30", "2026-05-28 20:26:40", "2026-05-28T18:26:40"),
        ("2026-10-25T20:30", "Oct 25 03:30:00", "2026-10-25T02:30:00"),  # the day summer time ends
    ],
)
def test_a_stamp_is_a_moment(reference: str, stamp: str, expected: str) -> None:
    assert Clock(utc(reference)).seconds(stamp) == utc(expected)


@pytest.mark.parametrize("stamp", ["Foo 28 20:26:40", "Feb 30 20:26:40", "May 28 25:26:40", "May 28 20:66:40",
                                   "2026-13-01T00:00:00Z", "2026-01-01T00:00:99Z", "0000-01-01T00:00:00Z"])  # fmt: skip
def test_a_stamp_of_no_moment_is_none(stamp: str) -> None:
    assert Clock(utc("2026-05-28T20:30")).seconds(stamp) is None


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=360)),
)
def test_a_log_of_less_than_a_year_gets_its_years_back(last: datetime, before: timedelta) -> None:
    reference = last.timestamp()
    when = (last - before).replace(microsecond=0)
    assert Clock(reference).seconds(f"{when:%b} {when.day:2d} {when:%H:%M:%S}") == pytest.approx(
        when.timestamp(), abs=3600  # the hour that comes twice in autumn
    )  # fmt: skip


@given(st.binary(max_size=60))
def test_any_bytes_are_a_moment_or_none(line: bytes) -> None:
    Clock(1_700_000_000.0).of_line(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-05-28T18:30:00"),
        ("today", "2026-05-27T22:00:00"),
        ("yesterday", "2026-05-26T22:00:00"),
        ("2h", "2026-05-28T16:30:00"),
        ("3d", "2026-05-25T18:30:00"),
        ("20:15", "2026-05-28T18:15:00"),
        ("2026-05-01", "2026-04-30T22:00:00"),
        ("2026-05-01 12:00", "2026-05-01T10:00:00"),
        ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00"),
    ],
)
def test_a_moment_as_people_name_it(text: str, expected: str) -> None:
    assert moment(text, utc("2026-05-28T18:30")) == utc(expected)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-02-30", "9999999d", "2026-05-01T12:00:00+99:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment(text, 0.0)


@given(
    st.from_regex(r"\d{1,6}w|(0001|9999)-(01|12)-(01|31)(T(00|23):(00|59)([+-](00|14):00)?)?", fullmatch=True)
)
def test_every_moment_is_one_that_a_date_can_be_made_of(text: str) -> None:
    with suppress(UsageError):
        found = moment(text, 1_780_000_000.0)
        assert datetime.fromtimestamp(found, UTC).timestamp() == found
        datetime.fromtimestamp(found)
