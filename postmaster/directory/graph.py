"""Where addresses point: resolving one target, and refusing loops and dead ends when written.

An address leads to itself, through an alias domain to its twin in the hosted domain, or to the
domain's catch-all. Mail for a domain that is not hosted here leaves the house. The rules follow
Postfix's virtual(5) as `lookups.py` publishes it: an extension does not change where an address
leads, an alias domain has no catch-all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
SHOWN_HOPS = 6  # at each end of a circle that is told

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
    rows = _naming(connection, where.domain, [where.local.base])
    return [(row_id, source_id, source) for _, row_id, source_id, source in rows]


def sources_of_many(
    connection: Connection, name: Domain, wheres: Iterable[Address]
) -> dict[Address, list[Address]]:
    """The source of each target that names one of these addresses in a domain, or a twin of it."""
    by_base = {where.local.base: where for where in wheres}
    found: dict[Address, list[Address]] = defaultdict(list)
    for part in batches(by_base):
        for base, _, _, source in _naming(connection, name, part):
            found[by_base[base]].append(source)
    return found


def _naming(
    connection: Connection, name: Domain, bases: Sequence[str]
) -> Iterator[tuple[str, int, int, Address]]:
    """(base, target row, source id, source) of each target of these bases in a domain or its twins."""
    here = hosted(connection, name)
    names = [name.ascii]
    if here is not None:
        names = list(
            connection.execute(
                select(domain.c.name).where(
                    (domain.c.id == here.home_id) | (domain.c.alias_of_id == here.home_id)
                )
            ).scalars()
        )
    rows = connection.execute(
        select(target.c.base, target.c.id, target.c.source_id, address.c.local_part, domain.c.name)
        .join_from(target, address, target.c.source_id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(target.c.domain.in_(names), target.c.base.in_(bases))
        .order_by(target.c.id)
    )
    for row in rows:
        yield row.base, row.id, row.source_id, Address(Domain(row.name), LocalPart(row.local_part))


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
    ways = _Present(connection)
    _follow(ways, source, leads_of(ways, source, targets))


def leads_of(ways: Ways, source: Node, targets: Iterable[Address]) -> list[Node]:
    """What the targets of an address lead to here. Raises RuleError for one that leads nowhere."""
    found: list[Node] = []
    for one in targets:
        here, node = ways.lead(one)
        if here and node is None:
            raise RuleError(
                f"{source.address} cannot lead to {one}: that address does not exist",
                hint=f"make it first, for example: postmaster user add {word(one.without_extension)}",
            )
        if node is not None:
            found.append(node)
    return found


class Checks:
    """As `check_targets`, of many sources in ways that have their targets already, and stay as they are.

    What is known of one address serves all that lead to it: a chain takes as long as it has addresses, and
    not as long as all the ways through it together.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        #: Id -> to how many addresses it expands at most, cut off above the limit; None: it reaches a circle.
        self._most: dict[int, int | None] = {}
        self._too_many: set[int] = set()  # those that are known to expand to more than the limit

    def check(self, source: Node, targets: Sequence[Address]) -> None:
        """Raises RuleError."""
        first = leads_of(self._ways, source, targets)
        if not first:
            return
        most = self._look(source)
        if source.id in self._too_many:
            raise _too_many(source)
        if most is None:
            _follow(self._ways, source, first)

    def _look(self, start: Node) -> int | None:
        """Work out what is to be known of an address, after all that it leads to."""
        if start.id in self._most:
            return self._most[start.id]
        path: dict[int, list[Node]] = {start.id: self._following(start)}
        waiting = [(start, iter(path[start.id]))]
        in_circle: set[int] = set()
        while waiting:
            node, following = waiting[-1]
            one = next((one for one in following if one.id not in self._most), None)
            if one is None:
                self._settle(node, path.pop(node.id), in_circle)
                waiting.pop()
            elif one.id in path:
                in_circle.add(node.id)
            else:
                path[one.id] = self._following(one)
                waiting.append((one, iter(path[one.id])))
        return self._most[start.id]

    def _settle(self, node: Node, following: list[Node], in_circle: set[int]) -> None:
        most: int | None = 0
        for one in following:
            behind = self._most.get(one.id)
            if behind is None or node.id in in_circle:
                most = None  # also of one that is on the path still
                break
            most = min(EXPANSION_LIMIT + 1, (most or 0) + len(self._ways.targets_of(one.id)) + behind)
        self._most[node.id] = most
        # The most may count twice what is reached in two ways; but what leads to too many has too many too.
        if most is not None and most > EXPANSION_LIMIT:
            if any(one.id in self._too_many for one in following):
                self._too_many.add(node.id)
                return
            try:
                _follow(self._ways, node, following)
            except RuleError:
                self._too_many.add(node.id)

    def _following(self, node: Node) -> list[Node]:
        found = {}
        for one in self._ways.targets_of(node.id):
            _, following = self._ways.lead(one)
            if following is not None:
                found[following.id] = following
        return list(found.values())


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
                raise _too_many(source)
            _, following = ways.lead(one)
            if following is None:
                continue
            if following.id == source.id:
                raise RuleError(_loop(source, node, came_from), hint="take one of these targets out")
            if following.id not in came_from:
                came_from[following.id] = node
                queue.append(following)


def _too_many(source: Node) -> RuleError:
    return RuleError(
        f"{source.address} would expand to more than {EXPANSION_LIMIT} addresses, "
        "and Postfix would defer the whole message",
        hint="split the list, or use a mailing list manager",
    )


def _loop(source: Node, last: Node, came_from: dict[int, Node]) -> str:
    way = [source, last]
    while (before := came_from[way[-1].id]).id != source.id:
        way.append(before)
    path = [str(node.address) for node in (source, *reversed(way[1:]), source)]
    if len(path) > 2 * SHOWN_HOPS:
        between = len(path) - 2 * SHOWN_HOPS
        path[SHOWN_HOPS:-SHOWN_HOPS] = [f"({between} more)"]
    return "mail would go in a circle: " + " → ".join(path)
