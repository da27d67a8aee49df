"""`postmaster directory backup | restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postmaster.cli.state import Output, Yes, confirm, print_record, say, state_of
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

    made = copying.backup(state_of(context).settings, file.absolute(), overwrite=force)
    print_record(
        output,
        {
            "file": made.file,
            "revision": made.revision,
            "entry": made.entry,
            "users": made.users,
            "bytes": made.bytes,
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
    output: Output = Format.table,
) -> None:
    """Put a copy in force: running servers see it at once. What was there before is kept beside.

    Passwords are those of the copy again; so are locks.
    """
    from postmaster.directory import backup as copying
    from postmaster.lifecycle import removal

    settings = state_of(context).settings
    found = copying.examine(file.absolute())
    confirm(f"Put the directory of {file} in force: {found.users} users, as of entry {found.entry}?", yes=yes)
    done = copying.restore(settings, file.absolute())
    with state_of(context).directory("directory restore", publish=False) as directory:
        published = directory.publish(rebuild=True)
        removal.finish(directory)
    if done.before is not None and output is Format.table:
        say(f"undo: postmaster directory restore {done.before}")
    print_record(
        output,
        {
            "file": file,
            "entry": done.backup.entry,
            "users": done.backup.users,
            "upgraded_to": done.upgraded_to,
            "before": done.before,
            "published": list(published.files),
        },
    )
