"""`postmaster directory check`."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.cli.findings import print_findings
from postmaster.cli.state import Output, state_of
from postmaster.errors import UsageError
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)


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
    from postmaster.routing.check import CODES, findings

    for code in (*(only or ()), *(skip or ())):
        if code not in CODES:
            raise UsageError(f"there is no code {code}", hint="there are: " + ", ".join(CODES))
    print_findings(
        output,
        (
            one
            for one in findings(state_of(context).settings)
            if one.code not in (skip or ()) and (not only or one.code in only)
        ),
    )
