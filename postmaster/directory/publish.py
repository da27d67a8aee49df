"""Publishing: bringing the look-up files up to the truth's last journal entry.

For each file: take its write lock, read which rows the journal named since the file's last entry,
read those rows in the truth, write or delete them here, note the entry, commit. What is written is
the truth's present state, not the journal's, so doing it twice, or two processes at once, ends the
same. The same code catches up after a crash and fills a new file.

A file is written anew from the whole truth when it is new, of another version, or knows an entry
that the truth does not have (the truth was restored from a backup, or is another one).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, bindparam, func, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import dead_ends, lookups
from postmaster.directory.batches import batches
from postmaster.directory.dead_ends import DeadEnds, seconds
from postmaster.directory.lookups import DOVECOT, LookupFile
from postmaster.directory.places import Writing, places
from postmaster.directory.probe import remove_old_probes
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
from postmaster.errors import DirectoryError
from postmaster.settings import LookupsSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Table -> its column with the address that is published with it.
_OWNER = {target.name: "source_id", app_password.name: "account_id", sender_grant.name: "account_id"}

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_ADDRESSES = (
    select(
        *(address.c.id, address.c.domain_id, address.c.local_part, address.c.kind, address.c.until),
        *(account.c.login, account.c.send, account.c.receive, account.c.keep_copy, account.c.locked_at),
        *(account.c.forward_until, domain.c.name.label("domain_name")),
    )
    .join_from(address, domain, address.c.domain_id == domain.c.id)
    .join(account, account.c.id == address.c.id, isouter=True)
    .where(address.c.id.in_(_IDS))
)
_TARGETS = (
    select(target.c.id, target.c.source_id, target.c.position, target.c.local_part, target.c.domain)
    .where(target.c.source_id.in_(_IDS))
    .order_by(target.c.source_id, target.c.position)
)
_GRANTS = select(
    sender_grant.c.id, sender_grant.c.account_id, sender_grant.c.domain_id, sender_grant.c.local_part
).where(sender_grant.c.account_id.in_(_IDS))
_ACCOUNTS = (
    select(
        *(account.c.id, address.c.local_part, domain.c.name, account.c.password, account.c.mail_id),
        *(account.c.login, account.c.imap, account.c.pop3, account.c.send, account.c.receive),
        *(account.c.quota, account.c.locked_at, address.c.until),
    )
    .join_from(account, address, address.c.id == account.c.id)
    .join(domain, address.c.domain_id == domain.c.id)
    .where(account.c.id.in_(_IDS))
)
_APP_PASSWORDS = select(
    *(app_password.c.id, app_password.c.account_id, app_password.c.name, app_password.c.sha256),
    *(app_password.c.imap, app_password.c.pop3, app_password.c.send),
).where(app_password.c.account_id.in_(_IDS))

Reader = Callable[[], "AbstractContextManager[Connection]"]


@dataclass(frozen=True, slots=True)
class Published:
    """What a run of publishing did."""

    entries: int  # journal entries that were not yet in every file
    files: tuple[Path | str, ...]  # files, or schemas, that were written
    rebuilt: tuple[Path | str, ...]  # those written anew from the whole truth


@dataclass(frozen=True, slots=True)
class _Changed:
    """Ids of rows that the journal named, and the names that domains among them have or had."""

    domains: frozenset[int]
    names: frozenset[str]
    addresses: frozenset[int]


def is_behind(settings: LookupsSettings, read: Reader, engine: Engine) -> bool:
    """Whether a place is missing, not whole, or behind the truth."""
    with read() as reading:
        newest = _newest(reading)
    return any(place.entry() != newest for place in places(settings, engine))


def publish(settings: LookupsSettings, read: Reader, engine: Engine, *, rebuild: bool = False) -> Published:
    """Publish what is not published yet, or with `rebuild` everything. Raises DirectoryError.

    `read` opens the truth, `engine` the schemas beside it, where they are.
    """
    files = not settings.in_database
    if files and not settings.directory.is_dir():
        raise DirectoryError(f"the folder {settings.directory} is missing", hint="run: postmaster init")
    replaced = lookups.replace_damaged(settings) if rebuild and files else ()
    written: list[Path | str] = []
    rebuilt: list[Path | str] = list(replaced)
    entries = 0
    for place in places(settings, engine):
        file = place.file
        with place.writing() as connection:
            remove_old_probes(connection, file)
            known = connection.execute("SELECT entry, made_at FROM published").fetchone()
            # After the write lock: nobody else can publish a later state and have it undone here.
            with read() as reading:
                newest = _newest(reading)
                anew = rebuild or not is_known(reading, known)
                if anew:
                    _write_all(connection, file, reading)
                elif known != newest:
                    _write_changed(connection, file, reading, known[0])
                    entries = max(entries, _entries_after(reading, known[0]))
            if anew or known != newest:
                connection.execute("UPDATE published SET entry = ?, made_at = ?", newest)
                written.append(place.name)
                if anew and place.name not in rebuilt:
                    rebuilt.append(place.name)
    return Published(entries, tuple(written), tuple(rebuilt))


def _newest(reading: Connection) -> tuple[int, str]:
    row = reading.execute(
        select(journal.c.id, journal.c.made_at).order_by(journal.c.id.desc()).limit(1)
    ).first()
    return (0, "") if row is None else (row.id, row.made_at.isoformat())


def _entries_after(reading: Connection, entry: int) -> int:
    """How many there are: numbers leave gaps, as a sequence of PostgreSQL does."""
    return reading.execute(select(func.count()).select_from(journal).where(journal.c.id > entry)).scalar_one()


def is_known(reading: Connection, entry: tuple[int, str]) -> bool:
    """Whether the truth has this very entry, so that what follows it is all that is missing."""
    if entry[0] == 0:
        # A new file knows nothing; so does one beside a truth that never changed.
        return reading.execute(select(func.count()).select_from(domain)).scalar_one() == 0
    made_at = reading.execute(select(journal.c.made_at).where(journal.c.id == entry[0])).scalar()
    return made_at is not None and made_at.isoformat() == entry[1]


def _changed(reading: Connection, since: int) -> _Changed:
    rows = reading.execute(
        select(
            journal_row.c.table_name, journal_row.c.row_id, journal_row.c.before, journal_row.c.after
        ).where(journal_row.c.entry_id > since)
    )
    domains: set[int] = set()
    names: set[str] = set()
    addresses: set[int] = set()
    for row in rows:
        if row.table_name == domain.name:
            domains.add(row.row_id)
            names.update(json.loads(state)["name"] for state in (row.before, row.after) if state)
        elif row.table_name in _OWNER:
            owner = _OWNER[row.table_name]
            addresses.update(json.loads(state)[owner] for state in (row.before, row.after) if state)
        elif row.table_name != removed_mailbox.name:  # an account has its address's id
            addresses.add(row.row_id)
    return _Changed(frozenset(domains), frozenset(names), frozenset(addresses))


def _write_changed(connection: Writing, file: LookupFile, reading: Connection, since: int) -> None:
    changed = _changed(reading, since)
    ids = set(changed.addresses)
    for batch in batches(changed.domains):
        # A domain's new name is part of the logins of its users.
        ids.update(reading.execute(select(address.c.id).where(address.c.domain_id.in_(batch))).scalars())
    if file is not DOVECOT:
        ids |= dead_ends.sources(reading, ids, changed.names)
        for batch in batches(changed.domains):
            _delete(connection, "domain", "id", batch)
        for batch in batches(changed.domains):
            _write_domains(connection, reading, batch)
    for batch in batches(ids):
        _delete_addresses(connection, file, batch)
    # Two passes: an address made again must not meet the row of its predecessor.
    ends = DeadEnds(reading)
    for batch in batches(ids):
        _write_addresses(connection, file, reading, batch, ends)


def _write_all(connection: Writing, file: LookupFile, reading: Connection) -> None:
    for table in file.tables:
        connection.execute(f"DELETE FROM {table} WHERE id > 0")  # probes stay
    if file is not DOVECOT:
        for batch in batches(reading.execute(select(domain.c.id)).scalars().all()):
            _write_domains(connection, reading, batch)
    ends = DeadEnds(reading)
    for batch in batches(reading.execute(select(address.c.id)).scalars().all()):
        _write_addresses(connection, file, reading, batch, ends)


def _write_domains(connection: Writing, reading: Connection, ids: list[int]) -> None:
    rows = reading.execute(
        select(domain.c.id, domain.c.name, domain.c.alias_of_id).where(domain.c.id.in_(ids))
    )
    connection.executemany("INSERT INTO domain VALUES (?, ?, ?)", [tuple(row) for row in rows])


def _delete_addresses(connection: Writing, file: LookupFile, ids: list[int]) -> None:
    if file is DOVECOT:
        _delete(connection, "account", "id", ids)
        _delete(connection, "app_password", "account_id", ids)
    else:
        _delete(connection, "address", "id", ids)
        _delete(connection, "target", "source_id", ids)
        _delete(connection, "sender_grant", "account_id", ids)


def _write_addresses(
    connection: Writing, file: LookupFile, reading: Connection, ids: list[int], ends: DeadEnds
) -> None:
    if file is DOVECOT:
        _write_accounts(connection, reading, ids)
        return
    rows = reading.execute(_ADDRESSES, {"ids": ids}).all()
    targets = reading.execute(_TARGETS, {"ids": ids}).all()
    ends.learn(rows, targets)
    connection.executemany(
        "INSERT INTO address VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [_address_row(row, ends) for row in rows]
    )
    rows_of_targets = []
    for row in targets:
        span = ends.open_target(row.source_id, Address(Domain(row.domain), LocalPart(row.local_part)))
        rows_of_targets.append(
            (row.id, row.source_id, row.position, row.local_part, row.domain, span.start, span.end)
        )
    connection.executemany("INSERT INTO target VALUES (?, ?, ?, ?, ?, ?, ?)", rows_of_targets)
    granted = reading.execute(_GRANTS, {"ids": ids})
    connection.executemany("INSERT INTO sender_grant VALUES (?, ?, ?, ?)", [tuple(row) for row in granted])


def _write_accounts(connection: Writing, reading: Connection, ids: list[int]) -> None:
    rows = []
    for row in reading.execute(_ACCOUNTS, {"ids": ids}):
        user_id, local_part, name, password, mail_id, login, *rights, quota, locked_at, until = row
        may = login and locked_at is None
        rows.append(
            (
                *(user_id, f"{local_part}@{name}", password, mail_id, may, *rights, quota),
                *(locked_at is None, seconds(until)),
            )
        )
    connection.executemany("INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    passwords = reading.execute(_APP_PASSWORDS, {"ids": ids})
    connection.executemany(
        "INSERT INTO app_password VALUES (?, ?, ?, ?, ?, ?, ?)", [tuple(row) for row in passwords]
    )


def _address_row(row: Any, ends: DeadEnds) -> tuple[Any, ...]:
    address_id, domain_id, local_part, kind = row[:4]
    span = ends.open(address_id)
    common = (address_id, domain_id, local_part, kind, ends.keeps(address_id).start, span.start, span.end)
    if kind == "alias":
        return (*common, 0, None)
    sends = row.login and row.send and row.locked_at is None
    return (*common, seconds(row.until) if sends else 0, f"{local_part}@{row.domain_name}")


def _delete(connection: Writing, table: str, column: str, ids: list[int]) -> None:
    marks = ", ".join("?" * len(ids))
    connection.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", ids)
