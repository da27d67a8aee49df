"""`postmaster trace`: what became of a message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli import reading
from postmaster.cli.state import Output, print_rows, say, state_of
from postmaster.errors import NotFoundError, UsageError
from postmaster.render.output import Column, Format, timestamp, write_line

if TYPE_CHECKING:
    from postmaster.settings import Settings
    from postmaster.trace.history import History
    from postmaster.trace.search import Query

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SCREEN_LIMIT = 20  # messages shown on a terminal unless told otherwise
PROBE_SECONDS = 60.0
_COLUMNS = [Column(key, key) for key in ("begin", "sender", "outcome", "verdict")]


@app.command(
    epilog="Examples: postmaster trace amy@example.org --since 2d; postmaster trace 4B7Z2K5NHbz8gQ --lines; "
    "postmaster trace --from amy@example.org --status bounced; "
    "postmaster trace probe bob@example.net; zcat old.gz | postmaster trace amy@example.org --log -"
)
@reading.filtering
def trace(
    context: typer.Context,
    conditions: reading.Conditions,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT",
            help="Address, domain, queue ID, Message-ID, client, login; or: probe ADDRESS sends a message "
            "and traces it.",
        ),
    ] = None,
    since: reading.Since = None,
    until: reading.Until = None,
    log: reading.Logs = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The latest so many; 0 for all. On a terminal 20."),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Show exactly the log lines that belong to it, nothing else.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching until it has ended.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Watch at most so long; a probe 60.")
    ] = None,
    output: Output = Format.table,
) -> None:
    """Say what became of a message: its way through all queue IDs, and a verdict.

    Without --log it reads the server's own logs, rotated ones too, and asks the queue for what still waits.
    """
    from postmaster.queue.recorded import Record
    from postmaster.trace import follow as watching
    from postmaster.trace.join import stories
    from postmaster.trace.search import Logs, Query
    from postmaster.trace.sources import Notes, Period

    settings = state_of(context).settings
    words, notes, period = list(what or []), Notes(), reading.period_of(since, until)
    wanted = conditions.filter()
    is_probe = len(words) == 2 and words[0] == "probe"
    if len(words) > 1 and not is_probe:
        raise UsageError("one WHAT at a time", hint="add conditions: --from, --to, --since")
    if is_probe:
        query, period = _probe(settings, words[1]), Period(datetime.now(UTC).timestamp() - 1)
        follow, timeout = True, PROBE_SECONDS if timeout is None else timeout
    else:
        query = Query(words[0] if words else "", wanted)
    query.needle()  # refuses a question about nothing before anything is read
    config_directory = None if log else settings.postfix.config_directory
    if follow:
        if log and any(str(path) == "-" for path in log):
            raise UsageError("standard input cannot be watched", hint="name a file with --log")
        told: set[tuple[float, str, str]] = set()
        found = watching.follow(
            lambda: reading.logs_of(context, log),
            query,
            period,
            notes,
            lambda made: _tell(made, told) if output is Format.table and not lines else None,
            seconds=timeout,
        )
    else:
        found = stories(Logs(reading.logs_of(context, log), period, notes), query)
    record = Record(settings)
    try:
        made = watching.histories(found, config_directory, record)
    finally:
        record.close()
    if record.problem is not None:
        say(f"{record.problem}; who acted on a message in the queue is not told")
    if not made:
        reading.finish(notes)
        if found.begin is not None:
            logs = f"which start at {timestamp(_moment(found.begin))}"
        elif period == Period():
            logs = "which have no line with a time stamp that is known"
        else:
            logs = "which have no line of that time"
        raise NotFoundError(
            f"{query.what or 'such a message'} is not in these logs, {logs}",
            hint="name older logs with --log, or look in the queue: postmaster queue list",
        )
    most = limit if limit is not None else SCREEN_LIMIT if sys.stdout.isatty() and not lines else 0
    more = len(made) - most if most else 0
    _print(output, made[-most:] if most else made, lines)
    if more > 0:
        say(f"{more} earlier messages; --limit 0 shows all")
    if found.is_cut:
        say("there were too many to follow them all; narrow it down with --since, --from or --to")
    reading.finish(notes)
    if is_probe and any(one.status != "sent" for each in made for one in each.outcomes):
        raise typer.Exit(4)


def _probe(settings: Settings, recipient: str) -> Query:
    from postmaster.address import parse_address
    from postmaster.postfix import postconf
    from postmaster.trace.follow import send_probe
    from postmaster.trace.search import Query

    address = parse_address(recipient).ascii
    directory = settings.postfix.config_directory
    sender = settings.mail.postmaster or f"postmaster@{postconf.value(directory, 'myhostname')}"
    return Query(send_probe(directory, sender, address))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _tell(made: list[History], told: set[tuple[float, str, str]]) -> None:
    """While watching: each step once, as it is seen."""
    for one in made:
        for step in one.steps:
            key = (step.time, step.kind, step.text)
            if key not in told:
                told.add(key)
                say(f"{_local(step.time)}  {step.queue_id or '':<14}  {step.text}")


def _local(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def row(one: History) -> dict[str, Any]:
    from postmaster.trace.verdict import verdict

    judged = verdict(one)
    return {
        "begin": _moment(one.begin),
        "end": _moment(one.end),
        "message_id": one.message_id,
        "sender": one.sender,
        "size": one.size,
        "client": one.client,
        "login": one.login,
        "tls": one.tls,
        "queue_ids": one.queue_ids,
        "outcome": judged.outcome,
        "verdict": judged.text,
        "remedy": judged.remedy or None,
        "is_whole": one.is_whole,
        "is_over": one.is_over,
        "told": None if one.told is None else _moment(one.told),
        "postmaster_told": None if one.postmaster_told is None else _moment(one.postmaster_told),
        "recipients": [{**asdict(outcome), "time": _moment(outcome.time)} for outcome in one.outcomes],
        "actions": [act.as_row() for act in one.acts],
        "steps": [{**asdict(step), "time": _moment(step.time)} for step in one.steps],
        "lines": [line.raw for line in one.story.lines],
    }


def _print(output: Format, made: list[History], lines: bool) -> None:
    if lines:
        for one in made:
            for line in one.story.lines:
                write_line(sys.stdout, line.raw)
    elif output is Format.table:
        for number, one in enumerate(made):
            if number:
                write_line(sys.stdout, "")
            for text in _timeline(one):
                write_line(sys.stdout, text)
    elif output is Format.csv:
        print_rows(output, _COLUMNS, map(_short, made))
    else:
        print_rows(output, _COLUMNS, map(row, made))


def _short(one: History) -> dict[str, Any]:
    """A message as one line of a spreadsheet."""
    made = row(one)
    made["recipients"] = [outcome.recipient or "" for outcome in one.outcomes]
    made["actions"] = [act.text for act in one.acts]
    del made["steps"], made["lines"]
    return made


def _timeline(one: History) -> Iterator[str]:
    from postmaster.trace.verdict import verdict

    judged = verdict(one)
    sender = "an unknown sender" if one.sender is None else one.sender or "<>"
    yield f"From {sender}{f', Message-ID {one.message_id}' if one.message_id else ''}"
    day = ""
    for step in one.steps:
        moment = datetime.fromtimestamp(step.time)
        today = f"{moment:%Y-%m-%d}"
        shown, day = today if today != day else "", today
        yield f"  {shown:<10} {moment:%H:%M:%S}  {step.queue_id or '':<14}  {step.text}"
    yield f"  = {judged.text}"
    if judged.remedy:
        yield f"    To do: {judged.remedy}"
