"""Users: a mailbox, its login, and the switches that turn each of its rights on and off."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import addresses, dead_ends, graph
from postmaster.directory.addresses import KEEP, Keep
from postmaster.directory.batches import batches
from postmaster.directory.database import Change, zoned
from postmaster.directory.dead_ends import DeadEnds
from postmaster.directory.domains import named, require
from postmaster.directory.records import Removed, Updated, User
from postmaster.directory.schema import (
    account,
    address,
    app_password,
    domain,
    journal,
    journal_row,
    removed_mailbox,
    sender_grant,
    target,
)
from postmaster.errors import PasswordError, RuleError, UsageError
from postmaster.settings import MailSettings
from postmaster.shell import word

#: What can be switched for a user, each on its own.
SWITCHES = ("login", "imap", "pop3", "send", "receive")
NAME_CHARACTERS = 200
_ANOTHER = "whoever knows it would be let in again: choose another one, or --generate"
QUOTA_LIMIT = 2**62  # bytes; what Dovecot's 64-bit arithmetic is safe with


def add(
    change: Change,
    where: Address,
    *,
    password_hash: str,
    name: str = "",
    quota: int | None = None,
    until: datetime | None = None,
) -> User:
    """Make a user with everything switched on.

    `password_hash` is Dovecot's `{SCHEME}hash`, `quota` is in bytes, `until` when the address ends.
    The mail folder gets a name that was never used before, so an address made again never shows its
    predecessor's mail.
    Raises ExistsError, NotFoundError, RuleError, UsageError.
    """
    check_name(name)
    check_quota(quota)
    user_id = addresses.claim(change, where, "user")
    change.insert(
        account,
        {
            "id": user_id,
            "mail_id": secrets.token_hex(10),
            "name": name,
            "password": password_hash,
            **dict.fromkeys(SWITCHES, True),
            "keep_copy": True,
            "quota": quota,
            "locked_at": None,
            "forward_until": None,
        },
    )
    addresses.set_until(change, user_id, until)
    return show(change.connection, where)


def list_all(connection: Connection, only: Domain | None = None) -> Iterator[User]:
    """All users by domain and local part. Raises NotFoundError for a domain that is not here."""
    query = _select().order_by(domain.c.name, address.c.local_part)
    if only is not None:
        query = query.where(address.c.domain_id == require(connection, only).id)
    for row in connection.execute(query):
        yield _record(row)


def with_quota(connection: Connection, most: int) -> tuple[list[str], int]:
    """(the first logins that have a quota, how many more there are), by domain and local part."""
    query = (
        select(address.c.local_part, domain.c.name)
        .join_from(account, address, account.c.id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(account.c.quota.is_not(None), account.c.quota > 0)
    )
    number = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.order_by(domain.c.name, address.c.local_part).limit(most))
    found = [f"{row.local_part}@{row.name}" for row in rows]
    return found, number - len(found)


def locked(connection: Connection, most: int | None) -> tuple[list[str], int]:
    """(the logins that have been locked for longest, or all of them, how many are locked)."""
    query = (
        select(address.c.local_part, domain.c.name)
        .join_from(account, address, account.c.id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(account.c.locked_at.is_not(None))
    )
    number = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.order_by(account.c.locked_at, address.c.id).limit(most))
    return [f"{row.local_part}@{row.name}" for row in rows], number


def show(connection: Connection, where: Address) -> User:
    """One user. An address in an alias domain shows the user behind it. Raises NotFoundError."""
    return _record(_require(connection, where))


def set_password(change: Change, where: Address, password_hash: str) -> User:
    """Replace the password. Raises NotFoundError."""
    user = show(change.connection, where)
    change.update(account, user.id, {"password": password_hash})
    return show(change.connection, where)


def set_passwords(change: Change, hashes: Mapping[Address, str]) -> None:
    """Replace the passwords of many. Raises NotFoundError."""
    there = graph.find_many(change.connection, hashes)
    wanted = {}
    for where, hashed in hashes.items():
        node = there.get(where)
        if node is None or node.kind != "user":
            raise addresses.not_found(node, where, "user")
        wanted[node.id] = hashed
    for part in batches(wanted):
        rows = change.rows(account, part)
        change.update_many(account, [(rows[user_id], {"password": wanted[user_id]}) for user_id in part])


def update(
    change: Change,
    where: Address,
    *,
    name: str | None = None,
    quota: int | Keep | None = KEEP,
    login: bool | None = None,
    imap: bool | None = None,
    pop3: bool | None = None,
    send: bool | None = None,
    receive: bool | None = None,
    until: datetime | Keep | None = KEEP,
) -> Updated[User]:
    """Change what is given and leave the rest. Raises NotFoundError, UsageError."""
    before = show(change.connection, where)
    given = {"name": name, "login": login, "imap": imap, "pop3": pop3, "send": send, "receive": receive}
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if name is not None:
        check_name(name)
    if quota is not KEEP:
        check_quota(quota)
        values["quota"] = quota
    closing = before.receive and receive is False
    reached = _leading_to(change.connection, before) if closing else []
    change.update(account, before.id, values)
    ends = DeadEnds(change.connection)
    stranded = [source.unicode for source_id, source in reached if not ends.is_open(source_id)]
    notes = (f"mail to {named(stranded)} is refused as well, as it leads nowhere else",) if stranded else ()
    addresses.set_until(change, before.id, until)
    return Updated(before, show(change.connection, before.address), notes)


def lock(change: Change, where: Address) -> User:
    """Let nobody in as a user, by any password, and nothing the user forwards out. Raises NotFoundError."""
    user = show(change.connection, where)
    if user.locked_at is None:
        change.update(account, user.id, {"locked_at": change.now})
    return show(change.connection, user.address)


def refuse_again(connection: Connection, where: Address, text: str) -> None:
    """Raises PasswordError for the password that the account was locked with, if its hash is one of ours."""
    from postmaster.directory import passwords

    stored = _locked_with(connection, where)
    if stored.startswith(passwords.OURS) and passwords.verify(text, stored):
        raise PasswordError("that is the password that the account was locked with", hint=_ANOTHER)


def _locked_with(connection: Connection, where: Address) -> str:
    """The hash that an account was locked with, if it has it still; empty where it was replaced since."""
    import json

    row = _require(connection, where)
    since = connection.execute(
        select(journal_row.c.before, journal_row.c.after)
        .join(journal, journal_row.c.entry_id == journal.c.id)
        .where(
            journal_row.c.table_name == account.name,
            journal_row.c.row_id == row.id,
            journal.c.made_at > row.locked_at,
        )
    )
    pairs = ([json.loads(state)["password"] if state else "" for state in one] for one in since)
    return "" if any(before != after for before, after in pairs) else row.password


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A user whose account is open again, and the app passwords that were revoked, or are good again."""

    user: User
    revoked: tuple[str, ...]
    kept: tuple[str, ...]


def unlock(
    change: Change, where: Address, password_hash: str, *, keep_app_passwords: bool = False
) -> Unlocked:
    """Open a locked account, with another password. Raises NotFoundError, RuleError for one that is open.

    Raises PasswordError for the very hash that it was locked with.
    """
    user = show(change.connection, where)
    if user.locked_at is None:
        raise RuleError(
            f"{user.address} is not locked",
            hint=f"a new password: postmaster user password {word(user.address)}",
        )
    if password_hash == _locked_with(change.connection, user.address):
        raise PasswordError("that is the hash that the account was locked with", hint=_ANOTHER)
    rows = change.connection.execute(
        select(app_password.c.id, app_password.c.name).where(app_password.c.account_id == user.id)
    ).all()
    for row in () if keep_app_passwords else rows:
        change.delete(app_password, row.id)
    change.update(account, user.id, {"password": password_hash, "locked_at": None})
    names = tuple(row.name for row in rows)
    return Unlocked(
        show(change.connection, user.address),
        () if keep_app_passwords else names,
        names if keep_app_passwords else (),
    )


def remove(change: Change, where: Address, *, mail: str = "keep") -> Removed[User]:
    """Take a user away. Aliases with other targets no longer name the user.

    The folder stays as it is; `mail` notes where it belongs: keep (in its place), trash, delete.
    Raises NotFoundError, and InUseError when the user is some alias's last target.
    """
    user = show(change.connection, where)
    node = graph.Node(user.id, "user", user.address)
    dropped = addresses.release(change, node)
    discard(change, user, mail=mail)
    return Removed(user, dropped)


def discard(change: Change, user: User, *, mail: str) -> None:
    """Delete the rows of a user whom no target names any more, and note where the mail belongs."""
    for table, owner in ((target, "source_id"), (app_password, "account_id"), (sender_grant, "account_id")):
        rows = change.connection.execute(select(table.c.id).where(table.c[owner] == user.id))
        for row_id in rows.scalars().all():
            change.delete(table, row_id)
    change.delete(account, user.id)
    change.delete(address, user.id)
    change.insert(
        removed_mailbox,
        {
            "account_id": user.id,
            "mail_id": user.mail_id,
            "address": user.address.ascii,
            "mail": mail,
            "removed_at": change.now,
        },
    )


def mail_folder(settings: MailSettings, user: User) -> Path:
    """Where the user's mail is."""
    return settings.root / user.mail_id


def _leading_to(connection: Connection, user: User) -> list[tuple[int, Address]]:
    """(id, address) of every other address whose mail can get to a user, and now ends somewhere."""
    ends = DeadEnds(connection)
    ids = [id_ for id_ in dead_ends.sources(connection, [user.id], []) if ends.is_open(id_)]
    rows = [
        row
        for batch in batches(ids)
        for row in connection.execute(
            select(address.c.id, address.c.local_part, domain.c.name)
            .join_from(address, domain, address.c.domain_id == domain.c.id)
            .where(address.c.id.in_(batch))
        )
    ]
    return sorted((row.id, Address(Domain(row.name), LocalPart(row.local_part))) for row in rows)


def check_name(name: str) -> None:
    """Raises UsageError for a person's name that is too long or unprintable."""
    if len(name) > NAME_CHARACTERS:
        raise UsageError(f"the name is longer than {NAME_CHARACTERS} characters")
    if not name.isprintable():
        raise UsageError("the name has unprintable characters")


def check_quota(quota: int | None) -> None:
    """Raises UsageError for a number of bytes that is no quota."""
    if quota is not None and not 0 < quota <= QUOTA_LIMIT:
        raise UsageError("a quota is a number of bytes above zero", hint="for example 2G; none takes it away")


def _select() -> Select[Any]:
    return (
        select(
            *(address.c.local_part, address.c.created_at, address.c.until),
            *(domain.c.name.label("domain"), account),
        )
        .join_from(account, address, account.c.id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
    )


_BY_ADDRESS = _select().where(
    address.c.domain_id == bindparam("home_id"), address.c.local_part == bindparam("local_part")
)


def _require(connection: Connection, where: Address) -> Row[Any]:
    here = require(connection, where.domain)
    row = connection.execute(
        _BY_ADDRESS, {"home_id": here.home_id, "local_part": where.local.text}
    ).one_or_none()
    if row is None:
        raise addresses.not_found(
            graph.find(connection, here.home_id, here.home, where.local.text), where, "user"
        )
    return row


def _record(row: Row[Any]) -> User:
    return User(
        id=row.id,
        address=Address(Domain(row.domain), LocalPart(row.local_part)),
        mail_id=row.mail_id,
        name=row.name,
        scheme=row.password.partition("}")[0].lstrip("{"),
        login=row.login,
        imap=row.imap,
        pop3=row.pop3,
        send=row.send,
        receive=row.receive,
        quota=row.quota,
        created_at=row.created_at.replace(tzinfo=UTC),
        until=zoned(row.until),
        locked_at=zoned(row.locked_at),
    )
