"""Aliases: addresses without a mailbox that lead to one or more others. `@example.org` is a catch-all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import addresses, graph
from postmaster.directory.addresses import KEEP, Keep
from postmaster.directory.database import Change, zoned
from postmaster.directory.domains import require
from postmaster.directory.records import Alias, Assigned, Removed
from postmaster.directory.schema import address, domain, target
from postmaster.errors import ExistsError, NotFoundError, RuleError, UsageError
from postmaster.shell import word


def set_targets(
    change: Change,
    where: Address,
    targets: Sequence[Address],
    until: datetime | Keep | None = KEEP,
) -> Assigned[Alias]:
    """Give an alias exactly these targets; it is made if missing, and ends when told so.

    Raises UsageError without targets, ExistsError when a user has the address, RuleError for a
    loop or a target that does not exist, NotFoundError for a domain that is not here.
    """
    if not targets:
        raise UsageError("an alias needs at least one target", hint=f"postmaster alias remove {word(where)}")
    connection = change.connection
    before = _find(connection, where)
    alias_id = addresses.claim(change, where, "alias") if before is None else before.id
    source = where if before is None else before.address
    addresses.assign_targets(change, graph.Node(alias_id, "alias", source), targets)
    addresses.set_until(change, alias_id, until)
    return Assigned(before, show(connection, source))


def edit(
    change: Change,
    where: Address,
    add: Sequence[Address] = (),
    remove: Sequence[Address] = (),
    until: datetime | Keep | None = KEEP,
) -> Assigned[Alias]:
    """Add and drop single targets, or let the alias end. Adding one that is there changes nothing.

    Raises NotFoundError for an alias or a dropped target that is not there, RuleError as
    `set_targets`, and when no target would be left.
    """
    if not add and not remove and until is KEEP:
        raise UsageError("nothing to change", hint="name targets with --add and --remove, or an end")
    before = show(change.connection, where)
    missing = [one for one in remove if one not in before.targets]
    if missing:
        raise NotFoundError(
            f"{missing[0]} is no target of {where}",
            hint=f"see them with: postmaster alias show {word(where)}",
        )
    wanted = [one for one in before.targets if one not in remove]
    wanted += [one for one in add if one not in wanted]
    if not wanted:
        raise RuleError(
            f"alias {where} would have no target left", hint=f"postmaster alias remove {word(where)}"
        )
    return set_targets(change, before.address, wanted, until)


def list_all(connection: Connection, only: Domain | None = None) -> Iterator[Alias]:
    """All aliases by domain and local part. Raises NotFoundError for a domain that is not here."""
    query = (
        select(
            address.c.id,
            address.c.local_part,
            address.c.created_at,
            address.c.until,
            domain.c.name,
            target.c.local_part.label("to_local"),
            target.c.domain.label("to_domain"),
        )
        .join_from(address, domain, address.c.domain_id == domain.c.id)
        .join(target, target.c.source_id == address.c.id)
        .where(address.c.kind == "alias")
        .order_by(domain.c.name, address.c.local_part, target.c.position)
    )
    if only is not None:
        query = query.where(address.c.domain_id == require(connection, only).id)
    current: Alias | None = None
    for row in connection.execute(query):
        to = Address(Domain(row.to_domain), LocalPart(row.to_local))
        if current is not None and current.id == row.id:
            current = replace(current, targets=(*current.targets, to))
            continue
        if current is not None:
            yield current
        where = Address(Domain(row.name), LocalPart(row.local_part))
        current = Alias(row.id, where, (to,), row.created_at.replace(tzinfo=UTC), zoned(row.until))
    if current is not None:
        yield current


def show(connection: Connection, where: Address) -> Alias:
    """One alias. An address in an alias domain shows the one behind it. Raises NotFoundError."""
    here = require(connection, where.domain)
    node = graph.find(connection, here.home_id, here.home, where.local.text)
    if node is None or node.kind != "alias":
        raise addresses.not_found(node, where, "alias")
    times = select(address.c.created_at, address.c.until).where(address.c.id == node.id)
    created_at, until = connection.execute(times).one()
    targets = graph.targets_of(connection, node.id)
    return Alias(node.id, node.address, targets, created_at.replace(tzinfo=UTC), zoned(until))


def remove(change: Change, where: Address) -> Removed[Alias]:
    """Take an alias away. Raises NotFoundError, and InUseError when it is some alias's last target."""
    alias = show(change.connection, where)
    dropped = addresses.release(change, graph.Node(alias.id, "alias", alias.address))
    change.delete(address, alias.id)
    return Removed(alias, dropped)


def _find(connection: Connection, where: Address) -> Alias | None:
    """The alias if there is one; None where the address is free. Raises ExistsError for a user."""
    here = graph.hosted(connection, where.domain)
    if here is None:
        return None
    node = graph.find(connection, here.home_id, here.home, where.local.text)
    if node is None:
        return None
    if node.kind == "user":
        raise ExistsError(
            f"{where} is a user already", hint=f"let it forward: postmaster forward set {word(where)} TARGET"
        )
    return show(connection, where)
