"""`postmaster user`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

from postmaster.cli.lazy import lazy_app

app = lazy_app(
    __name__,
    "Users: a mailbox, its login, and switches for what it may do.",
    example="postmaster user add amy@example.org --generate",
    commands={
        "add": ("accounts", "Make a user with a mailbox."),
        "list": ("accounts", "List users."),
        "show": ("accounts", "Show one user: switches, quota, mail folder, forward."),
        "password": ("accounts", "Give a user a new password."),
        "chpasswd": ("chpasswd", "Give many users new passwords, from lines address:password."),
        "set": ("accounts", "Switch rights on and off; change quota, name and end."),
        "app-password": ("app_password", "Passwords for single programs, each for some protocols."),
        "lock": ("lock", "Lock a stolen account: logins, sessions, forwards, queued mail."),
        "unlock": ("lock", "Open a locked account with a new password."),
        "rename": ("rename", "Give a user another address; the old one stays as an alias."),
        "remove": ("remove", "Take a user away, with the mail or without."),
        "restore": ("remove", "Bring back a user who was removed, with the mail that is left."),
        "trash": ("trash", "The mail of users who were removed."),
    },
)
