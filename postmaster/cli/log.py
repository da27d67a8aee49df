"""`postmaster log`: report, suspicious."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli import reading
from postmaster.cli.state import Output, print_record, print_rows, say
from postmaster.errors import UsageError
from postmaster.render.chart import bar
from postmaster.render.output import Column, Format, size, timestamp, write_line
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.render.page import Section

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="The mail log in figures.",
    epilog="Example: postmaster log report --since today",
)


@app.callback()
def log() -> None:
    """The mail log in figures."""


class ReportFormat(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    html = "html"


_HOURLY = (
    Column("received", "RECEIVED", right=True),
    Column("delivered", "DELIVERED", right=True),
    Column("deferrals", "DEFERRALS", right=True),
    Column("bounced", "BOUNCED", right=True),
    Column("rejected", "REJECTED", right=True),
)
_WAYS = (
    Column("name", "NAME"),
    Column("sent", "SENT", right=True),
    Column("deferrals", "DEFERRALS", right=True),
    Column("bounced", "BOUNCED", right=True),
    Column("median", "MEDIAN s", right=True),
    Column("p95", "95 % s", right=True),
    Column("p99", "99 % s", right=True),
)
_MESSAGES = (
    Column("name", "NAME"),
    Column("messages", "MESSAGES", right=True),
    Column("size", "SIZE", right=True),
)
_COUNTS = (Column("name", "NAME"), Column("count", "COUNT", right=True))

#: Key in the report, heading, columns, and the key that is drawn as a bar.
_SECTIONS: tuple[tuple[str, str, Sequence[Column], str], ...] = (
    ("days", "By day", (Column("day", "DAY"), *_HOURLY), "delivered"),
    ("hours", "By hour", (Column("hour", "HOUR"), *_HOURLY), "delivered"),
    ("senders", "Senders", _MESSAGES, "messages"),
    ("sender_domains", "Senders' domains", _MESSAGES, "messages"),
    ("recipients", "Recipients", _MESSAGES, "messages"),
    ("destinations", "Recipients' domains", _WAYS, ""),
    ("relays", "Delivered through", _WAYS, ""),
    ("clients", "Clients", _COUNTS, "count"),
    ("logins", "Logins that sent", _COUNTS, "count"),
    (
        "reasons",
        "Reasons",
        (Column("kind", "KIND"), Column("count", "COUNT", right=True), Column("reason", "REASON")),
        "",
    ),
    (
        "delays",
        "Delays of deliveries, in seconds",
        (Column("stage", "STAGE"), Column("count", "COUNT", right=True), *_WAYS[4:]),
        "",
    ),
    (
        "tls",
        "TLS",
        (
            Column("direction", "DIRECTION"),
            Column("protocol", "PROTOCOL"),
            Column("count", "COUNT", right=True),
        ),
        "count",
    ),
    ("failed_clients", "Clients whose passwords were refused", _COUNTS, "count"),
    ("failed_logins", "Logins whose passwords were refused", _COUNTS, "count"),
    (
        "complaints",
        "Warnings and errors",
        (
            Column("level", "LEVEL"),
            Column("program", "PROGRAM"),
            Column("count", "COUNT", right=True),
            Column("text", "TEXT"),
        ),
        "",
    ),
)


@app.command(
    epilog="Examples: postmaster log report --since yesterday --until today; "
    "postmaster log report --since 24h --compare; "
    "postmaster log report --to example.org --status deferred; postmaster log report -o html > day.html"
)
@reading.filtering
def report(
    context: typer.Context,
    conditions: reading.Conditions,
    since: reading.Since = None,
    until: reading.Until = None,
    log: reading.Logs = None,
    top: Annotated[int, typer.Option(min=0, metavar="N", help="Lines of each list; 0 for all.")] = 10,
    compare: Annotated[
        bool, typer.Option("--compare", help="Beside it the period of the same length before --since.")
    ] = False,
    unparsed: Annotated[
        bool, typer.Option("--unparsed", help="Show the lines that were not understood, nothing else.")
    ] = False,
    output: Annotated[
        ReportFormat, typer.Option("-o", "--output", help="How to print; html is one page that stands alone.")
    ] = ReportFormat.table,
) -> None:
    """Count what a mail log has: messages, bytes, refusals, delays, reasons, names.

    Without --log it reads the server's own logs, rotated ones too. Lists show the largest first.
    """
    import time

    from postmaster.trace import report as work
    from postmaster.trace.sources import Notes, Period

    period, notes = reading.period_of(since, until), Notes()
    if compare and period.since is None:
        raise UsageError("--compare needs --since", hint="for example --since today")
    if compare and log and any(str(path) == "-" for path in log):
        raise UsageError("standard input can be read once only", hint="leave out --compare")
    logs = reading.logs_of(context, log)
    if unparsed:
        for line in work.unparsed(logs, period, notes):
            write_line(sys.stdout, line)
        reading.finish(notes)
        return
    wanted = conditions.filter()
    counted = work.count(logs, period, wanted, notes)
    made: dict[str, Any] = {
        "since": _moment(period.since),
        "until": _moment(period.until),
        **work.report(counted, top),
        "compared": None,
    }
    if compare and period.since is not None:
        length = (period.until or time.time()) - period.since
        before = Period(period.since - length, period.since)
        earlier = work.report(work.count(logs, before, wanted, notes), top)
        made["compared"] = {
            "since": _moment(before.since),
            "until": _moment(before.until),
            "totals": earlier["totals"],
        }
    _print(output, made)
    if counted.lines and counted.foreign == counted.lines:
        say("no line is Postfix's or Dovecot's with a time stamp that is known: is it a mail log?")
    if made["unparsed"]:
        say(f"{made['unparsed']} lines were not understood; --unparsed shows them")
    reading.finish(notes)


_FOUND = [
    Column("kind", "KIND"),
    Column("login", "LOGIN"),
    Column("evidence", "EVIDENCE"),
    Column("addresses", "FROM"),
    Column("command", "COMMAND"),
]


@app.command(
    epilog="Examples: postmaster log suspicious --since 1d; "
    "postmaster log suspicious --since 7d --places 10 --guesses 3"
)
def suspicious(
    context: typer.Context,
    since: reading.Since = None,
    until: reading.Until = None,
    log: reading.Logs = None,
    places: Annotated[
        int, typer.Option(min=2, metavar="N", help="Networks a login sent from within a day.")
    ] = 5,
    burst: Annotated[
        int, typer.Option(min=1, metavar="N", help="Messages of a login in an hour, ten times its usual.")
    ] = 50,
    bounces: Annotated[
        int, typer.Option(min=1, metavar="N", help="Recipients of a login that bounced, a fifth of all.")
    ] = 20,
    guesses: Annotated[
        int, typer.Option(min=1, metavar="N", help="Passwords refused to an address before one was taken.")
    ] = 5,
    output: Output = Format.table,
) -> None:
    """Find logins that look stolen: many places, suddenly far more mail, many bounces, a guessed password.

    Each with the evidence and the command that stops it. The exit status is 4 when there are any.
    """
    from postmaster.trace.sources import Notes
    from postmaster.trace.suspicious import Limits, look

    notes = Notes()
    limits = Limits(places=places, burst=burst, bounces=bounces, guesses=guesses)
    found = look(reading.logs_of(context, log), reading.period_of(since, until), limits, notes)
    rows = [
        {
            "kind": one.kind,
            "login": one.login,
            "count": one.count,
            "evidence": one.evidence,
            "first": _moment(one.first),
            "last": _moment(one.last),
            "addresses": list(one.addresses),
            "command": f"postmaster user set {word(one.login)} --no-login --no-send",
        }
        for one in found
    ]
    print_rows(output, _FOUND, rows)
    if not found and output is Format.table:
        write_line(sys.stdout, "nothing suspicious")
    reading.finish(notes)
    if found:
        raise typer.Exit(4)


def _moment(seconds: float | None) -> Any:
    from datetime import UTC, datetime

    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _print(output: ReportFormat, made: dict[str, Any]) -> None:
    match output:
        case ReportFormat.json | ReportFormat.jsonl:
            print_record(Format(output.value), made)
        case ReportFormat.csv:
            print_rows(Format.csv, _CSV, _flat(made))
        case ReportFormat.html:
            from postmaster.render.page import page

            sys.stdout.write(page("Mail report", _heading(made), _sections(made)))
        case ReportFormat.table:
            write_line(sys.stdout, _heading(made))
            for section in _sections(made):
                if not section.rows:
                    continue
                write_line(sys.stdout, "")
                write_line(sys.stdout, section.title)
                columns = section.columns
                rows: Iterable[dict[str, Any]] = [dict(row) for row in section.rows]
                if section.bar:
                    largest = max(row[section.bar] for row in section.rows)
                    columns = [*columns, Column("chart", "")]
                    rows = [{**row, "chart": bar(row[section.bar], largest) or " "} for row in section.rows]
                print_rows(Format.table, columns, rows)


_CSV = [Column(key, key) for key in ("section", "name", "measure", "value")]


def _flat(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A report as rows: where a number stands, whose it is, what it counts."""
    for key, value in made.items():
        if key == "compared":
            for name, number in (value or {"totals": {}})["totals"].items():
                yield {"section": "compared", "name": "", "measure": name, "value": number}
        elif isinstance(value, dict):
            for name, number in value.items():
                yield {"section": key, "name": "", "measure": name, "value": number}
        elif isinstance(value, list):
            for row in value:
                texts = [
                    item for item in row.values() if not isinstance(item, int | float) and item is not None
                ]
                name = " ".join(item if isinstance(item, str) else timestamp(item) for item in texts)
                for measure, number in row.items():
                    if isinstance(number, int | float):
                        yield {"section": key, "name": name, "measure": measure, "value": number}
        else:
            yield {"section": "report", "name": "", "measure": key, "value": value}


def _heading(made: dict[str, Any]) -> str:
    begin = timestamp(made["since"]) if made["since"] else "the beginning"
    end = timestamp(made["until"]) if made["until"] else "the end"
    return f"Mail from {begin} to {end}, {made['lines']:,} lines"


def _sections(made: dict[str, Any]) -> Iterator[Section]:
    from postmaster.render.page import Section

    before = made["compared"]["totals"] if made["compared"] else None
    columns = [Column("what", "WHAT"), Column("number", "NUMBER", right=True)]
    if before is not None:
        columns += [Column("before", "BEFORE", right=True), Column("change", "CHANGE", right=True)]
    rows = []
    for key, number in made["totals"].items():
        row = {"what": key.replace("_", " "), "number": _shown(key, number)}
        if before is not None:
            row["before"] = _shown(key, before[key])
            row["change"] = f"{100 * (number - before[key]) / before[key]:+.0f} %" if before[key] else "-"
        rows.append(row)
    yield Section("Totals", columns, rows)
    for key, title, own, drawn in _SECTIONS:
        found = made[key]
        if key == "days" and len(found) < 2:
            continue
        if key == "delays":
            found = [row for row in found if row["count"]]
        if own is _MESSAGES:
            found = [{**row, "size": size(row["bytes"])} for row in found]
        yield Section(title, own, found, drawn)


def _shown(key: str, number: int) -> str:
    return size(number) if key.startswith("bytes") else f"{number:,}"
