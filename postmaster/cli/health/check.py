"""`postmaster health check`: run the checks, keep the run, and report it in the form that was asked for."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from postmaster.cli.health.naming import check_names
from postmaster.cli.health.sending import as_mail, send_report
from postmaster.cli.state import say, state_of
from postmaster.errors import PostmasterError, UsageError
from postmaster.render.output import Column, Format, write_line, write_record, write_rows
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.health.finding import Finding
    from postmaster.health.judge import Threshold
    from postmaster.health.report import Report
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None)


class Form(StrEnum):
    """The forms of every command, and those of a health report."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    nagios = "nagios"
    prometheus = "prometheus"
    html = "html"
    mail = "mail"


_STATES = (Form.nagios, Form.prometheus)  # what they tell is how it is, not what changed

_COLUMNS = [
    Column("status", "STATUS"),
    Column("check", "CHECK"),
    Column("object", "OBJECT"),
    Column("message", "MEASURED"),
    Column("remedy", "REMEDY"),
]
_CHANGES = [Column("change", "CHANGE"), *_COLUMNS]


@app.command(
    epilog="Examples: postmaster health check; postmaster health check queue machine; "
    "postmaster health check --changes; postmaster health check -o nagios --warn queue.deferred.age=3600; "
    "postmaster health check -o prometheus --to /var/lib/prometheus/node-exporter/mail.prom"
)
def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Only these.", autocompletion=check_names)
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Not this check; may be given again.", autocompletion=check_names),
    ] = None,
    changes: Annotated[
        bool,
        typer.Option(
            "--changes", help="Only what began, got worse, got better or ended since it was last told."
        ),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="A timer runs this every TIME, as in 5m: tell a missed run."),
    ] = None,
    warn: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]RANGE", help="Warn outside of this range, as in queue.hold.age=86400."),
    ] = None,
    crit: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]RANGE", help="Critical outside of this range; may be given again."),
    ] = None,
    output: Annotated[
        Form,
        typer.Option("-o", "--output", help="How to report: table, html, mail for people."),
    ] = Form.table,
    everything: Annotated[
        bool, typer.Option("--all", "-v", help="In a table, each thing that is well too.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report to this file, at once and as a whole."),
    ] = None,
    send: Annotated[
        bool,
        typer.Option("--send", help="Send the mail, unless nothing changed; status 0 once it is sent."),
    ] = False,
) -> None:
    """Run the checks, all at once, keep the run, and say what is wrong and what to do."""
    from postmaster.health.alone import BusyError
    from postmaster.health.finding import Severity
    from postmaster.health.judge import thresholds
    from postmaster.health.record import Wish, report
    from postmaster.health.run import choose
    from postmaster.health.schedule import SENDING, parse_every

    if changes and output in _STATES:
        raise UsageError(f"{output} tells how it is, not what changed", hint="leave --changes out")
    if send and output is not Form.mail:
        raise UsageError("--send is for a mail", hint="postmaster health check -o mail --send")
    if send and to is not None:
        raise UsageError("--send and --to exclude each other", hint="a mail is sent, or written to a file")
    if to is not None:
        _check_target(to)
    chosen = choose(names or [], skip or [])
    given = thresholds(warn or [], crit or [], [one.name for one in chosen])
    settings = state_of(context).settings
    wish = Wish(
        changes=changes,
        every=None if every is None else parse_every(every),
        charts=output in (Form.html, Form.mail),
        # Nobody asks again for what a timer asks.
        patience=settings.health.deadline + SENDING if send else 0.0,
    )
    try:
        with report(settings, chosen, wish, lambda findings: _judged(findings, given)) as made:
            if not send:
                _write(settings, made, output, to, every=everything)
            elif not made.quiet:
                send_report(settings, made)
    except BusyError as error:
        if output is Form.nagios:  # a plugin's line goes to standard output
            name = Severity(error.plugin_status).name.upper()
            write_line(sys.stdout, f"MAIL {name} - {error.message}")
            raise typer.Exit(error.plugin_status) from None
        raise
    if made.status and not send:
        raise typer.Exit(int(made.status))


def _check_target(path: Path) -> None:
    """Before anything is run. What is there may be replaced, but no device and no folder."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file that could be replaced", hint="print it instead")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"the folder of {path} does not exist", hint=f"mkdir -p {word(path.parent)}")


def _judged(findings: Sequence[Finding], given: Sequence[Threshold]) -> Sequence[Finding]:
    from postmaster.health.judge import judge

    found, unmet = judge(findings, given)
    for name in unmet:
        say(f"this run has no measure {name}" if name else "this run has no measure")
    return found


def _write(settings: Settings, report: Report, form: Form, to: Path | None, *, every: bool) -> None:
    """To a file as a whole, or to standard output, to its very end: what is not written is not told."""
    if to is None:
        _render(settings, report, form, sys.stdout, every)
        sys.stdout.flush()
        return
    from postmaster.files import replace

    text = io.StringIO()
    _render(settings, report, form, text, every)
    try:
        kept = to.stat() if to.exists() else None
        mode = 0o644 if form is Form.prometheus else 0o600 if kept is None else stat.S_IMODE(kept.st_mode)
        owner = (os.geteuid(), os.getegid()) if kept is None else (kept.st_uid, kept.st_gid)
        replace(to.resolve(), text.getvalue().encode(), mode, *owner)
    except OSError as error:
        raise PostmasterError(f"{to} cannot be written: {error.strerror}") from None


def _render(settings: Settings, report: Report, form: Form, output: TextIO, every: bool) -> None:
    match form:
        case Form.nagios:
            from postmaster.health.report import nagios

            output.write(nagios.text(report))
        case Form.prometheus:
            from postmaster.health.report import prometheus

            output.write(prometheus.text(report))
        case Form.html:
            from postmaster.health.report import html

            output.write(html.page(report))
        case Form.mail:
            output.write(as_mail(settings, report))
        case _:
            _render_rows(report, Format(form), output, every)


def _render_rows(report: Report, form: Format, output: TextIO, every: bool) -> None:
    from postmaster.health.report import rows

    if form in (Format.json, Format.jsonl):
        write_record(output, form, rows.record(report))
        return
    if report.events is not None:
        write_rows(output, form, _CHANGES, [rows.event(one) for one in report.events], rows.EVENT_KEYS)
    elif form is Format.table:
        from postmaster.cli.health import screen

        screen.show(output, report, every=every)
    else:
        write_rows(output, form, _COLUMNS, [rows.finding(one) for one in report.findings])
    _tell(report)


def _tell(report: Report) -> None:
    """What a table has no place for."""
    from postmaster.health.report import words

    for note in words.notes(report):
        say(note)
