"""Entries as CSV, JSON, YAML or TOML, written one after the other: memory does not grow with them.

CSV and JSON have every field. YAML and TOML are for people to go on with: what is as it would be anyway
(switches that are on, an empty name, no end) is left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from enum import StrEnum
from itertools import groupby
from typing import Any, TextIO

from postmaster.bulk.fields import shown
from postmaster.directory.entries import CLASSES, FIELDS, Entry
from postmaster.render.escape import csv_field

#: Kind -> the name of its section.
SECTIONS = {
    "domain": "domains",
    "user": "users",
    "alias": "aliases",
    "forward": "forwards",
    "grant": "grants",
    "app_password": "app_passwords",
}
KIND_COLUMN = "kind"
#: The columns of a CSV.
COLUMNS = (KIND_COLUMN, *dict.fromkeys(name for names in FIELDS.values() for name in names))
_SECRET = frozenset({"password", "sha256", "protocols"})
# What people write without quotes; anything else is quoted, so that no reader takes it for something else.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*@?[A-Za-z0-9._-]*\.[A-Za-z][A-Za-z0-9-]*", re.ASCII)


class As(StrEnum):
    csv = "csv"
    json = "json"
    yaml = "yaml"
    toml = "toml"


def write(output: TextIO, form: As, entries: Iterable[Entry], *, hashes: bool) -> int:
    """Write entries that come by kind; how many there were.

    Without `hashes` the fields that would have them are left out.
    """
    counted = _Counted(entries)
    {As.csv: _csv, As.json: _json, As.yaml: _yaml, As.toml: _toml}[form](output, counted, hashes)
    return counted.count


class _Counted:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[Entry]:
        for one in self._entries:
            self.count += 1
            yield one


def _fields(one: Entry, hashes: bool) -> dict[str, Any]:
    found = shown(one)
    return found if hashes else {name: value for name, value in found.items() if name not in _SECRET}


def _csv(output: TextIO, entries: Iterable[Entry], hashes: bool) -> None:
    writer = csv.writer(output, lineterminator="\n")
    columns = [name for name in COLUMNS if hashes or name not in _SECRET]
    writer.writerow(columns)
    for one in entries:
        found = {KIND_COLUMN: one.kind, **shown(one)}
        writer.writerow([csv_field(_csv_text(found.get(name))) for name in columns])


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, list) else str(value)


def _by_section(entries: Iterable[Entry], hashes: bool) -> Iterator[tuple[str, Iterable[Entry]]]:
    """(name, entries) of every section, the empty ones too: that nothing is there is said as well."""
    waiting = groupby(entries, key=lambda one: one.kind)
    following = next(waiting, None)
    for kind, section in SECTIONS.items():
        if following is not None and following[0] == kind:
            yield section, following[1]
            following = next(waiting, None)
        elif hashes or kind != "app_password":
            yield section, ()


def _json(output: TextIO, entries: Iterable[Entry], hashes: bool) -> None:
    """One object with a list for each kind, an entry a line."""
    before = "{"
    for section, group in _by_section(entries, hashes):
        output.write(f'{before}\n"{section}": [')
        between = "\n"
        for one in group:
            output.write(between + "  " + json.dumps(_fields(one, hashes), ensure_ascii=False))
            between = ",\n"
        output.write("\n]" if between == ",\n" else "]")
        before = ","
    output.write("\n}\n")


def _short(one: Entry, hashes: bool) -> dict[str, Any]:
    return {
        name: value
        for name, value in _fields(one, hashes).items()
        if not (value is None or (name in _DEFAULTS[one.kind] and _DEFAULTS[one.kind][name] == value))
    }


_DEFAULTS: dict[str, dict[str, Any]] = {
    kind: {
        field.name: field.default
        for field in fields(one)
        if field.default is not MISSING and field.default is not None
    }
    for kind, one in CLASSES.items()
}


def _yaml(output: TextIO, entries: Iterable[Entry], hashes: bool) -> None:
    output.write("# A directory: `postmaster directory diff` compares it, `apply` brings it about.\n")
    for section, group in _by_section(entries, hashes):
        output.write(f"{section}:")
        end = " []\n"
        for one in group:
            lead = "\n- "
            for name, value in _short(one, hashes).items():
                output.write(f"{lead}{name}: {_flow(value)}")
                lead = "\n  "
            end = "\n"
        output.write(end)


def _toml(output: TextIO, entries: Iterable[Entry], hashes: bool) -> None:
    tables = io.StringIO()  # what is empty has to stand before every table
    for section, group in _by_section(entries, hashes):
        is_empty = True
        for one in group:
            is_empty = False
            tables.write(f"\n[[{section}]]\n")
            for name, value in _short(one, hashes).items():
                tables.write(f"{name} = {_toml_value(value)}\n")
        if is_empty:
            output.write(f"{section} = []\n")
    output.write(tables.getvalue())


def _flow(value: Any) -> str:
    """A value as YAML 1.2 has it; a text with anything odd in it is written as in JSON."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    """A text, number, boolean or list of texts of JSON is one of TOML as well."""
    return json.dumps(value, ensure_ascii=False)
