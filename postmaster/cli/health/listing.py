"""`postmaster health list`: what the checks look at, the codes they find, the thresholds in force."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.health.naming import check_names
from postmaster.cli.state import Output, print_record, print_rows, state_of
from postmaster.render.output import Column, Format, write_line

if TYPE_CHECKING:
    from postmaster.health.finding import Check
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None)

_COLUMNS = [Column("name", "CHECK"), Column("meaning", "WHAT IT LOOKS AT")]
_CODES = [Column("code", "CODE"), Column("meaning", "WHAT IT MEANS")]


@app.command("list", epilog="Examples: postmaster health list; postmaster health list queue")
def list_(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="This check in full.", autocompletion=check_names),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List the checks and what each looks at; one by its name with its codes and thresholds."""
    from postmaster.health.checks import NAMES, load

    settings = state_of(context).settings
    if name is None:
        rows = [_row(load(each), settings) for each in NAMES]
        print_rows(output, _COLUMNS, rows)
        return
    from postmaster.health.run import choose

    (check,) = choose([name], [])
    if output is not Format.table:
        print_record(output, _row(check, settings))
        return
    write_line(sys.stdout, f"{check.name}: {check.meaning}")
    sys.stdout.write("\n")
    print_rows(output, _CODES, [{"code": code, "meaning": text} for code, text in _codes(check)])
    limits = [{"key": key, "value": value} for key, value in _limits(check, settings)]
    if limits:
        sys.stdout.write("\n")
        print_rows(output, [Column("key", "SETTING"), Column("value", "IN FORCE", right=True)], limits)


def _row(check: Check, settings: Settings) -> dict[str, Any]:
    return {
        "name": check.name,
        "meaning": check.meaning,
        "codes": [{"code": code, "meaning": text} for code, text in _codes(check)],
        "settings": [{"key": key, "value": value} for key, value in _limits(check, settings)],
    }


def _codes(check: Check) -> Iterator[tuple[str, str]]:
    from postmaster.health.checks import COMMON_CODES

    yield from {**check.codes, **COMMON_CODES}.items()


def _limits(check: Check, settings: Settings) -> Iterator[tuple[str, Any]]:
    for key in check.settings:
        yield f"health.{key}", getattr(settings.health, key)
