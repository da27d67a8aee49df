"""`postmaster user app-password add | list | revoke`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address
from postmaster.cli.state import Output, Reason, Yes, confirm, print_record, print_rows, say, state_of
from postmaster.cli.user.options import Where
from postmaster.errors import UsageError
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.directory.records import AppPassword

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Passwords for single programs of a user, each for some protocols, each revoked by itself.",
    epilog="Example: postmaster user app-password add amy@example.org phone",
)


class Protocol(StrEnum):
    """What an app password is for; `send` is submission."""

    imap = "imap"
    pop3 = "pop3"
    send = "send"


_COLUMNS = [
    Column("name", "NAME"),
    Column("protocols", "FOR"),
    Column("created_at", "MADE"),
    Column("last_used_at", "LAST USED"),
]
#: Of a row.
KEYS = ("address", "name", "protocols", "created_at", "last_used_at")


def row(one: AppPassword, last_used_at: datetime | None = None) -> dict[str, Any]:
    """What JSON has of an app password. Neither it nor its digest is ever shown."""
    return {
        "address": one.address.unicode,
        "name": one.name,
        "protocols": list(one.protocols),
        "created_at": one.created_at,
        "last_used_at": last_used_at,
    }


@app.command(
    epilog="Examples: postmaster user app-password add amy@example.org phone; "
    "postmaster user app-password add amy@example.org scanner --for send"
)
def add(
    context: typer.Context,
    address: Where,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for: phone, scanner.")],
    protocols: Annotated[
        list[Protocol] | None,
        typer.Option("--for", metavar="PROTOCOL", help="imap, pop3 or send; may be given again. Else all."),
    ] = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Make an app password and print it, once. It holds at the very next login.

    What is switched off for the user stays off for it too.
    """
    from postmaster.directory import app_passwords

    where = parse_address(address)
    wanted = [one.value for one in protocols or list(Protocol)]
    command = f"user app-password add {where} {name} --for {' --for '.join(wanted)}"
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        made, password = app_passwords.add(change, where, name, wanted)
    print_record(output, {**row(made), "password": password})


@app.command("list", epilog="Example: postmaster user app-password list amy@example.org")
def list_(context: typer.Context, address: Where, output: Output = Format.table) -> None:
    """List a user's app passwords, and when each was last used, as far as Dovecot knows."""
    from postmaster.directory import app_passwords, users
    from postmaster.lifecycle import use

    where = parse_address(address)
    state = state_of(context)
    with state.directory("user app-password list") as directory, directory.read() as reading:
        logins = use.logins_of(state.settings, users.show(reading, where).mail_id)
        found = app_passwords.list_all(reading, where)
        rows = (row(one, use.last_use(one, logins)) for one in found)
        print_rows(output, _COLUMNS, rows, KEYS)


@app.command(
    epilog="Examples: postmaster user app-password revoke amy@example.org phone; "
    "postmaster user app-password revoke amy@example.org --all --yes"
)
def revoke(
    context: typer.Context,
    address: Where,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Which ones.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of the user's.")] = False,
    yes: Yes = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take app passwords away: they are refused at the very next login."""
    from postmaster.directory import app_passwords

    where = parse_address(address)
    if bool(names) == all_:
        raise UsageError("name app passwords, or give --all", hint=f"see: {context.command_path} --help")
    what = "all" if all_ else " ".join(names or ())
    with state_of(context).directory(f"user app-password revoke {where} {what}", reason=reason) as directory:
        if all_:
            confirm(f"Revoke every app password of {where}?", yes=yes)
        with directory.change() as change:
            gone = app_passwords.revoke(change, where, names or ())
    if output is Format.table:
        say("sessions that are open stay open; to end them: doveadm kick, or postmaster user lock")
    print_record(output, {"address": where.unicode, "revoked": [one.name for one in gone]})
