"""`postmaster undo`: take back changes of the directory."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.cli.history import MOST, change_row, line
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    confirm,
    print_record,
    progress,
    say,
    say_undo,
    state_of,
)
from postmaster.errors import PartialError
from postmaster.render.output import Format

SHOWN = 50  # changes that are named before the question

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster undo --dry-run; postmaster undo 12 --yes --reason 'wrong address'; "
    "postmaster undo 12 --restore-password"
)
def undo(
    context: typer.Context,
    entries: Annotated[
        list[int] | None,
        typer.Argument(
            min=1, max=MOST, metavar="[ENTRY…]", help="Entries of the history; else the last that holds."
        ),
    ] = None,
    restore_password: Annotated[
        bool,
        typer.Option(
            "--restore-password",
            help="Also bring back a replaced password, an open account, a revoked app password.",
        ),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take back what entries of the history did. Refused where something was changed since.

    It is an entry of the history itself, so an undo can be undone.
    """
    from postmaster.directory import undo as undoing
    from postmaster.lifecycle import removal

    state = state_of(context)
    numbers, entry, failed = list(entries or ()), None, list[str]()
    words = " ".join([*map(str, numbers), *(["--restore-password"] if restore_password else [])])
    with state.directory(f"undo {words}".strip(), reason=reason) as directory:
        tell = progress()
        if dry_run or not yes:
            with directory.change(keep=False) as change:
                undone = undoing.undo(change, numbers, restore_passwords=restore_password, progress=tell)
            numbers = [one.number for one in undone.entries]
        if not dry_run:
            if not yes:
                for one in undone.changes[:SHOWN]:
                    say(line(one))
                if len(undone.changes) > SHOWN:
                    say(f"and {len(undone.changes) - SHOWN} more; --dry-run -o json has them all")
                what = "; ".join(f"{one.number} ({one.command})" for one in undone.entries)
                confirm(f"Undo {what}?", yes=False)
            done = removal.take_back(directory, numbers, restore_passwords=restore_password, progress=tell)
            undone, entry, failed = done.undone, done.entry, done.failed
    for note in undone.notes:
        say(f"note: {note}")
    say_undo(entry)
    print_record(
        output,
        {
            "entry": entry,
            "undone": not dry_run,
            "entries": [one.number for one in undone.entries],
            "notes": list(undone.notes),
            "changes": (
                [line(one) for one in undone.changes]
                if output is Format.table
                else [change_row(one) for one in undone.changes]
            ),
        },
    )
    if failed:
        raise PartialError(
            f"it is undone, but not everything could be done: {'; '.join(failed)}",
            hint="mend that, then: postmaster user trash purge --unfinished",
        )
