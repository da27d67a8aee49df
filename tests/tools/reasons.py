"""The labelled reasons of delay in tests/data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent.parent / "data"


class Labelled(NamedTuple):
    label: str
    dsn: str
    reason: str


def labelled_reasons(name: str = "delay_reasons.tsv") -> list[Labelled]:
    """Every row of a file; a row that is not three fields is an error."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        if not line.startswith("#"):
            label, dsn, reason = line.split("\t")
            rows.append(Labelled(label, dsn, reason))
    return rows
