"""`postmaster directory backup | restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postmaster.cli.directory.replaced import forget_replaced
from postmaster.cli.state import (
    Output,
    Reason,
    State,
    Yes,
    check_reason,
    confirm,
    print_record,
    say,
    say_way_back,
    state_of,
)
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster directory backup /var/backups/directory.db; "
    "postmaster directory backup --force /var/backups/directory.db"
)
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a copy that is there.")] = False,
    output: Output = Format.table,
) -> None:
    """Copy the directory into one file, as of one moment, while others write. It has all hashes."""
    from postmaster.directory import backup as copying

    settings = state_of(context).settings
    made = copying.backup(settings, file.absolute(), overwrite=force)
    removed = forget_replaced(settings, [made.file])
    print_record(
        output,
        {
            "file": made.file,
            "revision": made.revision,
            "entry": made.entry,
            "users": made.users,
            "bytes": made.bytes,
            "removed": removed,
        },
    )


@app.command(
    epilog="Examples: postmaster directory restore /var/backups/directory.db; "
    "postmaster directory restore --yes /var/backups/directory.db"
)
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that directory backup made.")],
    yes: Yes = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Put a copy in force: running servers see it at once. What was there before is kept beside.

    Passwords and locks are those of the copy again, and so is the history; the restore is its last entry.
    """
    from postmaster.directory import backup as copying
    from postmaster.errors import PartialError, PostmasterError
    from postmaster.lifecycle import removal

    state = state_of(context)
    settings = state.settings
    check_reason(reason)
    found = copying.examine(file.absolute())
    for login in _opened(state, copying.locked(found.file)):
        say(f"note: {login} is locked, and no longer will be")
    confirm(f"Put the directory of {file} in force: {found.users} users, as of entry {found.entry}?", yes=yes)
    done = copying.restore(settings, file.absolute())
    with state.directory(f"directory restore {file.name}", reason=reason, publish=False) as directory:
        try:
            published = directory.publish(rebuild=True)
            with directory.change() as change:
                change.note()
            failed = removal.finish(directory)
        except PostmasterError as error:
            raise PartialError(
                f"the directory is restored, but not all that follows is done: {error.message}",
                hint="run: postmaster publish --rebuild",
            ) from error
    removed = forget_replaced(settings, [file])
    if done.before is not None and output is Format.table:
        say_way_back("directory", "restore", done.before)
    print_record(
        output,
        {
            "file": file,
            "entry": done.backup.entry,
            "users": done.backup.users,
            "upgraded_to": done.upgraded_to,
            "before": done.before,
            "published": list(published.files),
            "removed": removed,
        },
    )
    if failed:
        raise PartialError(
            f"it is restored, but not all mail is where it belongs: {'; '.join(failed)}",
            hint="mend that, then: postmaster user trash purge --unfinished",
        )


def _opened(state: State, in_copy: set[str]) -> list[str]:
    """Who is locked now and is not in the copy; nobody where there is no directory that can be read."""
    from postmaster.directory import users
    from postmaster.errors import PostmasterError

    try:
        with state.directory("directory restore", publish=False) as directory, directory.read() as reading:
            now, _ = users.locked(reading, None)
    except PostmasterError:
        return []
    return [login for login in now if login not in in_copy]
