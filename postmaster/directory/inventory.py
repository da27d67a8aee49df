"""The truth as entries: all of it, or what is in some domains, in the order in which it can be made again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.app_passwords import PROTOCOLS
from postmaster.directory.batches import batches
from postmaster.directory.database import zoned
from postmaster.directory.entries import (
    CLASSES,
    AliasEntry,
    AppPasswordEntry,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    UserEntry,
)
from postmaster.directory.schema import account, address, app_password, domain, sender_grant, target


def take(
    reading: Connection,
    *,
    kinds: Collection[str] = tuple(CLASSES),
    domains: Collection[str] | None = None,
    hashes: bool = True,
) -> Iterator[Entry]:
    """Entries of these kinds, by kind, domain and local part; only in these domains (A-labels), if any.

    Without `hashes` no user has a password, and there are no app passwords.
    """
    for kind in CLASSES:
        if kind not in kinds or (kind == "app_password" and not hashes):
            continue
        if domains is None:
            yield from _READERS[kind](reading, None, hashes)
        else:
            for part in batches(sorted(domains)):
                yield from _READERS[kind](reading, part, hashes)


def _domains(reading: Connection, only: list[str] | None, _hashes: bool) -> Iterator[Entry]:
    home = domain.alias("home")
    query = (
        select(domain.c.name, domain.c.created_at, home.c.name.label("home"))
        .join_from(domain, home, domain.c.alias_of_id == home.c.id, isouter=True)
        .order_by(domain.c.alias_of_id.is_not(None), domain.c.name)
    )
    for row in reading.execute(query if only is None else query.where(domain.c.name.in_(only))):
        yield DomainEntry(
            Domain(row.name), Domain(row.home) if row.home is not None else None, zoned(row.created_at)
        )


def _users(reading: Connection, only: list[str] | None, hashes: bool) -> Iterator[Entry]:
    columns = (*_ADDRESS, address.c.created_at, address.c.until, account)
    query = _of(
        select(*columns)
        .join_from(account, address, account.c.id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id),
        only,
    )
    for row in reading.execute(query.order_by(domain.c.name, address.c.local_part)):
        yield UserEntry(
            address=_address(row),
            name=row.name,
            password=row.password if hashes else None,
            **{switch: getattr(row, switch) for switch in ("login", "imap", "pop3", "send", "receive")},
            quota_bytes=row.quota,
            until=zoned(row.until),
            locked_at=zoned(row.locked_at),
            mail_id=row.mail_id,
            created_at=zoned(row.created_at),
        )


def _aliases(reading: Connection, only: list[str] | None, _hashes: bool) -> Iterator[Entry]:
    query = select(*_ADDRESS, *_TARGET, address.c.created_at, address.c.until)
    for _, rows in _grouped(reading, query, "alias", only):
        yield AliasEntry(_address(rows[0]), _targets(rows), zoned(rows[0].until), zoned(rows[0].created_at))


def _forwards(reading: Connection, only: list[str] | None, _hashes: bool) -> Iterator[Entry]:
    query = select(*_ADDRESS, *_TARGET, account.c.keep_copy, account.c.forward_until).join(
        account, account.c.id == address.c.id
    )
    for _, rows in _grouped(reading, query, "user", only):
        yield ForwardEntry(
            _address(rows[0]), _targets(rows), bool(rows[0].keep_copy), zoned(rows[0].forward_until)
        )


def _grants(reading: Connection, only: list[str] | None, _hashes: bool) -> Iterator[Entry]:
    other = domain.alias("other")
    query = _of(
        select(
            *_ADDRESS,
            sender_grant.c.local_part.label("to_local"),
            other.c.name.label("to_domain"),
            sender_grant.c.created_at,
        )
        .join_from(sender_grant, address, address.c.id == sender_grant.c.account_id)
        .join(domain, address.c.domain_id == domain.c.id)
        .join(other, other.c.id == sender_grant.c.domain_id),
        only,
    ).order_by(domain.c.name, address.c.local_part, other.c.name, sender_grant.c.local_part)
    for row in reading.execute(query):
        yield GrantEntry(_address(row), _target(row), zoned(row.created_at))


def _app_passwords(reading: Connection, only: list[str] | None, _hashes: bool) -> Iterator[Entry]:
    query = _of(
        select(*_ADDRESS, app_password)
        .join_from(app_password, address, address.c.id == app_password.c.account_id)
        .join(domain, address.c.domain_id == domain.c.id),
        only,
    ).order_by(domain.c.name, address.c.local_part, app_password.c.id)
    for row in reading.execute(query):
        protocols = tuple(one for one in PROTOCOLS if getattr(row, one))
        yield AppPasswordEntry(_address(row), row.name, row.sha256, protocols, zoned(row.created_at))


_READERS = {
    "domain": _domains,
    "user": _users,
    "alias": _aliases,
    "forward": _forwards,
    "grant": _grants,
    "app_password": _app_passwords,
}
_ADDRESS = (address.c.local_part.label("own_local"), domain.c.name.label("own_domain"))
_TARGET = (target.c.local_part.label("to_local"), target.c.domain.label("to_domain"), target.c.source_id)


def _grouped(reading: Connection, query: Select[Any], kind: str, only: list[str] | None) -> Iterator[Any]:
    """(id, rows of its targets in order) of each address of a kind that has some."""
    query = _of(
        query.join(target, target.c.source_id == address.c.id)
        .join(domain, domain.c.id == address.c.domain_id)
        .where(address.c.kind == kind)
        .order_by(domain.c.name, address.c.local_part, target.c.position),
        only,
    )
    for source_id, rows in groupby(reading.execute(query), key=lambda row: row.source_id):
        yield source_id, list(rows)


def _of(query: Select[Any], only: list[str] | None) -> Select[Any]:
    return query if only is None else query.where(domain.c.name.in_(only))


def _address(row: Any) -> Address:
    return Address(Domain(row.own_domain), LocalPart(row.own_local))


def _target(row: Any) -> Address:
    return Address(Domain(row.to_domain), LocalPart(row.to_local))


def _targets(rows: list[Any]) -> tuple[Address, ...]:
    return tuple(map(_target, rows))
