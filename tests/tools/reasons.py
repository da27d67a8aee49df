"""The labelled reasons of delay in tests/data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent.parent / "data" / "delay_reasons.tsv"


class Labelled(NamedTuple):
    label: str
    dsn: str
    reason: str


def labelled_reasons() -> list[Labelled]:
    """Every row of the file; a row that is not three fields is an error."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        if not line.startswith("#"):
            label, dsn, reason = line.split("\t")
            rows.append(Labelled(label, dsn, reason))
    return rows
