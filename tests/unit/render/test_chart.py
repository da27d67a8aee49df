"""Bars and spans of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.chart import bars, span


def test_bars() -> None:
    rows = [("5", 8), ("10", 4), ("1280+", 0), ("x", 1)]
    assert list(bars(rows, 18, unicode=False)) == [
        "    5  ######## 8",
        "   10  #### 4",
        "1280+  0",
        "    x  # 1",
    ]
    assert next(iter(bars(rows, 18))) == "    5  ████████ 8"
    assert list(bars([], 80)) == []


@given(
    st.lists(st.tuples(st.text("ab", max_size=6), st.integers(0, 10**6)), max_size=8),
    st.integers(1, 200),
    st.booleans(),
)
def test_bars_fit_and_something_is_not_nothing(
    rows: list[tuple[str, int]], width: int, unicode: bool
) -> None:
    lines = list(bars(rows, width, unicode=unicode))
    assert len(lines) == len(rows)
    least = (
        max((len(label) for label, _ in rows), default=0) + max((len(str(n)) for _, n in rows), default=0) + 5
    )
    for line, (_, number) in zip(lines, rows, strict=True):
        assert len(line) <= max(width, least)
        assert line.endswith(str(number))
        assert any(c in line for c in "#█▏▎▍▌▋▊▉") is (number > 0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    list(
        {
            -5: "0s",
            0: "0s",
            59: "59s",
            60: "1m",
            119: "1m",
            3600: "1h",
            3661: "1h 1m",
            86_400: "1d",
            86_400 + 3_599: "1d",
            90_000: "1d 1h",
            10**6: "11d 13h",
        }.items()
    ),
)
def test_spans(seconds: int, shown: str) -> None:
    assert span(seconds) == shown
