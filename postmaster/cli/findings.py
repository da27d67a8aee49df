"""Printing findings: as they are found, and exit status 4 where there were any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from postmaster.cli.state import pasted, print_rows, say
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.routing.check.finding import Finding

_COLUMNS = [
    Column("code", "CODE"),
    Column("object", "OBJECT"),
    Column("message", "FINDING"),
    Column("remedy", "REMEDY"),
]
KEYS = ("code", "object", "message", "remedy")


def print_findings(output: Format, findings: Iterable[Finding]) -> None:
    """Raises Exit with status 4 when there are any."""
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for one in findings:
            count += 1
            row = {"code": one.code, "object": one.object, "message": one.message}
            yield {**row, "remedy": pasted(one.remedy) if output is Format.table else one.remedy}

    print_rows(output, _COLUMNS, rows(), KEYS)
    if output is Format.table:
        say(f"{count} {'finding' if count == 1 else 'findings'}")
    if count:
        raise typer.Exit(4)
