"""`postmaster health`: check, list."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.state import Output, print_record, print_rows, state_of
from postmaster.render.output import Column, Format, write_line

if TYPE_CHECKING:
    from postmaster.health.finding import Finding

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Whether mail works. The exit status is the monitoring plugins': "
    "0 ok, 1 warning, 2 critical, 3 unknown.",
    epilog="Example: postmaster health check",
)

_COLUMNS = [
    Column("status", "STATUS"),
    Column("check", "CHECK"),
    Column("object", "OBJECT"),
    Column("message", "MEASURED"),
    Column("remedy", "REMEDY"),
]


def _names(incomplete: str) -> list[str]:
    from postmaster.health.checks import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


@app.command(
    epilog="Examples: postmaster health check; postmaster health check queue machine; "
    "postmaster health check -o json"
)
def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Only these checks.", autocompletion=_names)
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Not this check.", autocompletion=_names)
    ] = None,
    output: Output = Format.table,
) -> None:
    """Run the checks, all at once, and say what is wrong and what to do."""
    from postmaster.health.finding import worst
    from postmaster.health.run import choose, run

    findings = run(state_of(context).settings, choose(names or [], skip or []))
    status = worst(findings)
    rows = [_row(finding) for finding in findings]
    if output in (Format.json, Format.jsonl):
        print_record(output, {"status": status.name, "findings": rows})
    else:
        print_rows(output, _COLUMNS, rows)
    if output is Format.table:
        write_line(sys.stdout, f"mail is {status.name}")
    if status:
        raise typer.Exit(int(status))


@app.command("list", epilog="Example: postmaster health list")
def list_(output: Output = Format.table) -> None:
    """List the checks and what each looks at."""
    from postmaster.health.checks import NAMES, load

    columns = [Column("name", "CHECK"), Column("meaning", "WHAT IT LOOKS AT")]
    print_rows(output, columns, ({"name": c.name, "meaning": c.meaning} for c in map(load, NAMES)))


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "object": finding.object,
        "code": finding.code,
        "status": finding.severity.name,
        "message": finding.message,
        "remedy": finding.remedy,
        "measures": [
            {
                "name": measure.name,
                "value": measure.value,
                "unit": measure.unit,
                "warning": None if measure.warning is None else str(measure.warning),
                "critical": None if measure.critical is None else str(measure.critical),
            }
            for measure in finding.measures
        ],
    }
