"""`postmaster health digest`: what is wrong, what changed, and the log in figures."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.health.sending import as_mail, send_report
from postmaster.cli.state import progress, state_of
from postmaster.errors import UsageError
from postmaster.render.output import Format, write_record

if TYPE_CHECKING:
    from postmaster.health.report import Report
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None)


class Form(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    html = "html"
    mail = "mail"


@app.command(
    epilog="Examples: postmaster health digest; postmaster health digest --send; "
    "postmaster health digest --since 7d; postmaster health digest -o html > day.html"
)
def digest(
    context: typer.Context,
    send: Annotated[
        bool, typer.Option("--send", help="Send it as a mail; the next digest begins where it ends.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="From then until now, instead of yesterday: today, 7d, 2026-05-28, 2026-05-28T20:15.",
        ),
    ] = None,
    output: Annotated[
        Form, typer.Option("-o", "--output", help="How to print: table, html, mail for people.")
    ] = Form.table,
) -> None:
    """Tell what is wrong, what changed since the last digest, and how much mail there was yesterday.

    Figures are compared with the same weekday before. The exit status is 0 once the digest is made, however
    bad its news.
    """
    from postmaster.health import digest as work
    from postmaster.health.run import choose
    from postmaster.trace.times import moment

    if send and output not in (Form.table, Form.mail):
        raise UsageError("--send is for a mail", hint="postmaster health digest --send")
    begin = None if since is None else moment(since, time.time())
    if begin is not None and begin >= time.time():
        raise UsageError("--since is not before now")
    settings = state_of(context).settings
    with work.digest(settings, choose([], []), begin, progress()) as report:
        if send:
            send_report(settings, report)
            work.sent(settings, report)
        else:
            _print(settings, report, output)


def _print(settings: Settings, report: Report, form: Form) -> None:
    match form:
        case Form.html:
            from postmaster.health.report import html

            sys.stdout.write(html.page(report))
        case Form.mail:
            sys.stdout.write(as_mail(settings, report))
        case Form.table:
            from postmaster.health.report import text

            sys.stdout.write(text.text(report))
        case _:
            from postmaster.health.report import rows

            write_record(sys.stdout, Format(form), rows.record(report))
