"""The directory as it will be once a plan is done: what is planned, laid over what is there. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph
from postmaster.directory.batches import batches
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    Difference,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    UserEntry,
)
from postmaster.directory.graph import Node
from postmaster.directory.schema import target

_TARGETS = (
    select(target.c.source_id, target.c.local_part, target.c.domain)
    .where(target.c.source_id.in_(bindparam("ids", expanding=True)))
    .order_by(target.c.source_id, target.c.position)
)


class Planned:
    """Ways (graph.py) as they will be. A user or alias that is to be made has a negative id."""

    def __init__(self, connection: Connection, differences: Sequence[Difference] = ()) -> None:
        self._connection = connection
        #: Domains of the plan; None for one that goes.
        self.domains: dict[Domain, DomainEntry | None] = {}
        self._addresses: dict[Address, Difference] = {}  # users and aliases; a new one before an old one
        self._going = {(one.entry.kind, one.entry.key) for one in differences if one.after is None}
        self._hosted: dict[Domain, tuple[Domain, bool] | None] = {}
        self._present: dict[Address, Node | None] = {}
        self._new: dict[Address, Node] = {}
        self._targets: dict[int, tuple[Address, ...]] = {}
        for one in differences:
            entry = one.entry
            if isinstance(entry, DomainEntry):
                self.domains[entry.domain] = None if one.after is None else entry
            elif isinstance(entry, UserEntry | AliasEntry) and (
                one.after is not None or entry.address not in self._addresses
            ):
                self._addresses[entry.address] = one
        self._find(_asked(differences))
        for number, (where, one) in enumerate(self._addresses.items(), 1):
            if one.before is None:
                self._new[where] = Node(-number, one.entry.kind, where)
        for one in differences:
            if isinstance(one.entry, AliasEntry | ForwardEntry):
                node = self.node(one.entry.address)
                if node is not None and node.kind == ("alias" if one.entry.kind == "alias" else "user"):
                    self._targets[node.id] = () if one.after is None else one.entry.targets

    def hosted(self, name: Domain) -> tuple[Domain, bool] | None:
        """(where its addresses are, whether it is an alias domain) of a domain that will be served here."""
        if name in self.domains:
            entry = self.domains[name]
            return None if entry is None else (entry.alias_of or entry.domain, entry.alias_of is not None)
        if name not in self._hosted:
            here = graph.hosted(self._connection, name)
            self._hosted[name] = None if here is None else (here.home, here.is_alias)
        return self._hosted[name]

    def node(self, where: Address) -> Node | None:
        """The user or alias that will have this very address in a hosted domain."""
        planned = self._addresses.get(where)
        if planned is not None:
            if planned.after is None:
                return None
            if planned.before is None:
                return self._new.get(where)
        return self.present(where)

    def present(self, where: Address) -> Node | None:
        """The user or alias that has this very address now."""
        if where not in self._present:
            here = graph.hosted(self._connection, where.domain)
            self._present[where] = (
                None
                if here is None or here.is_alias
                else graph.find(self._connection, here.home_id, here.home, where.local.text)
            )
        return self._present[where]

    def look_ahead(self, ids: Iterable[int]) -> None:
        """Ask about many at once, as each alone costs queries: where their targets lead, what is there."""
        ids = list(ids)
        self._read_targets(ids)
        self.look_for(to for one in ids for to in self._targets[one])

    def look_for(self, targets: Iterable[Address]) -> None:
        """The same of targets."""
        asked = set()
        for one in targets:
            here = self.hosted(one.domain)
            if here is not None:
                asked.add(Address(here[0], LocalPart(one.local.base)))
        found = self._find(asked - self._present.keys())
        self._read_targets(node.id for node in found if node.id not in self._targets)

    def _find(self, wheres: Collection[Address]) -> list[Node]:
        """Look up who has these very addresses now."""
        there = graph.find_many(self._connection, wheres)
        found = []
        for where in wheres:
            node = there.get(where)
            self._present[where] = node if node is not None and node.address == where else None
            if node is not None:
                found.append(node)
        return found

    def _read_targets(self, ids: Iterable[int]) -> None:
        for part in batches(ids):
            found: dict[int, list[Address]] = {one: [] for one in part}
            for row in self._connection.execute(_TARGETS, {"ids": part}):
                found[row.source_id].append(Address(Domain(row.domain), LocalPart(row.local_part)))
            for source_id, targets in found.items():
                self._targets.setdefault(source_id, tuple(targets))

    def is_at(self, where: Address, one: Difference) -> bool:
        """Whether it is this one, of all that are planned, that the address will be."""
        return self._addresses.get(where) is one

    def goes(self, kind: str, entry: Entry) -> bool:
        """Whether what has this entry's key is taken away as that kind."""
        return (kind, entry.key) in self._going

    def drop(self, one: Difference) -> bool:
        """Take a user or alias that is made or goes out of the plan, if it is all that is planned there."""
        entry = one.entry
        if not isinstance(entry, UserEntry | AliasEntry) or self._addresses.get(entry.address) is not one:
            return False
        if one.before is None:
            other = "alias" if entry.kind == "user" else "user"
            if (other, entry.key) in self._going:
                return False
            self._targets.pop(self._new.pop(entry.address).id, None)
        elif one.after is None:
            self._going.discard((entry.kind, entry.key))
            present = self.present(entry.address)
            if present is not None and entry.kind == "alias":
                self._targets.pop(present.id, None)
        else:
            return False
        del self._addresses[entry.address]
        return True

    def lead(self, where: Address) -> tuple[bool, Node | None]:
        here = self.hosted(where.domain)
        if here is None:
            return False, None
        home, is_alias = here
        found = self.node(Address(home, LocalPart(where.local.base)))
        if found is None and not is_alias:
            found = self.node(Address(home, LocalPart("")))
        return True, found

    def targets_of(self, source_id: int) -> tuple[Address, ...]:
        if source_id not in self._targets:
            self._targets[source_id] = () if source_id < 0 else graph.targets_of(self._connection, source_id)
        return self._targets[source_id]


def _asked(differences: Sequence[Difference]) -> set[Address]:
    found = set()
    for one in differences:
        if isinstance(one.entry, GrantEntry | AppPasswordEntry):
            found.add(one.entry.user)
        elif not isinstance(one.entry, DomainEntry):
            found.add(one.entry.address)
    return found
