"""`postmaster directory check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from postmaster.cli.state import Output, print_rows, say, state_of
from postmaster.errors import UsageError
from postmaster.render.output import Column, Format
from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_COLUMNS = [
    Column("code", "CODE"),
    Column("object", "OBJECT"),
    Column("message", "FINDING"),
    Column("remedy", "REMEDY"),
]
KEYS = ("code", "object", "message", "remedy")


def _codes(incomplete: str) -> list[str]:
    from postmaster.routing.check import CODES

    return [code for code in CODES if code.startswith(incomplete)]


@app.command(
    epilog="Examples: postmaster directory check; postmaster directory check --skip missing_abuse -o json"
)
def check(
    context: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Only findings with this code.", autocompletion=_codes),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="No findings with this code.", autocompletion=_codes),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Look for faults in the whole directory: circles, dead targets, what servers see otherwise, and more.

    Exit status 4 where there are findings. docs/routing.md says what each code means.
    """
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in _rows(state_of(context).settings, only or [], skip or []):
            count += 1
            yield row

    print_rows(output, _COLUMNS, rows(), KEYS)
    if output is Format.table:
        say(f"{count} {'finding' if count == 1 else 'findings'}")
    if count:
        raise typer.Exit(4)


def _rows(settings: Settings, only: list[str], skip: list[str]) -> Iterator[dict[str, Any]]:
    from postmaster.routing.check import CODES, findings

    for code in (*only, *skip):
        if code not in CODES:
            raise UsageError(f"there is no code {code}", hint="there are: " + ", ".join(CODES))
    for one in findings(settings):
        if one.code not in skip and (not only or one.code in only):
            yield {"code": one.code, "object": one.object, "message": one.message, "remedy": one.remedy}
