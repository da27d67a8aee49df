"""Bars have the length of their share; a page escapes all that it shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.chart import bar
from postmaster.render.output import Column
from postmaster.render.page import Section, page


@pytest.mark.parametrize(
    ("value", "largest", "expected"),
    [
        (0, 10, ""),
        (10, 10, "████"),
        (5, 10, "██"),
        (1, 1000, "▏"),
        (3, 0, ""),
        (20, 10, "████"),
        (4.375, 10, "█▊"),
    ],
)
def test_a_bar(value: float, largest: float, expected: str) -> None:
    assert bar(value, largest, 4) == expected


@given(st.floats(0, 1e6), st.floats(0.001, 1e6), st.integers(1, 80))
def test_a_bar_is_never_longer_than_its_width(value: float, largest: float, width: int) -> None:
    assert len(bar(value, largest, width)) <= width


@given(st.text(), st.text(), st.text())
def test_a_page_escapes_every_text(title: str, name: str, heading: str) -> None:
    columns = [Column("name", "NAME"), Column("count", "COUNT", right=True)]
    made = page(title, heading, [Section(name, columns, [{"name": name, "count": 3}], "count")])
    plain = page("x", "x", [Section("x", columns, [{"name": "x", "count": 3}], "count")])
    assert made.count("<") == plain.count("<")
    assert made.count(">") == plain.count(">")
    assert "\x1b" not in made


def test_a_section_without_rows_says_so() -> None:
    assert "<p>none</p>" in page("x", "x", [Section("y", [Column("name", "NAME")], [])])
