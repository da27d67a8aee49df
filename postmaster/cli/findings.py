"""Printing findings: as they are found, and exit status 4 where there were any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from postmaster.cli.state import print_rows, say
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.routing.check.finding import Finding
    from postmaster.setup.check import Finding as Answer

COLUMNS = [
    Column("code", "CODE"),
    Column("object", "OBJECT"),
    Column("message", "FINDING"),
    Column("remedy", "REMEDY"),
]
KEYS = ("code", "object", "message", "remedy")


def row(one: Finding | Answer) -> dict[str, Any]:
    return {"code": one.code, "object": one.object, "message": one.message, "remedy": one.remedy}


def print_findings(output: Format, findings: Iterable[Finding]) -> None:
    """Raises Exit with status 4 when there are any."""
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for one in findings:
            count += 1
            yield row(one)

    print_rows(output, COLUMNS, rows(), KEYS)
    if output is Format.table:
        say(f"{count} {'finding' if count == 1 else 'findings'}")
    if count:
        raise typer.Exit(4)
