"""`postmaster health ack`, `unack` and `acks`: problems that somebody knows of."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.health.naming import acknowledged_names, problem_names
from postmaster.cli.state import Output, print_rows, state_of
from postmaster.errors import NotFoundError, UsageError
from postmaster.process import current_actor
from postmaster.render.output import Column, Format, write_line

if TYPE_CHECKING:
    from postmaster.health.changes import Acknowledgement, Problem

app = typer.Typer(rich_markup_mode=None)

MOST = 366 * 86_400  # seconds that an acknowledgement may last

_COLUMNS = [
    Column("check", "CHECK"),
    Column("object", "OBJECT"),
    Column("code", "CODE"),
    Column("status", "STATUS"),
    Column("until", "UNTIL"),
    Column("who", "WHO"),
    Column("reason", "REASON"),
]


@app.command(
    epilog="Examples: postmaster health ack machine --until 2d --reason 'new disk comes on Friday'; "
    "postmaster health ack certificates/imap/certificate-expiring --until 2027-01-31"
)
def ack(
    context: typer.Context,
    problem: Annotated[
        str,
        typer.Argument(
            metavar="CHECK[/OBJECT[/CODE]]",
            help="Which problems: all open ones of a check, of an object, or one.",
            autocompletion=problem_names,
        ),
    ],
    until: Annotated[
        str, typer.Option(metavar="DATE", help="How long: 2h, 3d, 2w, 2027-01-31, 2027-01-31 18:00.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reads the report.")] = "",
    output: Output = Format.table,
) -> None:
    """Acknowledge problems that are there now: nothing is told of them until the date.

    One that gets worse speaks again at once, one that is still there on the date speaks then. New problems of
    the same check are not covered.
    """
    from postmaster.health.changes import Acknowledgement
    from postmaster.health.finding import badness
    from postmaster.health.state import open_state

    now = time.time()
    end = _until(until, now)
    with open_state(state_of(context).settings.state) as state:
        known = {key: one for key, one in state.known().items() if one.level or any(one.recent)}
        chosen = _named(problem, known)
        if not chosen:
            open_now = ", ".join(sorted("/".join(key) for key in known)) or "no problem"
            raise NotFoundError(f"no problem is known as {problem}", hint=f"there is: {open_now}")
        given = [
            Acknowledgement(
                *key,
                severity=max(known[key].level, known[key].finding.severity, key=badness),
                until=end,
                reason=reason,
                who=current_actor(),
                at=now,
            )
            for key in chosen
        ]
        state.acknowledge(given)
    _show(given, output)


@app.command(epilog="Example: postmaster health unack machine")
def unack(
    context: typer.Context,
    problem: Annotated[
        str,
        typer.Argument(
            metavar="CHECK[/OBJECT[/CODE]]",
            help="Which, as acks lists them.",
            autocompletion=acknowledged_names,
        ),
    ],
    output: Output = Format.table,
) -> None:
    """Take acknowledgements back: what is still wrong is told with the next changes."""
    from postmaster.health.state import open_state

    with open_state(state_of(context).settings.state) as state:
        given = state.acknowledgements(time.time())
        chosen = _named(problem, given)
        if not chosen:
            raise NotFoundError(
                f"nothing is acknowledged as {problem}", hint="postmaster health acks lists all"
            )
        state.unacknowledge(chosen)
    _show([given[key] for key in chosen], output)


@app.command(epilog="Example: postmaster health acks -o json")
def acks(context: typer.Context, output: Output = Format.table) -> None:
    """List the acknowledgements whose date has not come."""
    from postmaster.health.state import open_state

    with open_state(state_of(context).settings.state) as state:
        found = state.acknowledgements(time.time())
    _show(found.values(), output)
    if output is Format.table and not found:
        write_line(sys.stdout, "nothing is acknowledged")


def _show(given: Iterable[Acknowledgement], output: Format) -> None:
    from postmaster.health.report.rows import ACKNOWLEDGEMENT_KEYS, acknowledgement

    print_rows(output, _COLUMNS, [acknowledgement(one) for one in given], ACKNOWLEDGEMENT_KEYS)


def _named(name: str, known: Iterable[Problem]) -> list[Problem]:
    """Those that it names. An object may hold a slash, so nothing is taken apart."""
    return sorted(
        key for key in known if name in (key[0], "/".join(key[:2]), "/".join(key), f"{key[0]}//{key[2]}")
    )


def _until(text: str, now: float) -> float:
    """The moment in the future that is meant: a span is counted from now on."""
    from postmaster.trace.times import moment

    given = moment(text, now)
    is_span = re.fullmatch(r"[0-9]+ ?[a-z]+", text.strip())
    end = 2 * now - given if is_span else given
    if not now < end <= now + MOST:
        raise UsageError(
            f"{text!r} is not between now and a year from now", hint="for example 2d, 3w or 2027-01-31"
        )
    return end
