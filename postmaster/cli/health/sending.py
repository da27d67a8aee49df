"""A health report as a mail: what `-o mail` prints, and what `--send` sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postmaster.cli.state import progress, say

if TYPE_CHECKING:
    from postmaster.health.report import Report
    from postmaster.settings import Settings


def send_report(settings: Settings, report: Report) -> None:
    """Send it, and say what failed on the way. Raises ServerError where it reached nobody."""
    from postmaster.health.report.mail import message
    from postmaster.health.report.send import send

    tell = progress()
    for one in send(settings, message(report)):
        if one.error is None:  # told on a terminal alone: cron makes a mail of every word
            tell(f"sent by {one.way}" + (f" to {', '.join(one.recipients)}" if one.recipients else ""))
        else:
            say(f"not sent by {one.way}: {one.error}" + (f" ({one.hint})" if one.hint else ""))


def as_mail(settings: Settings, report: Report) -> str:
    """As it stands in a file: `sendmail -t` takes it from there. Raises SettingsError."""
    from postmaster.health.report.mail import message
    from postmaster.health.report.send import addressed

    return addressed(settings, message(report)).as_string()
