"""`postmaster user`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

import typer

from postmaster.cli.lazy import lazy_group

_HERE = "postmaster.cli.user"

#: Name -> (module, what help says).
COMMANDS = {
    "add": (f"{_HERE}.accounts", "Make a user with a mailbox."),
    "list": (f"{_HERE}.accounts", "List users."),
    "show": (f"{_HERE}.accounts", "Show one user: switches, quota, mail folder, forward."),
    "password": (f"{_HERE}.accounts", "Give a user a new password."),
    "chpasswd": (f"{_HERE}.chpasswd", "Give many users new passwords, from lines address:password."),
    "set": (f"{_HERE}.accounts", "Switch rights on and off; change quota, name and end."),
    "app-password": (f"{_HERE}.app_password", "Passwords for single programs, each for some protocols."),
    "lock": (f"{_HERE}.lock", "Lock a stolen account: logins, sessions, forwards, queued mail."),
    "unlock": (f"{_HERE}.lock", "Open a locked account with a new password."),
    "rename": (f"{_HERE}.rename", "Give a user another address; the old one stays as an alias."),
    "remove": (f"{_HERE}.remove", "Take a user away, with the mail or without."),
    "restore": (f"{_HERE}.remove", "Bring back a user who was removed, with the mail that is left."),
    "trash": (f"{_HERE}.trash", "The mail of users who were removed."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: postmaster user add amy@example.org --generate",
)


@app.callback()
def user() -> None:
    """Users: a mailbox, its login, and switches for what it may do."""
