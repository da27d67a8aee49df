"""Ranges as the monitoring plugins' guidelines write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import UsageError
from postmaster.health.ranges import Range, at_least, at_most, parse_range

NUMBERS = st.integers(-(10**6), 10**6).map(float) | st.floats(-1e6, 1e6).map(lambda v: round(v, 4))


@pytest.mark.parametrize(
    ("text", "fine", "bad"),
    [
        ("10", (0, 10), (-1, 11)),
        ("10:", (10, 1e9), (9.9,)),
        ("~:10", (-1e9, 10), (10.1,)),
        ("10:20", (10, 20), (9, 21)),
        ("@10:20", (9, 21), (10, 15, 20)),
    ],
)
def test_the_examples_of_the_guidelines(text: str, fine: tuple[float, ...], bad: tuple[float, ...]) -> None:
    parsed = parse_range(text)
    assert not any(parsed.alerts(value) for value in fine)
    assert all(parsed.alerts(value) for value in bad)
    assert str(parsed) == text


@given(st.tuples(NUMBERS, NUMBERS).map(sorted), st.booleans(), st.booleans(), st.booleans(), NUMBERS)
def test_a_range_printed_and_parsed_again_alerts_alike(
    ends: list[float], no_start: bool, no_end: bool, inside: bool, value: float
) -> None:
    one = Range(-math.inf if no_start else ends[0], math.inf if no_end else ends[1], inside)
    assert parse_range(str(one)).alerts(value) is one.alerts(value)


@given(st.text(max_size=12))
def test_any_text_is_a_range_or_refused_in_one_line(text: str) -> None:
    try:
        parsed = parse_range(text)
    except UsageError as error:
        told = error.message
    else:
        told = str(parsed)
        assert str(parse_range(told)) == told
    assert told.isprintable()


def test_thresholds_alert_beyond_their_value() -> None:
    assert [at_most(5).alerts(v) for v in (4, 5, 6)] == [False, False, True]
    assert [at_least(5).alerts(v) for v in (4, 5, 6)] == [True, False, False]
