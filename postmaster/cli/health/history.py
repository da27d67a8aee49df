"""`postmaster health history` and `availability`: what was, from the runs that are kept."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.health.naming import check_names
from postmaster.cli.state import Output, print_rows, state_of
from postmaster.render.output import Column, Format, duration, write_line

if TYPE_CHECKING:
    from postmaster.health.uptime import Uptime

app = typer.Typer(rich_markup_mode=None)

_HISTORY = [
    Column("time", "TIME"),
    Column("change", "CHANGE"),
    Column("status", "STATUS"),
    Column("check", "CHECK"),
    Column("object", "OBJECT"),
    Column("lasted", "LASTED", right=True),
    Column("message", "MEASURED"),
]
_AVAILABILITY = [
    Column("month", "MONTH"),
    Column("check", "CHECK"),
    Column("object", "OBJECT"),
    Column("percent", "UP %", right=True),
    Column("down", "DOWN", right=True),
    Column("known", "KNOWN", right=True),
]


@app.command(
    epilog="Examples: postmaster health history; postmaster health history queue --since 7d; "
    "postmaster health history -o json"
)
def history(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[CHECK]", help="Of this check alone.", autocompletion=check_names),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="From this time on: today, 7d, 2026-05-28 20:15."),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List what began, got worse, got better and ended, the oldest first.

    A problem is here once it was seen in so many runs as health.flap says, acknowledged or not.
    """
    from postmaster.health.report.rows import EVENT_KEYS, event
    from postmaster.health.run import choose
    from postmaster.health.state import open_state
    from postmaster.trace.times import moment

    if name is not None:
        choose([name], [])
    begin = 0.0 if since is None else moment(since, time.time())
    with open_state(state_of(context).settings.state) as state:
        found = state.events(name, begin)
    rows = []
    for one in found:
        row = event(one)
        if output is Format.table:
            row["lasted"] = duration(max(0.0, one.at - one.since))
        rows.append(row)
    print_rows(output, _HISTORY, rows, EVENT_KEYS)
    if output is Format.table and not rows:
        write_line(sys.stdout, "nothing changed")


@app.command(
    epilog="Examples: postmaster health availability; postmaster health availability services -o json"
)
def availability(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHECK…", help="Of these checks.", autocompletion=check_names),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List how long each service was up in each month (UTC), of the time that is known.

    From the runs that are kept: what one found counts until the next, for a quarter of an hour or twice the
    timer's time at most. Up is what is not critical; what is unknown counts for nothing.
    """
    from postmaster.health.run import choose
    from postmaster.health.state import open_state

    checks = [one.name for one in choose(names or ["services"], [])]
    with open_state(state_of(context).settings.state) as state:
        found = state.uptimes(checks)
    rows = [_share(one, output is Format.table) for one in found]
    print_rows(output, _AVAILABILITY, rows, ("month", "check", "object", "percent", "up", "down", "known"))
    if output is Format.table and not rows:
        write_line(sys.stdout, "nothing is known yet")


def _share(one: Uptime, for_people: bool) -> dict[str, Any]:
    percent = 100 * one.up / one.known if one.known else 0.0
    down = one.known - one.up
    return {
        "month": one.month,
        "check": one.check,
        "object": one.object,
        "percent": f"{percent:.2f}" if for_people else round(percent, 4),
        "up": round(one.up),
        "down": duration(down) if for_people else round(down),
        "known": duration(one.known) if for_people else round(one.known),
    }
