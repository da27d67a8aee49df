"""`postmaster health install` and `uninstall`: the checks as a timer's work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.state import DryRun, Output, Yes, confirm, print_rows, say, state_of
from postmaster.errors import UsageError
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.health.schedule import File

app = typer.Typer(rich_markup_mode=None)

_COLUMNS = [Column("action", "ACTION"), Column("path", "FILE")]


@app.command(
    epilog="Examples: postmaster health install; postmaster health install --every 10m --daily 06:30 "
    "--to ops@example.org; postmaster health install --cron --dry-run"
)
def install(
    context: typer.Context,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Timers of systemd, also where it does not run yet.")
    ] = False,
    cron: Annotated[bool, typer.Option("--cron", help="A file in /etc/cron.d.")] = False,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="How often changes are looked for, as in 5m or 1h.")
    ] = "5m",
    daily: Annotated[str, typer.Option(metavar="HH:MM", help="When the daily digest is sent.")] = "07:00",
    to: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Who gets it; else health.report_to or mail.postmaster.")
    ] = "",
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Run the checks regularly: changes are mailed at once, a digest daily.

    Without --systemd or --cron by what runs here. Run it again to change the times; what is as it should be
    stays.
    """
    from postmaster.health import schedule as timers
    from postmaster.health.report.send import NOBODY

    if systemd and cron:
        raise UsageError(
            "--systemd and --cron exclude each other", hint="without either, what runs here is used"
        )
    settings = state_of(context).settings
    wanted = timers.schedule(settings, every, daily, to)
    if not (to or settings.health.report_to or settings.mail.postmaster):
        raise UsageError("nobody is named to send reports to", hint=f"--to ADDRESS, or {NOBODY}")
    kind = "systemd" if systemd else "cron" if cron else timers.detect()
    _show(timers.install(wanted, kind, dry_run=dry_run), output, contents=dry_run)
    if not dry_run:
        say("postmaster health uninstall takes it away again")


@app.command(epilog="Example: postmaster health uninstall --yes")
def uninstall(yes: Yes = False, dry_run: DryRun = False, output: Output = Format.table) -> None:
    """Take the timers or the crontab away that install made. What was kept of runs stays."""
    from postmaster.health import schedule as timers

    files = timers.uninstall(dry_run=True)
    if files and not dry_run:
        confirm(f"remove {', '.join(str(file.path) for file in files)}?", yes=yes)
        files = timers.uninstall()
    _show(files, output, contents=False)
    if not dry_run:
        say("postmaster health install makes it again" if files else "there is nothing to remove")


def _show(files: Sequence[File], output: Format, *, contents: bool) -> None:
    if output is not Format.table or not contents:
        rows = [{"action": f.action, "path": f.path, "content": f.content or None} for f in files]
        print_rows(output, _COLUMNS, rows, ("action", "path", "content"))
        return
    for file in files:
        sys.stdout.write(f"# {file.action}: {file.path}\n{file.content}\n")
