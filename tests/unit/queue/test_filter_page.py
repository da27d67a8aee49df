"""The page on the filter language says what the language does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postmaster.queue.expression import MAXIMUM_CHARACTERS, MAXIMUM_DEPTH, FilterError, parse, parse_word
from postmaster.queue.fields import FIELDS, SPOOL_ONLY, Kind
from postmaster.queue.patterns import SEEN
from postmaster.queue.tree import OPERATORS

PAGE = (Path(__file__).parents[3] / "docs" / "filter.md").read_text(encoding="utf-8")
EXAMPLES = [
    line for block in re.findall(r"```filter\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
ROWS = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE, re.MULTILINE))


def test_every_field_stands_in_the_table() -> None:
    assert list(ROWS) == list(FIELDS)
    for name, field in FIELDS.items():
        kind, _, source = ROWS[name].split(" | ")
        assert kind == ("duration" if field.kind is Kind.until else field.kind.value)
        assert source == ("spool" if name in SPOOL_ONLY else "either"), name


def test_every_operator_and_unit_stands_there() -> None:
    for operator in OPERATORS:
        assert f"`{operator}`" in PAGE
    for unit in "smhdw":
        parse(f"age>1{unit}")
    for unit in ("", "B", "K", "M", "G"):
        parse(f"size>1{unit}")


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_filter(text: str) -> None:
    node = parse(text)
    assert parse(str(node)) == node


def test_examples_cover_every_field() -> None:
    whole = " ".join(EXAMPLES)
    for name in FIELDS:
        assert re.search(rf"\b{name}(?:!?[=~]|[<>])", whole), name


def test_the_filters_of_the_command_lines_are_filters() -> None:
    quoted = re.findall(r"^\$ postmaster queue \w+ '([^']*)'", PAGE, re.MULTILINE)
    assert len(quoted) >= 3
    for text in quoted:
        if text.endswith("age>2"):
            with pytest.raises(FilterError) as caught:
                parse(text)
            assert str(caught.value.detail) in PAGE
            assert caught.value.message in PAGE
        else:
            parse(text)
    assert parse_word("4B7Z2K5NHbz8gQ")


def test_the_limits_are_those_of_the_page() -> None:
    assert f"{MAXIMUM_CHARACTERS:,} characters and {MAXIMUM_DEPTH} levels" in PAGE
    assert f"{SEEN[1]:,} characters of a text, with two {SEEN[2]:,}, with three {SEEN[3]:,}" in " ".join(
        PAGE.split()
    )
