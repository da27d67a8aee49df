"""`postmaster user remove | restore`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from postmaster.address import parse_address
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
    say_way_back,
    state_of,
)
from postmaster.cli.user.options import Generate, HashStdin, PasswordStdin, Where, ask_secret
from postmaster.errors import PartialError, UsageError
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Mail(StrEnum):
    """What becomes of a removed user's mail."""

    trash = "trash"
    keep = "keep"
    delete = "delete"


@app.command(
    epilog="Examples: postmaster user remove amy@example.org --dry-run; "
    "postmaster user remove amy@example.org --mail keep --yes"
)
def remove(
    context: typer.Context,
    address: Where,
    mail: Annotated[
        Mail, typer.Option(help="What becomes of the mail: trash, keep (in its place), delete (for good).")
    ] = Mail.trash,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take a user away. The mail goes to the trash, from where user restore brings it back.

    Aliases and forwards with other targets no longer name the user; as anyone's last target the user stays.
    """
    from postmaster.directory import users
    from postmaster.lifecycle import removal

    where = parse_address(address)
    state = state_of(context)
    command = f"user remove {where} --mail {mail.value}"
    entry, failed = None, list[str]()
    with state.directory(command, reason=reason) as directory:
        with directory.change(keep=False) as change:
            gone = users.remove(change, where)
        folder = users.mail_folder(state.settings.mail, gone.record)
        place = folder if folder.is_dir() else None
        if not dry_run:
            for one in gone.dropped_from if not yes else ():
                say(f"{one} leads to {gone.record.address} too, and no longer will")
            for_good = " and delete all mail for good" if mail is Mail.delete else ""
            confirm(f"Remove the user {gone.record.address}{for_good}?", yes=yes)
            done = removal.remove(directory, where, mail.value, progress=progress())
            gone, place, entry, failed = done.removed, done.place, done.entry, done.failed
    if not dry_run and output is Format.table:
        if mail is Mail.delete:  # nothing is left that user restore could find
            say_undo(entry)
        else:
            say_way_back("user", "restore", gone.record.address)
    print_record(
        output,
        {
            "address": gone.record.address.unicode,
            "removed": not dry_run,
            "entry": entry,
            "mail": mail.value,
            "mail_folder": place,
            "dropped_from": [one.unicode for one in gone.dropped_from],
        },
    )
    if failed:
        raise PartialError(
            f"{gone.record.address} is removed, but not everything could be done: {'; '.join(failed)}",
            hint="mend that, then: postmaster user trash purge --unfinished",
        )


@app.command(
    epilog="Examples: postmaster user restore amy@example.org --generate; "
    "postmaster user restore amy@example.org --restore-password"
)
def restore(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address that the user had.")],
    password_stdin: PasswordStdin = False,
    hash_stdin: HashStdin = False,
    generate: Generate = False,
    restore_password: Annotated[
        bool,
        typer.Option("--restore-password", help="With the password and app passwords that the user had."),
    ] = False,
    number: Annotated[
        int | None,
        typer.Option(metavar="N", help="Where several had the address: which one, by user trash list."),
    ] = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Bring back a user who was removed, with the mail that is left, forwards, grants, places in aliases.

    The password comes back only when told; without it and without another one nobody can log in.
    """
    from postmaster.lifecycle import removal

    where = parse_address(address)
    if restore_password and any((password_stdin, hash_stdin, generate)):
        raise UsageError("the old password or a new one, not both", hint="leave out --restore-password")
    state = state_of(context)
    with state.directory(f"user restore {where}", reason=reason) as directory:
        hashed, generated = (
            ask_secret(where, password_stdin, hash_stdin, generate)
            if any((password_stdin, hash_stdin, generate))
            else (None, dict[str, str]())
        )
        user, notes, entry = removal.restore(
            directory, where, account_id=number, password_hash=hashed, restore_passwords=restore_password
        )
    if hashed is not None:
        notes = tuple(note for note in notes if "has no password now" not in note)
    for note in notes:
        say(f"note: {note}")
    from postmaster.directory.users import mail_folder

    print_record(
        output,
        {
            "address": user.address.unicode,
            "entry": entry,
            "mail_folder": mail_folder(state.settings.mail, user),
            "scheme": user.scheme or None,
            "notes": list(notes),
            **generated,
        },
    )
