"""`postmaster undo`: take back changes of the directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from postmaster.cli.history import change_row, line
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    bar,
    confirm,
    print_record,
    progress,
    say,
    say_undo,
    state_of,
)
from postmaster.errors import PartialError
from postmaster.render.output import Format

SHOWN = 50  # changes and notes that people are shown; JSON has them all

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster undo --dry-run; postmaster undo 12 --yes --reason 'wrong address'; "
    "postmaster undo 12 --restore-password"
)
def undo(
    context: typer.Context,
    entries: Annotated[
        list[int] | None,
        typer.Argument(min=1, metavar="[ENTRY…]", help="Entries of the history; else the last that holds."),
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
    most = SHOWN if output is Format.table else None
    with state.directory(f"undo {words}".strip(), reason=reason) as directory:
        with directory.read() as reading:
            total = undoing.size(reading, numbers)
        if dry_run or not yes:
            with directory.change(keep=False) as change, bar(total, "undo") as tell:
                undone = undoing.undo(
                    change,
                    numbers,
                    restore_passwords=restore_password,
                    most=most if dry_run else SHOWN,
                    progress=progress(),
                    tell=tell,
                )
            numbers = [one.number for one in undone.entries]
        if not dry_run:
            if not yes:
                for text in _shown([line(one) for one in undone.changes], undone.count):
                    say(text)
                what = "; ".join(f"{one.number} ({one.command})" for one in undone.entries)
                confirm(f"Undo {what}?", yes=False)
            with bar(total, "undo") as tell:
                done = removal.take_back(
                    directory,
                    numbers,
                    restore_passwords=restore_password,
                    most=most,
                    progress=progress(),
                    tell=tell,
                )
            undone, entry, failed = done.undone, done.entry, done.failed
    notes = _shown(undone.notes, len(undone.notes))
    for note in notes:
        say(f"note: {note}")
    say_undo(entry)
    print_record(
        output,
        {
            "entry": entry,
            "undone": not dry_run,
            "entries": [one.number for one in undone.entries],
            "notes": notes if output is Format.table else list(undone.notes),
            "changes": (
                _shown([line(one) for one in undone.changes], undone.count)
                if output is Format.table
                else map(change_row, undone.changes)
            ),
        },
    )
    if failed:
        raise PartialError(
            f"it is undone, but not everything could be done: {'; '.join(failed)}",
            hint="mend that, then: postmaster user trash purge --unfinished",
        )


def _shown(texts: Sequence[str], count: int) -> list[str]:
    """The first of so many, and that there are more."""
    more = count - min(len(texts), SHOWN)
    return [*texts[:SHOWN], *([f"and {more} more; -o json has them all"] if more else [])]
