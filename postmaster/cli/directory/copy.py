"""`postmaster directory copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postmaster.cli.directory.replaced import forget_replaced
from postmaster.cli.state import DryRun, Output, Yes, bar, confirm, print_record, say_way_back, state_of
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)

WHERE = "a file's absolute path, a database URL without a password, or . for the directory of the settings"


@app.command(
    epilog="Examples: postmaster directory copy . postgresql://postmaster@db.example.org/postmaster; "
    "postmaster directory copy --dry-run . /var/backups/directory.db; postmaster directory copy --replace "
    "--from-password-file /root/db.password postgresql://postmaster@db.example.org/postmaster ."
)
def copy(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"What is copied: {WHERE}.")],
    target: Annotated[str, typer.Argument(metavar="TO", help=f"Where it goes: {WHERE}.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the directory that TO holds; it is kept in a file.")
    ] = False,
    from_password_file: Annotated[
        str, typer.Option(metavar="FILE", help="A file with the password for FROM, its owner's alone (0600).")
    ] = "",
    to_password_file: Annotated[
        str, typer.Option(metavar="FILE", help="A file with the password for TO, its owner's alone (0600).")
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.table,
) -> None:
    """Copy the whole directory, ids and history and all, into another database, and compare every row.

    FROM stays as it is; changes wait meanwhile where it is a file. Afterwards directory.url says which of
    the two counts.
    """
    from postmaster.directory import transfer
    from postmaster.directory.engines import address_of
    from postmaster.errors import NotFoundError

    settings = state_of(context).settings
    come_from = transfer.named(settings, source, from_password_file)
    go_to = transfer.named(settings, target, to_password_file)
    rows = transfer.look(come_from)
    if rows is None:
        raise NotFoundError(f"there is no directory at {address_of(come_from)}", hint="run: postmaster init")
    there = transfer.look(go_to)
    is_taken = there is not None and any(there.values())
    if is_taken and not replace:
        raise transfer.has_rows(go_to)
    entry, before, removed = None, None, list[Path]()
    if not dry_run:
        if is_taken and there is not None:
            question = f"Replace the directory at {address_of(go_to)}: {there['account']} users?"
            confirm(question, yes=yes)
        with bar(2 * sum(rows.values()), "rows") as progress:
            done = transfer.copy(come_from, go_to, replace_rows=replace, progress=progress)
        rows, entry, before = done.rows, done.entry, done.before
        if before is not None and output is Format.table:
            way = ("--to-password-file", to_password_file) if to_password_file else ()
            say_way_back("directory", "copy", "--replace", *way, before, target)
        transfer.publish_copy(settings, go_to)
        named = (come_from.directory.file, go_to.directory.file)
        removed = forget_replaced(settings, [one for one in named if one is not None])
    print_record(
        output,
        {
            "from": address_of(come_from),
            "to": address_of(go_to),
            "rows": sum(rows.values()),
            "users": rows["account"],
            "entry": entry,
            "before": before,
            "removed": removed,
        },
    )
