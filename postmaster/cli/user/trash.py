"""`postmaster user trash list | purge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    confirm,
    print_record,
    print_rows,
    progress,
    state_of,
)
from postmaster.errors import PartialError, UsageError
from postmaster.render.output import Column, Format, size

if TYPE_CHECKING:
    from postmaster.lifecycle.removal import Mailbox

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="The mail of users who were removed, until it is deleted for good.",
    epilog="Example: postmaster user trash list",
)

_COLUMNS = [
    Column("number", "NO", right=True),
    Column("address", "ADDRESS"),
    Column("removed_at", "REMOVED"),
    Column("mail", "MAIL"),
    Column("place", "IS IN"),
    Column("size", "SIZE", right=True),
]
#: Of a row.
KEYS = ("number", "address", "removed_at", "mail", "place", "bytes", "mail_id")


def row(one: Mailbox) -> dict[str, Any]:
    return {
        "number": one.left.account_id,
        "address": one.left.address.unicode,
        "removed_at": one.left.removed_at,
        "mail": one.left.mail,
        "place": one.place,
        "bytes": one.bytes,
        "mail_id": one.left.mail_id,
    }


@app.command("list", epilog="Example: postmaster user trash list -o json")
def list_(
    context: typer.Context,
    sizes: Annotated[bool, typer.Option(help="Measure each folder; large ones take a while.")] = True,
    output: Output = Format.table,
) -> None:
    """List users who were removed, and where their mail is."""
    from postmaster.lifecycle import removal

    with state_of(context).directory("user trash list") as directory:
        found = removal.list_all(directory, sizes=sizes)
    rows = (
        {**row(one), "size": None if one.bytes is None else size(one.bytes)}
        if output is Format.table
        else row(one)
        for one in found
    )
    print_rows(output, _COLUMNS, rows, KEYS)


@app.command(
    epilog="Examples: postmaster user trash purge --older-than 30d --yes; "
    "postmaster user trash purge amy@example.org; postmaster user trash purge --unfinished"
)
def purge(
    context: typer.Context,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS…]", help="Only the mail of these.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Only of users removed so long ago: 30d."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything in the trash.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Nothing more; only go on with what was interrupted.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Delete mail in the trash for good. Mail that was kept in its place is not meant.

    What was interrupted, here or in a removal or restoring of a user, is gone on with.
    """
    from postmaster.lifecycle import removal

    wanted = [parse_address(one) for one in addresses or ()]
    if (all_, bool(wanted or older_than is not None), unfinished).count(True) != 1:
        raise UsageError(
            "name users, an age with --older-than, or give --all or --unfinished",
            hint=f"see: {context.command_path} --help",
        )
    age = None if older_than is None else removal.parse_age(older_than)
    words = " ".join([*map(str, wanted), *([f"--older-than {older_than}"] if older_than else [])])
    with state_of(context).directory(f"user trash purge {words}".strip(), reason=reason) as directory:
        if unfinished:
            chosen = [one for one in removal.list_all(directory) if one.left.mail == "delete"]
        else:
            chosen = removal.to_purge(directory, wanted, age)
        failed = list[str]()
        if not dry_run and unfinished:
            failed = removal.finish(directory)
            left = {one.left for one in removal.list_all(directory)}
            chosen = [one for one in chosen if one.left not in left]
        elif not dry_run:
            if chosen:
                confirm(f"Delete the mail of {len(chosen)} removed users for good?", yes=yes)
            done = removal.purge(directory, chosen, progress=progress())
            chosen, failed = done.mailboxes, done.failed
    gone = [one.left.address.unicode for one in chosen]
    print_record(output, {"purged": gone, "deleted": not dry_run})
    if failed:
        raise PartialError(f"not all of it could be deleted: {'; '.join(failed)}", hint="run it again")
