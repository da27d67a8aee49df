"""`postmaster user add | list | show | password | set`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address, parse_domain, parse_own_address
from postmaster.cli.state import (
    Output,
    Reason,
    complete,
    print_record,
    print_rows,
    say,
    state_of,
)
from postmaster.cli.until import Until, end_of, parse_until
from postmaster.cli.user.options import Generate, HashStdin, PasswordStdin, Where, ask_secret
from postmaster.directory.sizes import parse_size
from postmaster.errors import UsageError
from postmaster.render.output import Column, Format, cell, size
from postmaster.shell import word

if TYPE_CHECKING:
    from datetime import datetime

    from postmaster.directory.records import User
    from postmaster.dovecot.usage import Usage
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Quota = Annotated[str | None, typer.Option(metavar="SIZE", help="Limit for the mailbox: 500M, 2G, none.")]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="The person's name.")]

_COLUMNS = [
    Column("address", "ADDRESS"),
    Column("name", "NAME"),
    Column("quota", "QUOTA", right=True),
    Column("off", "SWITCHED OFF"),
    Column("until", "UNTIL"),
]
_USE_COLUMNS = [Column("last_login", "LAST LOGIN"), Column("usage", "IN THE MAILBOX")]
#: Of the use of a mailbox, besides.
USE_KEYS = ("last_login", "usage_bytes", "usage_messages")
_SWITCHES = ("login", "imap", "pop3", "send", "receive")
#: Of a row.
KEYS = (
    *("address", "login_name", "name", *_SWITCHES, "quota_bytes", "scheme", "mail_folder", "created_at"),
    *("until", "locked_at"),
)


def row(user: User, settings: Settings) -> dict[str, Any]:
    """What JSON has of a user. The hash itself is never shown."""
    from postmaster.directory.users import mail_folder

    return {
        "address": user.address.unicode,
        "login_name": user.address.ascii,
        "name": user.name,
        **{switch: getattr(user, switch) for switch in _SWITCHES},
        "quota_bytes": user.quota,
        "scheme": user.scheme,
        "mail_folder": mail_folder(settings.mail, user),
        "created_at": user.created_at,
        "until": user.until,
        "locked_at": user.locked_at,
    }


def _shown(full: dict[str, Any], output: Format) -> dict[str, Any]:
    """The same with the quota as people read it, in a table."""
    if output is not Format.table:
        return full
    return {
        "quota" if key == "quota_bytes" else key: size(value) if key == "quota_bytes" else value
        for key, value in full.items()
    }


@app.command(
    epilog="Examples: postmaster user add amy@example.org --name 'Amy Ash' --quota 2G --generate; "
    'printf %s "$SECRET" | postmaster user add bob@example.org --password-stdin'
)
def add(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The new user's address.")],
    name: Name = None,
    quota: Quota = None,
    password_stdin: PasswordStdin = False,
    hash_stdin: HashStdin = False,
    generate: Generate = False,
    until: Until = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Make a user with a mailbox. Without an option for it the password is asked for."""
    from postmaster.directory import users

    where = parse_own_address(address)
    limit = parse_size(quota) if quota is not None else None
    end = parse_until(until) if until is not None else None
    state = state_of(context)
    with state.directory(f"user add {where}", reason=reason) as directory:
        hashed, generated = ask_secret(where, password_stdin, hash_stdin, generate)
        with directory.change() as change:
            user = users.add(change, where, password_hash=hashed, name=name or "", quota=limit, until=end)
    print_record(output, {**_shown(row(user, state.settings), output), **generated})


@app.command(
    "list", epilog="Examples: postmaster user list --domain example.org; postmaster user list --usage -o csv"
)
def list_(
    context: typer.Context,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only users of this domain.", autocompletion=complete("domain")),
    ] = None,
    usage: Annotated[
        bool, typer.Option("--usage", help="Also the last login and what is in each mailbox; takes a while.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """List users."""
    from contextlib import nullcontext

    from postmaster.directory import users
    from postmaster.lifecycle import use
    from postmaster.lifecycle.folders import open_folders

    only = None if domain is None else parse_domain(domain)
    state = state_of(context)

    def as_row(user: User) -> dict[str, Any]:
        full = _shown(row(user, state.settings), output)
        if output is Format.table:
            full["off"] = [switch for switch in _SWITCHES if not full[switch]]
            full["off"] += ["locked"] if user.locked_at else []
        return full

    settings = state.settings
    wanted = usage and settings.mail.root.is_dir()
    with (
        state.directory("user list") as directory,
        directory.read() as reading,
        open_folders(settings.mail) if wanted else nullcontext() as folders,
    ):
        found = users.list_all(reading, only)
        if not usage:
            print_rows(output, _COLUMNS, map(as_row, found), KEYS)
            return
        used = use.usage_of_all(settings)

        def with_use(user: User) -> dict[str, Any]:
            logins = use.logins_in(folders, user.mail_id) if folders is not None else []
            full = {**as_row(user), **_use(use.latest(logins), used.get(user.address.ascii))}
            return _shown_use(full, output)

        print_rows(output, [*_COLUMNS, *_USE_COLUMNS], map(with_use, found), [*KEYS, *USE_KEYS])


@app.command(epilog="Example: postmaster user show amy@example.org -o json")
def show(context: typer.Context, address: Where, output: Output = Format.table) -> None:
    """Show one user: switches, quota, mail folder, forward, last login and what is in the mailbox."""
    from postmaster.directory import forwards, users
    from postmaster.errors import NotFoundError
    from postmaster.lifecycle import use

    where = parse_address(address)
    state = state_of(context)
    with state.directory("user show") as directory, directory.read() as reading:
        user = users.show(reading, where)
        try:
            forward = forwards.show(reading, user.address)
        except NotFoundError:
            forward = None
    shown = _shown(row(user, state.settings), output)
    shown["forward"] = [target.unicode for target in forward.targets] if forward else []
    shown["keep_copy"] = forward.keep_copy if forward else None
    logins = use.logins_of(state.settings, user.mail_id)
    shown |= _use(use.latest(logins), use.usage_of(state.settings, user))
    print_record(output, _shown_use(shown, output))


def _use(last_login: datetime | None, used: Usage | None) -> dict[str, Any]:
    """What JSON has of the use of a mailbox; null is unknown."""
    return {
        "last_login": last_login,
        "usage_bytes": None if used is None else used.bytes,
        "usage_messages": None if used is None else used.messages,
    }


def _shown_use(full: dict[str, Any], output: Format) -> dict[str, Any]:
    """The same as people read it, in a table."""
    if output is not Format.table:
        return full
    shown = {key: value for key, value in full.items() if key not in USE_KEYS}
    shown["last_login"] = full["last_login"] or "unknown"
    used = full["usage_bytes"]
    shown["usage"] = "unknown" if used is None else f"{size(used)}, {full['usage_messages']} messages"
    return shown


@app.command(epilog="Example: postmaster user password amy@example.org --generate")
def password(
    context: typer.Context,
    address: Where,
    password_stdin: PasswordStdin = False,
    hash_stdin: HashStdin = False,
    generate: Generate = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Give a user a new password. The old one is refused at the very next login."""
    from postmaster.directory import users

    where = parse_address(address)
    with state_of(context).directory(f"user password {where}", reason=reason) as directory:
        with directory.read() as reading:
            users.show(reading, where)  # before anybody is asked for a password
        hashed, generated = ask_secret(where, password_stdin, hash_stdin, generate)
        with directory.change() as change:
            user = users.set_password(change, where, hashed)
    if user.locked_at is not None:
        say(f"{user.address} stays locked: postmaster user unlock {word(user.address)}")
    print_record(output, {"address": user.address.unicode, "scheme": user.scheme, **generated})


@app.command(
    "set",
    epilog="Examples: postmaster user set amy@example.org --no-pop3 --quota 5G; "
    "postmaster user set amy@example.org --no-login",
)
def set_(
    context: typer.Context,
    address: Where,
    login: Annotated[bool | None, typer.Option(help="Log in on any protocol.")] = None,
    imap: Annotated[bool | None, typer.Option(help="Log in by IMAP.")] = None,
    pop3: Annotated[bool | None, typer.Option(help="Log in by POP3.")] = None,
    send: Annotated[bool | None, typer.Option(help="Send by submission.")] = None,
    receive: Annotated[bool | None, typer.Option(help="Receive mail; off: senders get 550.")] = None,
    quota: Quota = None,
    name: Name = None,
    until: Until = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Switch a user's rights on and off, each on its own, or change quota, name and end."""
    from postmaster.directory import users
    from postmaster.directory.addresses import KEEP

    where = parse_address(address)
    given = {"login": login, "imap": imap, "pop3": pop3, "send": send, "receive": receive}
    if quota is None and name is None and until is None and all(value is None for value in given.values()):
        raise UsageError("nothing to change", hint="see: postmaster user set --help")
    limit = KEEP if quota is None else parse_size(quota)
    end = end_of(until)
    state = state_of(context)
    with state.directory(f"user set {where}", reason=reason) as directory, directory.change() as change:
        changed = users.update(change, where, name=name, quota=limit, until=end, **given)
    for note in changed.notes:
        say(f"note: {note}")
    before, after = row(changed.before, state.settings), row(changed.after, state.settings)
    if output is Format.table:
        before, after = _shown(before, output), _shown(after, output)
        different = {
            key: f"{cell(before[key])} → {cell(after[key])}" for key in after if before[key] != after[key]
        }
        print_record(output, {"address": after["address"], **(different or {"changed": "nothing"})})
    else:
        print_record(output, {"before": before, "after": after})
