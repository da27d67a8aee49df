"""Paces, and what is a wish to slow down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import UsageError
from postmaster.postfix.events import Delivery
from postmaster.queue.pace import is_stop, parse_pace, parse_stops, reply_in


def test_paces() -> None:
    assert parse_pace("20/min") == 3
    assert parse_pace("1/s") == 1
    assert parse_pace(" 500 / H ") == 7.2
    for bad in ("20", "0/min", "-1/s", "20/day", "", "a/min", "1.5/s"):
        with pytest.raises(UsageError):
            parse_pace(bad)


def test_stops() -> None:
    assert parse_stops("421,4.7") == ("421", "4.7")
    assert parse_stops("none") == ()
    for bad in ("", "99", "4", "4.x", "slow", "421;4.7"):
        with pytest.raises(UsageError):
            parse_stops(bad)


@given(st.text(max_size=20))
def test_any_text_is_a_pace_or_a_mistake(text: str) -> None:
    for parse in (parse_pace, parse_stops):
        try:
            parse(text)
        except UsageError:
            continue


def delivery(dsn: str, text: str, status: str = "deferred") -> Delivery:
    return Delivery("8E360228131", "a@b", None, "x", None, 0.0, (), None, dsn, status, text)


@pytest.mark.parametrize(
    ("dsn", "text", "stops", "expected"),
    [
        ("4.7.1", "host x[1.2.3.4] said: 450 4.7.1 greylisted", ("4.7",), True),
        ("4.71.0", "host x[1.2.3.4] said: 450 4.71.0 no", ("4.7",), False),
        ("4.0.0", "host x[1.2.3.4] said: 421 later (in reply to MAIL)", ("421",), True),
        ("4.0.0", "host x[1.2.3.4] refused to talk to me: 421 too many", ("421",), True),
        ("4.2.2", "host x[1.2.3.4] said: 452-4.2.2 full", ("421", "4.7"), False),
        ("4.4.1", "connect to x[1.2.3.4]:25: Connection refused", ("421", "4.7"), False),
        ("4.7.1", "x", (), False),
    ],
)
def test_what_stops(dsn: str, text: str, stops: tuple[str, ...], expected: bool) -> None:
    assert is_stop(delivery(dsn, text), stops) is expected
    assert not is_stop(delivery(dsn, text, "sent"), stops)


def test_the_reply_in_a_text() -> None:
    assert reply_in("250 2.0.0 Ok (queued) as 4B7Z2K5NHbz8gQ") == "250"
    assert reply_in("host x[1.2.3.4] said: 421 4.7.0 later") == "421"
    assert reply_in("connect to x[1.2.3.4]:25: Connection refused") is None
