"""A line of any form becomes one of the usual form, and as many lines come out as went in."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given

from postmaster.postfix.forms import LEFT_OUT, moment_of, plain
from postmaster.postfix.stamps import Clock
from tests.tools.forms import ENTRY, lines_of_any_form

CLOCK = Clock(1_780_000_000.0)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (None, LEFT_OUT),  # long, and journalctl was not given --all
        (["4B7Z2K5NHbz8gQ:", "removed"], "4B7Z2K5NHbz8gQ: removed"),  # a field that came twice
        (["one", [0xFF, 0x0A, 0x62], None], f"one \udcff b {LEFT_OUT}"),
        ("two\nlines\r\x1b\u2028more", "two lines \x1b more"),
        ([], ""),
        ("", ""),
    ],
)
def test_whatever_a_journals_field_holds_is_one_line(message: object, text: str) -> None:
    entry = {**ENTRY, "MESSAGE": message, "_HOSTNAME": "mail\nforged", "SYSLOG_IDENTIFIER": ["postfix/qmgr"]}
    made = plain(json.dumps(entry).encode() + b"\n").decode("utf-8", "surrogateescape")
    assert made == f"2026-05-28T20:26:39.500000+00:00 mail forged postfix/qmgr[17]: {text}\n"


@pytest.mark.parametrize("message", [17, {"a": 1}, [300], [-1], ["x", {}], 1.5, True, [[[[]]], 1]])
def test_a_journals_entry_that_is_none_gives_nothing(message: object) -> None:
    assert plain(json.dumps({**ENTRY, "MESSAGE": message}).encode() + b"\n") == b"\n"


@given(lines_of_any_form())
@example(b"a\r\nb\rc\n")
@example(b"{\r}\n{}\n")
def test_there_are_as_many_lines_as_before(block: bytes) -> None:
    assert plain(block).count(b"\n") == block.count(b"\n") + (b"{" in _last(block)[:1])


def _last(block: bytes) -> bytes:
    """What stands after the last end of a line: an entry of JSON gets an end."""
    return block[block.rfind(b"\n") + 1 :]


@given(lines_of_any_form())
def test_any_bytes_have_a_time_or_none(block: bytes) -> None:
    assert moment_of(block, CLOCK) is None or moment_of(block, CLOCK) >= 0  # type: ignore[operator]


def test_the_time_of_an_entry_is_not_taken_from_its_text() -> None:
    text = '"__REALTIME_TIMESTAMP":"1000000"'
    entry = {"MESSAGE": text, **ENTRY}
    assert moment_of(json.dumps(entry).encode(), CLOCK) == 1779999999.5
    assert moment_of(json.dumps({"MESSAGE": text}).encode(), CLOCK) is None
