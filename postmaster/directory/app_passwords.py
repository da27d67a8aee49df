"""App passwords: made here, shown once, each for one program of a user and for some protocols.

What is kept is the SHA-256 of it. That is enough, as it has 140 random bits: nobody guesses it, so nothing
is gained by making each try slow, and Dovecot finds it by one look-up.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, select

from postmaster.address import Address
from postmaster.directory import users
from postmaster.directory.database import Change
from postmaster.directory.records import AppPassword
from postmaster.directory.schema import app_password
from postmaster.errors import ExistsError, NotFoundError, UsageError
from postmaster.shell import word

#: What an app password can be for; `send` is submission.
PROTOCOLS = ("imap", "pop3", "send")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}(?<! )", re.ASCII)
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 characters without look-alikes, 5 bits each


def generate() -> str:
    """A new one of 140 bits: seven groups of four."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(7))


def add(
    change: Change, where: Address, name: str, protocols: Sequence[str] = PROTOCOLS
) -> tuple[AppPassword, str]:
    """Make one; (what is kept of it, the password itself, which is not).

    Raises UsageError for a name or a protocol, NotFoundError, ExistsError.
    """
    if NAME.fullmatch(name) is None:
        raise UsageError(
            "a name has 1 to 64 letters, digits, spaces, dots, hyphens and underscores",
            hint="for example: phone",
        )
    if not protocols or set(protocols) - set(PROTOCOLS):
        raise UsageError("an app password is for one or more of " + ", ".join(PROTOCOLS))
    user = users.show(change.connection, where)
    if any(one.name == name for one in list_all(change.connection, user.address)):
        raise ExistsError(
            f"{user.address} has an app password {name} already",
            hint=f"revoke it first: postmaster user app-password revoke {word(user.address)} {word(name)}",
        )
    password = generate()
    change.insert(
        app_password,
        {
            "account_id": user.id,
            "name": name,
            "sha256": hashlib.sha256(password.encode()).hexdigest(),
            **{one: one in protocols for one in PROTOCOLS},
            "created_at": change.now,
        },
    )
    return next(one for one in list_all(change.connection, user.address) if one.name == name), password


def list_all(connection: Connection, where: Address) -> Iterator[AppPassword]:
    """Those of a user, the oldest first. Raises NotFoundError."""
    user = users.show(connection, where)
    rows = connection.execute(
        select(app_password).where(app_password.c.account_id == user.id).order_by(app_password.c.id)
    ).all()
    return (_record(row, user.address) for row in rows)


def revoke(change: Change, where: Address, names: Sequence[str] = ()) -> tuple[AppPassword, ...]:
    """Take these away, or all; they are refused at the very next login. Raises NotFoundError."""
    present = {one.name: one for one in list_all(change.connection, where)}
    for name in names:
        if name not in present:
            raise NotFoundError(
                f"{where} has no app password {name}",
                hint=f"see them with: postmaster user app-password list {word(where)}",
            )
    gone = [present[name] for name in dict.fromkeys(names or present)]
    for one in gone:
        change.delete(app_password, one.id)
    return tuple(gone)


def _record(row: Any, where: Address) -> AppPassword:
    return AppPassword(
        id=row.id,
        address=where,
        name=row.name,
        protocols=tuple(one for one in PROTOCOLS if getattr(row, one)),
        created_at=row.created_at.replace(tzinfo=UTC),
    )
