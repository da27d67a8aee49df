"""Where addresses point: resolving one target, and refusing loops and dead ends when written.

An address leads to itself, through an alias domain to its twin in the hosted domain, or to the
domain's catch-all. Mail for a domain that is not hosted here leaves the house. The rules follow
Postfix's virtual(5) as `lookups.py` publishes it: an extension does not change where an address
leads, an alias domain has no catch-all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, bindparam, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.batches import batches
from postmaster.directory.schema import address, domain, target
from postmaster.errors import RuleError
from postmaster.shell import word

#: Postfix's virtual_alias_expansion_limit and virtual_alias_recursion_limit, both 1000 by default:
#: past them the whole message is deferred, for every recipient.
EXPANSION_LIMIT = 1000

# Asked for every address of a bulk change: to build a statement takes longer than to run it.
_HOME = domain.alias("home")
_HOSTED = (
    select(domain.c.id, domain.c.alias_of_id, _HOME.c.name)
    .join_from(domain, _HOME, domain.c.alias_of_id == _HOME.c.id, isouter=True)
    .where(domain.c.name == bindparam("name"))
)
_FOUND = select(address.c.id, address.c.kind).where(
    address.c.domain_id == bindparam("home_id"), address.c.local_part == bindparam("local_part")
)
_TARGETS = (
    select(target.c.local_part, target.c.domain)
    .where(target.c.source_id == bindparam("source_id"))
    .order_by(target.c.position)
)


_FOUND_MANY = select(address.c.id, address.c.kind, address.c.local_part).where(
    address.c.domain_id == bindparam("home_id"),
    address.c.local_part.in_(bindparam("local_parts", expanding=True)),
)


@dataclass(frozen=True, slots=True)
class Node:
    """An address of ours that a target leads to."""

    id: int
    kind: str
    address: Address


@dataclass(frozen=True, slots=True)
class Hosted:
    """A domain that is served here: its own id, and the id and name of where its addresses are."""

    id: int
    home_id: int
    home: Domain

    @property
    def is_alias(self) -> bool:
        return self.id != self.home_id


def hosted(connection: Connection, name: Domain) -> Hosted | None:
    """The domain if it is served here, as itself or as an alias domain."""
    row = connection.execute(_HOSTED, {"name": name.ascii}).one_or_none()
    if row is None:
        return None
    if row.alias_of_id is None:
        return Hosted(row.id, row.id, name)
    return Hosted(row.id, row.alias_of_id, Domain(row.name))


def find(connection: Connection, home_id: int, home: Domain, local_part: str) -> Node | None:
    """The user or alias with exactly this local part in a hosted domain."""
    row = connection.execute(_FOUND, {"home_id": home_id, "local_part": local_part}).one_or_none()
    return None if row is None else Node(row.id, row.kind, Address(home, LocalPart(local_part)))


def find_many(connection: Connection, wheres: Iterable[Address]) -> dict[Address, Node]:
    """The users and aliases behind these addresses, those in alias domains too, many with each query."""
    by_domain: dict[Domain, list[str]] = defaultdict(list)
    for where in wheres:
        by_domain[where.domain].append(where.local.text)
    found = {}
    for name, local_parts in by_domain.items():
        here = hosted(connection, name)
        if here is None:
            continue
        for part in batches(local_parts):
            for row in connection.execute(_FOUND_MANY, {"home_id": here.home_id, "local_parts": part}):
                local = LocalPart(row.local_part)
                found[Address(name, local)] = Node(row.id, row.kind, Address(here.home, local))
    return found


def lead(connection: Connection, where: Address) -> tuple[bool, Node | None]:
    """(is the domain hosted here, the node that mail for this address reaches)."""
    here = hosted(connection, where.domain)
    if here is None:
        return False, None
    node = find(connection, here.home_id, here.home, where.local.base)
    if node is None and not here.is_alias:
        node = find(connection, here.home_id, here.home, "")
    return True, node


def targets_of(connection: Connection, source_id: int) -> tuple[Address, ...]:
    """The targets of an address, in order."""
    rows = connection.execute(_TARGETS, {"source_id": source_id})
    return tuple(Address(Domain(row.domain), LocalPart(row.local_part)) for row in rows)


def sources_of(connection: Connection, where: Address) -> list[tuple[int, int, Address]]:
    """(target row, source id, source address) of each target that names this address or a twin of it."""
    here = hosted(connection, where.domain)
    names = [where.domain.ascii]
    if here is not None:
        names = list(
            connection.execute(
                select(domain.c.name).where(
                    (domain.c.id == here.home_id) | (domain.c.alias_of_id == here.home_id)
                )
            ).scalars()
        )
    rows = connection.execute(
        select(target.c.id, target.c.source_id, address.c.local_part, domain.c.name)
        .join_from(target, address, target.c.source_id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(target.c.domain.in_(names), target.c.base == where.local.base)
        .order_by(target.c.id)
    )
    return [(row.id, row.source_id, Address(Domain(row.name), LocalPart(row.local_part))) for row in rows]


class Ways(Protocol):
    """Where addresses lead and what they lead to: in the database, or as they will once a plan is done."""

    def lead(self, where: Address) -> tuple[bool, Node | None]: ...

    def targets_of(self, source_id: int) -> tuple[Address, ...]: ...


@dataclass(frozen=True, slots=True)
class _Present:
    """The ways in the database."""

    connection: Connection

    def lead(self, where: Address) -> tuple[bool, Node | None]:
        return lead(self.connection, where)

    def targets_of(self, source_id: int) -> tuple[Address, ...]:
        return targets_of(self.connection, source_id)


def check_targets(connection: Connection, source: Node, targets: Sequence[Address]) -> None:
    """Refuse targets that lead nowhere, back to the source, or past Postfix's limits. Raises RuleError.

    `source` need not be in the database yet; its present targets there are not looked at.
    """
    check_ways(_Present(connection), source, targets)


def check_ways(ways: Ways, source: Node, targets: Sequence[Address]) -> None:
    """As `check_targets`, by ways that need not be those of the database. Raises RuleError."""
    first: list[Node] = []
    for one in targets:
        here, node = ways.lead(one)
        if here and node is None:
            raise RuleError(
                f"{source.address} cannot lead to {one}: that address does not exist",
                hint=f"make it first, for example: postmaster user add {word(one.without_extension)}",
            )
        if node is not None:
            first.append(node)
    _follow(ways, source, first)


def _follow(ways: Ways, source: Node, first: Iterable[Node]) -> None:
    came_from: dict[int, Node] = {}
    queue: list[Node] = []
    for node in first:
        if node.id == source.id:
            raise RuleError(
                f"{source.address} cannot lead to itself",
                hint="a user keeps a copy of forwarded mail with --keep-copy",
            )
        if node.id not in came_from:
            came_from[node.id] = source
            queue.append(node)
    expanded = 0
    while queue:
        node = queue.pop()
        for one in ways.targets_of(node.id):
            expanded += 1
            if expanded > EXPANSION_LIMIT:
                raise RuleError(
                    f"{source.address} would expand to more than {EXPANSION_LIMIT} addresses, "
                    "and Postfix would defer the whole message",
                    hint="split the list, or use a mailing list manager",
                )
            _, following = ways.lead(one)
            if following is None:
                continue
            if following.id == source.id:
                raise RuleError(_loop(source, node, came_from), hint="take one of these targets out")
            if following.id not in came_from:
                came_from[following.id] = node
                queue.append(following)


def _loop(source: Node, last: Node, came_from: dict[int, Node]) -> str:
    way = [source, last]
    while (before := came_from[way[-1].id]).id != source.id:
        way.append(before)
    path = [source, *reversed(way[1:]), source]
    return "mail would go in a circle: " + " → ".join(str(node.address) for node in path)
