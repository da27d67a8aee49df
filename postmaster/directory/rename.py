"""Another address for a user, another name for a domain; whatever leads there follows.

The rows keep their ids, so the mailbox, the password, switches, forwards and grants stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import addresses, aliases, domains, graph, users
from postmaster.directory.database import Change
from postmaster.directory.domains import require, require_home
from postmaster.directory.records import Alias, DomainRecord, User
from postmaster.directory.schema import address, domain, sender_grant, target
from postmaster.errors import ExistsError, RuleError
from postmaster.shell import word


@dataclass(frozen=True, slots=True)
class RenamedUser:
    """`alias` is the old address where it stays; `followed` are aliases and forwards that led to it."""

    before: User
    after: User
    alias: Alias | None
    followed: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class RenamedDomain:
    """`alias` is the old name where it stays as an alias domain."""

    before: DomainRecord
    after: DomainRecord
    alias: DomainRecord | None
    followed: tuple[Address, ...]
    notes: tuple[str, ...]


def rename_user(
    change: Change, old: Address, new: Address, *, keep_alias: bool = True, until: datetime | None = None
) -> RenamedUser:
    """Give a user another address. The old one stays as an alias, until a moment or for good.

    An alias at the new address that leads to this user alone makes room: it is the way back.
    Raises NotFoundError, ExistsError, RuleError.
    """
    connection = change.connection
    before = users.show(connection, old)
    where = before.address
    home_id = require_home(connection, new.domain)
    if new == where:
        raise RuleError(f"{where} has this address already", hint="name another one")
    there = graph.find(connection, home_id, new.domain, new.local.text)
    if there is not None:
        leads = graph.targets_of(connection, there.id)
        if there.kind != "alias" or [graph.lead(connection, one)[1] for one in leads] != [
            graph.Node(before.id, "user", where)
        ]:
            raise ExistsError(
                f"{new} is {'a user' if there.kind == 'user' else 'an alias'} already",
                hint=f"see it with: postmaster {there.kind} show {word(new)}",
            )
        _make_room(change, there)
    leading = graph.sources_of(connection, where)
    old_home = require(connection, where.domain).home_id
    same_home = old_home == home_id
    change.update(address, before.id, {"domain_id": home_id, "local_part": new.local.text})
    for row_id, _, _ in leading:
        row = change.row(target, row_id)
        assert row is not None
        extension = row["local_part"].removeprefix(row["base"])
        _point(
            change,
            row,
            {
                "local_part": new.local.text + extension,
                "base": new.local.text,
                # Through an alias domain of the same home it still gets there.
                "domain": row["domain"] if same_home else new.domain.ascii,
            },
        )
    _move_grants(change, (old_home, where.local.text), (home_id, new.local.text))
    graph.check_targets(
        connection, graph.Node(before.id, "user", new), graph.targets_of(connection, before.id)
    )
    alias = aliases.set_targets(change, where, [new], until).after if keep_alias else None
    return RenamedUser(before, users.show(connection, new), alias, _sources(leading))


def rename_domain(change: Change, old: Domain, new: Domain, *, keep_alias: bool = True) -> RenamedDomain:
    """Give a domain another name. The old one stays as an alias domain unless it is not to be kept.

    A new name that is an alias domain of this one makes room. Raises NotFoundError, ExistsError, RuleError.
    """
    connection = change.connection
    before = domains.show(connection, old)
    if new == old:
        raise RuleError(f"the domain is called {old} already", hint="name another one")
    there = graph.hosted(connection, new)
    if there is not None:
        if not there.is_alias or there.home_id != before.id:
            raise ExistsError(f"domain {new} is hosted already", hint=f"postmaster domain show {word(new)}")
        change.delete(domain, there.id)
    rows = connection.execute(
        select(target.c.id, target.c.source_id, address.c.local_part, domain.c.name)
        .join_from(target, address, target.c.source_id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(target.c.domain == old.ascii)
        .order_by(target.c.id)
    ).all()
    notes = domains.dead_targets(connection, new, before.id if before.alias_of is None else None)
    change.update(domain, before.id, {"name": new.ascii})
    leading = []
    for found in rows:
        row = change.row(target, found.id)
        assert row is not None
        _point(change, row, {"domain": new.ascii})
        name = new if found.name == old.ascii else Domain(found.name)
        leading.append((found.id, found.source_id, Address(name, LocalPart(found.local_part))))
    alias = None
    if keep_alias:
        home = new if before.alias_of is None else before.alias_of
        alias = domains.add(change, old, home).record
    for source_id in dict.fromkeys(source_id for _, source_id, _ in leading):
        _check(change, source_id)
    return RenamedDomain(before, domains.show(connection, new), alias, _sources(leading), notes)


def _check(change: Change, source_id: int) -> None:
    row = change.connection.execute(
        select(address.c.kind, address.c.local_part, domain.c.name)
        .join_from(address, domain, domain.c.id == address.c.domain_id)
        .where(address.c.id == source_id)
    ).one()
    node = graph.Node(source_id, row.kind, Address(Domain(row.name), LocalPart(row.local_part)))
    graph.check_targets(change.connection, node, graph.targets_of(change.connection, source_id))


def _make_room(change: Change, alias: graph.Node) -> None:
    """Take away an alias that leads to the user alone; who led to it leads to the user now."""
    connection = change.connection
    (goal,) = graph.targets_of(connection, alias.id)
    for row_id, _, _ in graph.sources_of(connection, alias.address):
        row = change.row(target, row_id)
        assert row is not None
        where = {"local_part": goal.local.text, "base": goal.local.base, "domain": goal.domain.ascii}
        _point(change, row, where)
    addresses.release(change, alias)
    change.delete(address, alias.id)


def _point(change: Change, row: dict[str, Any], values: dict[str, str]) -> None:
    """Let a target row lead elsewhere; one that would be there twice goes."""
    wanted = {**row, **values}
    twin = change.connection.execute(
        select(target.c.id).where(
            target.c.source_id == row["source_id"],
            target.c.local_part == wanted["local_part"],
            target.c.domain == wanted["domain"],
            target.c.id != row["id"],
        )
    ).scalar()
    if twin is not None:
        change.delete(target, row["id"])
    else:
        change.update(target, row["id"], values)


def _move_grants(change: Change, old: tuple[int, str], new: tuple[int, str]) -> None:
    """Who may send as the old address may send as the new one."""
    rows = change.connection.execute(
        select(sender_grant.c.id, sender_grant.c.account_id).where(
            sender_grant.c.domain_id == old[0], sender_grant.c.local_part == old[1]
        )
    ).all()
    for row in rows:
        twin = change.connection.execute(
            select(sender_grant.c.id).where(
                sender_grant.c.account_id == row.account_id,
                sender_grant.c.domain_id == new[0],
                sender_grant.c.local_part == new[1],
            )
        ).scalar()
        if twin is not None:
            change.delete(sender_grant, row.id)
        else:
            change.update(sender_grant, row.id, {"domain_id": new[0], "local_part": new[1]})


def _sources(leading: Iterable[tuple[int, int, Address]]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(source for _, _, source in leading))
