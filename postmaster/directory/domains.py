"""Domains: hosted ones, and alias domains that answer for the addresses of a hosted one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph
from postmaster.directory.database import Change
from postmaster.directory.records import Added, DomainRecord
from postmaster.directory.schema import address, domain, sender_grant, target
from postmaster.errors import ExistsError, InUseError, NotFoundError, RuleError
from postmaster.shell import word

NAMED_OBSTACLES = 5  # how many obstacles an error names before it counts the rest


def add(change: Change, name: Domain, alias_of: Domain | None = None) -> Added[DomainRecord]:
    """Host a domain, or let it stand for a hosted one. Raises ExistsError, NotFoundError, RuleError."""
    connection = change.connection
    there = graph.hosted(connection, name)
    if there is not None:
        kind = f"as an alias of {there.home}" if there.is_alias else "already"
        raise ExistsError(f"domain {name} is hosted {kind}")
    home_id = None
    if alias_of is not None:
        if alias_of == name:
            raise RuleError(f"domain {name} cannot be an alias of itself")
        home = require(connection, alias_of)
        if home.is_alias:
            raise RuleError(
                f"domain {alias_of} is itself an alias of {home.home}", hint=f"use --alias-of {home.home}"
            )
        home_id = home.id
    change.insert(domain, {"name": name.ascii, "alias_of_id": home_id, "created_at": change.now})
    return Added(show(connection, name), dead_targets(connection, name, home_id))


def list_all(connection: Connection) -> Iterator[DomainRecord]:
    """All domains by name."""
    for row in connection.execute(_select().order_by(domain.c.name)):
        yield _record(row)


def show(connection: Connection, name: Domain) -> DomainRecord:
    """One domain. Raises NotFoundError."""
    require(connection, name)
    return _record(connection.execute(_select().where(domain.c.name == name.ascii)).one())


def remove(change: Change, name: Domain) -> DomainRecord:
    """Host a domain no longer. Raises NotFoundError, and InUseError that names what is in the way."""
    connection = change.connection
    record = show(connection, name)
    twins = list(
        connection.execute(
            select(domain.c.name).where(domain.c.alias_of_id == record.id).order_by(domain.c.name)
        ).scalars()
    )
    inside = connection.execute(
        select(address.c.kind, address.c.local_part)
        .where(address.c.domain_id == record.id)
        .order_by(address.c.local_part)
    ).all()
    obstacles = []
    if inside:
        obstacles.append(
            f"{_count(record.users, 'user')} and {_count(record.aliases, 'alias')}: "
            + named([f"{row.local_part}@{name}" for row in inside])
        )
    if twins:
        obstacles.append("alias domains: " + named([str(Domain(twin)) for twin in twins]))
    if obstacles:
        noun = inside[0].kind if inside else "domain"
        first = Address(name, LocalPart(inside[0].local_part)) if inside else Domain(twins[0])
        raise InUseError(
            f"domain {name} still has {'; and '.join(obstacles)}",
            hint=f"remove them first: postmaster {noun} remove {word(first)}",
        )
    if record.alias_of is not None:
        through = connection.execute(
            select(address.c.local_part, domain.c.name)
            .join_from(target, address, target.c.source_id == address.c.id)
            .join(domain, address.c.domain_id == domain.c.id)
            .where(target.c.domain == name.ascii)
            .distinct()
        ).all()
        if through:
            raise InUseError(
                f"domain {name} is named by targets of "
                + named([f"{row.local_part}@{Domain(row.name)}" for row in through]),
                hint=f"point them at {record.alias_of} first",
            )
    granted = connection.execute(select(sender_grant.c.id).where(sender_grant.c.domain_id == record.id))
    for row_id in granted.scalars().all():
        change.delete(sender_grant, row_id)
    change.delete(domain, record.id)
    return record


def require(connection: Connection, name: Domain) -> graph.Hosted:
    """A domain that must be there. Raises NotFoundError."""
    here = graph.hosted(connection, name)
    if here is None:
        raise NotFoundError(f"domain {name} is not hosted here", hint=f"postmaster domain add {word(name)}")
    return here


def require_home(connection: Connection, name: Domain) -> int:
    """The id of a hosted domain that may hold addresses. Raises NotFoundError, RuleError."""
    here = require(connection, name)
    if here.is_alias:
        raise RuleError(
            f"domain {name} is an alias of {here.home} and holds no addresses of its own",
            hint=f"use the address in {here.home}; it answers in {name} too",
        )
    return here.id


def named(items: list[str]) -> str:
    """The first few, and how many more."""
    more = len(items) - NAMED_OBSTACLES
    return ", ".join(items[:NAMED_OBSTACLES]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, noun: str) -> str:
    plural = {"user": "users", "alias": "aliases"}[noun]
    return f"{number} {noun if number == 1 else plural}"


def _select() -> Select[Any]:
    home = domain.alias("home")

    def count(kind: str) -> Any:
        return (
            select(func.count())
            .where(address.c.domain_id == domain.c.id, address.c.kind == kind)
            .scalar_subquery()
            .label(kind)
        )

    return select(
        domain.c.id,
        domain.c.name,
        domain.c.created_at,
        home.c.name.label("home"),
        count("user"),
        count("alias"),
    ).join_from(domain, home, domain.c.alias_of_id == home.c.id, isouter=True)


def _record(row: Row[Any]) -> DomainRecord:
    return DomainRecord(
        id=row.id,
        name=Domain(row.name),
        alias_of=Domain(row.home) if row.home else None,
        users=row.user,
        aliases=row.alias,
        created_at=row.created_at.replace(tzinfo=UTC),
    )


def dead_targets(connection: Connection, name: Domain, home_id: int | None) -> tuple[str, ...]:
    """A line for each: targets that went elsewhere until now and lead nowhere from now on."""
    exists = (
        select(address.c.id)
        .where(address.c.domain_id == (home_id or -1), address.c.local_part == target.c.base)
        .exists()
    )
    rows = connection.execute(
        select(target.c.local_part).where(target.c.domain == name.ascii, ~exists).distinct()
    ).scalars()
    return tuple(
        f"aliases or forwards lead to {local}@{name}, which does not exist here yet" for local in rows
    )
