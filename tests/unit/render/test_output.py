"""Rows and records in every format: what is written reads back, and nothing is held that need not be."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.escape import csv_value, printable
from postmaster.render.output import (
    Column,
    Format,
    as_json,
    cell,
    size,
    timestamp,
    write_line,
    write_record,
    write_rows,
)

COLUMNS = [Column("name", "NAME"), Column("count", "COUNT", right=True)]
UNDECODABLE = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
TEXT = st.text(st.characters(codec="utf-8") | UNDECODABLE)
ROWS = st.lists(st.fixed_dictionaries({"name": TEXT, "count": st.integers()}), max_size=10)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(form: Format, rows: Any, output: io.StringIO | None = None) -> str:
    output = output or io.StringIO(newline="")
    write_rows(output, form, COLUMNS, rows)
    return output.getvalue()


@given(ROWS)
def test_json_and_jsonl_read_back(rows: list[dict[str, Any]]) -> None:
    assert json.loads(written(Format.json, rows)) == rows
    for form in (Format.json, Format.jsonl, Format.csv):
        shown = written(form, rows).replace("\n", "")
        assert shown == printable(shown)
        shown.encode()  # nothing undecodable is left
    lines = written(Format.jsonl, rows).split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == rows


@given(ROWS, st.lists(TEXT, max_size=3))
def test_what_comes_one_by_one_is_written_as_a_list_is(rows: list[dict[str, Any]], texts: list[str]) -> None:
    for form in Format:
        given, listed = io.StringIO(newline=""), io.StringIO(newline="")
        write_record(given, form, {"rows": iter(rows), "texts": texts, "more": map(str, texts)})
        write_record(listed, form, {"rows": rows, "texts": texts, "more": texts})
        assert given.getvalue() == listed.getvalue()
        if form is Format.json:
            assert json.loads(listed.getvalue()) == {"rows": rows, "texts": texts, "more": texts}
            assert (
                listed.getvalue() == as_json({"rows": rows, "texts": texts, "more": texts}, indent=2) + "\n"
            )


@given(ROWS)
def test_csv_reads_back_with_one_apostrophe_taken_off(rows: list[dict[str, Any]]) -> None:
    text = written(Format.csv, rows)
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    shown = [{"name": printable(row["name"]), "count": row["count"]} for row in rows]
    assert [{"name": csv_value(r["name"]), "count": int(csv_value(r["count"]))} for r in read] == shown
    assert text.count("\n") == len(rows) + 1
    assert all(not field.startswith(("=", "+", "-", "@", "\t")) for r in read for field in r.values())


@given(ROWS)
def test_a_table_has_a_line_for_each_row_and_no_control_character(rows: list[dict[str, Any]]) -> None:
    lines = written(Format.table, rows).split("\n")
    assert len(lines) == (len(rows) + 2 if rows else 1)
    assert all(c.isprintable() or c == " " or ord(c) > 0x9F for line in lines for c in line)


@given(ROWS)
def test_rich_reads_no_markup_in_what_it_draws(rows: list[dict[str, Any]]) -> None:
    text = written(Format.table, [{**row, "name": "[red]" + str(row["count"])} for row in rows], Terminal())
    assert text.count("[red]") == len(rows)
    assert "\x1b[31m" not in text


def test_what_comes_after_the_first_screen_stands_below_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"name": "a" * (30 if number == 3 else 3), "count": number} for number in range(40)]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written(Format.table, rows, Terminal())).splitlines()
    assert len(lines) == 41
    assert {line.rindex(line.split()[1]) + len(line.split()[1]) for line in lines} == {32 + len("COUNT")}


def test_a_long_table_streams_after_the_first_rows() -> None:
    pulled = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for number in range(100_000):
            pulled += 1
            yield {"name": f"n{number}", "count": number}

    class Stop(Exception):
        pass

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if self.tell() > 5000:
                raise Stop
            return super().write(text)

    for form in Format:
        pulled = 0
        with pytest.raises(Stop):
            write_rows(Full(), form, COLUMNS, rows())
        assert pulled < 1000


def test_a_record_in_each_format() -> None:
    record = {
        "address": "amy@example.org",
        "targets": ["a@example.org", "b@example.org"],
        "empty": [],
        "quota_bytes": None,
        "login": True,
        "made_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
        "folder": Path("/var/vmail/x"),
    }
    output = io.StringIO()
    write_record(output, Format.table, record)
    assert output.getvalue().splitlines() == [
        "address      amy@example.org",
        "targets      a@example.org",
        "             b@example.org",
        "empty        none",
        "quota bytes  -",
        "login        yes",
        "made at      2026-01-02T02:04:05Z",
        "folder       /var/vmail/x",
    ]
    output = io.StringIO()
    write_record(output, Format.json, record)
    assert json.loads(output.getvalue())["made_at"] == "2026-01-02T02:04:05Z"
    output = io.StringIO()
    write_record(output, Format.jsonl, record)
    assert output.getvalue().count("\n") == 1
    output = io.StringIO(newline="")
    write_record(output, Format.csv, record)
    assert output.getvalue().splitlines()[1] == (
        "amy@example.org,a@example.org b@example.org,,,true,2026-01-02T02:04:05Z,/var/vmail/x"
    )


def test_nothing_to_show() -> None:
    assert json.loads(written(Format.json, [])) == []
    assert written(Format.jsonl, []) == ""
    assert written(Format.csv, []) == "name,count\n"
    output = io.StringIO()
    write_rows(output, Format.csv, COLUMNS, [], ("name", "count", "more"))
    assert output.getvalue() == "name,count,more\n"
    assert written(Format.table, []) == ""
    assert written(Format.table, [], Terminal()) == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "none"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**30, "1 GiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_sizes_for_people(number: int | None, text: str) -> None:
    assert size(number) == text


def test_cells_and_lines_are_escaped() -> None:
    assert cell({"a": ["\x1b", None]}) == "a \\x1b, -"
    assert cell("") == "-"
    assert timestamp(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
    output = io.StringIO()
    write_line(output, "a\x1bb")
    assert output.getvalue() == "a\\x1bb\n"
