"""Printing findings: as they are found, and exit status 4 where there were any."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from postmaster.cli.state import pasted, print_rows, say
from postmaster.render.escape import printable
from postmaster.render.output import Column, Format, write_line

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
    """Raises Exit with status 4 when there are any.

    On a terminal each is a block of lines: in a narrow column nobody could read a remedy, or copy it.
    """
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for one in findings:
            count += 1
            full = row(one)
            yield {**full, "remedy": pasted(one.remedy)} if output is Format.table else full

    if output is Format.table and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        for one in rows():
            _write_block(one, width)
    else:
        print_rows(output, COLUMNS, rows(), KEYS)
    if output is Format.table:
        say(f"{count} {'finding' if count == 1 else 'findings'}")
    if count:
        raise typer.Exit(4)


def _write_block(one: dict[str, Any], width: int) -> None:
    """A finding for a terminal. The remedy is one line however long, so that it can be copied."""
    indent = " " * 2
    write_line(sys.stdout, f"{one['object']} ({one['code']})")
    lines = textwrap.wrap(printable(one["message"]), max(20, width - 2), break_on_hyphens=False)
    for line in (*lines, one["remedy"]):
        write_line(sys.stdout, indent + line)
    write_line(sys.stdout, "")
