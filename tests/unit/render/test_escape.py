"""Text from outside is shown so that nothing in it acts on a terminal or a spreadsheet."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.escape import csv_field, csv_value, printable

ANY = st.text(st.characters(exclude_categories=[])) | st.binary().map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


@given(ANY)
def test_nothing_unsafe_is_left(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Zl", "Zp") for c in shown)
    assert not any(
        unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI") for c in shown
    )
    shown.encode("utf-8")
    assert printable(shown) == shown


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\r\n", "a\\tb\\r\\n"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\udcff", "\\xff"),
        ("\x9b31m", "\\x9b31m"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\U000e0041", "\\U000e0041"),
        ("[bold]müller[/bold]", "[bold]müller[/bold]"),
    ],
)
def test_each_kind(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_a_csv_field_is_no_formula_and_reads_back(text: str) -> None:
    field = csv_field(text)
    assert not field.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert csv_value(field) == text
