"""Bars, and lines cut to a width."""

from __future__ import annotations

from unicodedata import combining, east_asian_width

from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.chart import bars, fit
from postmaster.render.escape import printable


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


@given(st.text(max_size=60), st.integers(0, 40))
def test_a_line_is_cut_to_its_cells(text: str, width: int) -> None:
    shown = fit(text, width)
    cells = sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in shown)
    assert cells <= width
    assert fit(shown, width) == shown
    if len(printable(text)) * 2 <= width:
        assert shown == printable(text)


def test_what_was_cut_is_marked() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("例え例え", 5) == "例え…"
    assert fit("例え例え", 4) == "例…"
    assert fit("abc", 3) == "abc"
    assert fit("\x1b[31m", 20) == "\\x1b[31m"
    assert fit("abc", 0) == ""
