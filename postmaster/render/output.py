"""Writing rows and records in the format that was asked for, as they come.

A table on a terminal is drawn by rich for the first screen and continues as plain rows, so a long list
neither waits nor grows in memory. Into a pipe or a file it is plain from the start: no box art, no
colour, and rich is not loaded.

In every format control characters, and what reorders or hides text, come out escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from postmaster.render.escape import csv_field, json_text, printable

FIRST_ROWS = 200  # looked at to choose the widths of plain columns
MAXIMUM_WIDTH = 60  # characters of a plain column but the last


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the key in a row, and its heading. Not every key needs one."""

    key: str
    heading: str
    right: bool = False


Row = Mapping[str, Any]


def write_rows(
    output: TextIO, form: Format, columns: Sequence[Column], rows: Iterable[Row], keys: Sequence[str] = ()
) -> None:
    """Write many rows, each a mapping with the same keys.

    `keys` are those keys, for the heading of a CSV without rows; else the columns' keys are.
    """
    if form is Format.json:
        _write_array(output, rows)
    elif form is Format.jsonl:
        for row in rows:
            output.write(as_json(row) + "\n")
    elif form is Format.csv:
        _write_csv(output, keys or [column.key for column in columns], rows)
    elif output.isatty():
        _write_screen(output, columns, rows)
    else:
        _write_plain(output, columns, iter(rows))


def write_record(output: TextIO, form: Format, record: Row) -> None:
    """Write one object: lines of key and value as a table, one object in JSON.

    In JSON a value may be an iterator: its items are written as they come.
    """
    if form is Format.json:
        between = "{\n"
        for key, value in record.items():
            output.write(f"{between}  {as_json(str(key))}: ")
            between = ",\n"
            if isinstance(value, Iterator):
                _write_items(output, value)
            else:
                output.write(as_json(value, indent=2).replace("\n", "\n  "))
        output.write("\n}\n" if record else "{}\n")
        return
    record = {key: list(value) if isinstance(value, Iterator) else value for key, value in record.items()}
    if form is Format.jsonl:
        output.write(as_json(record) + "\n")
    elif form is Format.csv:
        _write_csv(output, list(record), [record])
    else:
        width = max((len(key) for key in record), default=0)
        for key, value in record.items():
            label = key.replace("_", " ")
            items = value if isinstance(value, list | tuple) else [value]
            for item in items or ["none"]:
                output.write(f"{label:<{width}}  {cell(item)}".rstrip() + "\n")
                label = ""


def with_room(columns: Sequence[Column], room: Mapping[str, int], output: TextIO) -> list[Column]:
    """The columns that a terminal has room for: `room` has the least width for those it can do without."""
    if not output.isatty():
        return list(columns)
    import shutil

    width = shutil.get_terminal_size().columns
    return [column for column in columns if width >= room.get(column.key, 0)]


def plain(value: Any) -> Any:
    """The value as JSON has it: times as RFC 3339 in UTC, paths and addresses as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return timestamp(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def moment(seconds: int) -> datetime:
    """A time in seconds since the epoch, with its zone."""
    return datetime.fromtimestamp(seconds, UTC)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cell(value: Any) -> str:
    """A value as people read it in a table, safe to show."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items()) or "-"
    return printable(str(plain(value)))


def size(number: int | None) -> str:
    """Bytes for people: `1.5 GiB`; `none` for no limit."""
    if number is None:
        return "none"
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"


def as_json(row: Any, indent: int | None = None) -> str:
    """A value as JSON that is safe to show on a terminal."""
    text = json.dumps(plain(row), ensure_ascii=False, indent=indent)
    if indent is None:
        return json_text(text)
    return "\n".join(map(json_text, text.split("\n")))  # the line ends are JSON's own


def duration(seconds: float) -> str:
    """A time span for people, in its two largest units: `3d 4h`, `12m`, `45s`; `-2m` for one that is over."""
    left, sign = abs(int(seconds)), "-" if int(seconds) < 0 else ""
    words: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not words):
            words.append(f"{count}{unit}")
        if words and (len(words) == 2 or unit == "m"):
            break
    return sign + " ".join(words)


def _write_items(output: TextIO, items: Iterator[Any]) -> None:
    """A list within an object."""
    separator = "["
    for item in items:
        text = as_json(item, indent=2).replace("\n", "\n    ")
        output.write(f"{separator}\n    {text}")
        separator = ","
    output.write("\n  ]" if separator == "," else "[]")


def _write_array(output: TextIO, rows: Iterable[Row]) -> None:
    """A JSON array, a row a line, without holding the rows."""
    separator = "[\n"
    for row in rows:
        output.write(f"{separator}  {as_json(row)}")
        separator = ",\n"
    output.write("\n]\n" if separator == ",\n" else "[]\n")


def _write_csv(output: TextIO, keys: Sequence[str], rows: Iterable[Row]) -> None:
    import csv

    writer = csv.writer(output, lineterminator="\n")
    headed = False
    for row in rows:
        if not headed:
            keys, headed = list(row), True
            writer.writerow(keys)
        writer.writerow([csv_field(_csv_text(row[key])) for key in keys])
    if not headed:
        writer.writerow(keys)


def _csv_text(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(" ".join(value))
    return printable(value) if isinstance(value, str) else as_json(value)


def _write_plain(
    output: TextIO, columns: Sequence[Column], rows: Iterator[Row], above: Sequence[Row] | None = None
) -> None:
    """Plain rows; `above` are those that stand above them already, with the heading."""
    drawn = [[cell(row.get(c.key)) for c in columns] for row in above or ()]
    first = [[cell(row.get(c.key)) for c in columns] for row in islice(rows, FIRST_ROWS)]
    widths = [
        min(MAXIMUM_WIDTH, max([len(column.heading), *(len(line[at]) for line in (*drawn, *first))]))
        for at, column in enumerate(columns)
    ]
    head = [[column.heading for column in columns]] if above is None and first else []
    rest = ([cell(row.get(c.key)) for c in columns] for row in rows)
    for line in chain(head, first, rest):
        cells = [
            f"{text:>{width}}" if column.right else f"{text:<{width}}"
            for text, width, column in zip(line, widths, columns, strict=True)
        ]
        output.write("  ".join(cells).rstrip() + "\n")


def _write_screen(output: TextIO, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    import shutil

    waiting = iter(rows)
    first = list(islice(waiting, max(10, shutil.get_terminal_size().lines - 4)))
    if not first:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for row in first:
        table.add_row(*(Text(cell(row.get(column.key))) for column in columns))  # Text: no markup is read
    Console(file=output, highlight=False).print(table)
    _write_plain(output, columns, waiting, first)


def write_line(output: TextIO, text: str | Path) -> None:
    """A line for people, safe to show."""
    output.write(printable(str(text)) + "\n")
