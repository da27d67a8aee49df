"""Which addresses lead nowhere: mail for them is refused, and never handed to the catch-all.

Mail for an address ends somewhere when it can reach a mailbox that takes it, or leaves the house. A user
who does not receive takes nothing and passes nothing on. Whether an address leads somewhere can change
with any address that it leads to, over any number of hops; so publishing works it out, and asks here
whose answer a change may have changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, or_, select

from postmaster.address import Address
from postmaster.directory import graph
from postmaster.directory.batches import batches
from postmaster.directory.schema import account, address, domain, target


@dataclass(frozen=True, slots=True)
class _State:
    passes: bool  # mail gets in at all
    keeps: bool  # and stays
    targets: tuple[Address, ...]


_STATE = (
    select(address.c.kind, account.c.receive, account.c.keep_copy)
    .join_from(address, account, account.c.id == address.c.id, isouter=True)
    .where(address.c.id == bindparam("address_id"))
)

# By any of its names: the own one, and one in each alias domain.
_NAMED = (
    select(target.c.source_id)
    .join_from(
        address, domain, or_(domain.c.id == address.c.domain_id, domain.c.alias_of_id == address.c.domain_id)
    )
    .join(target, (target.c.domain == domain.c.name) & (target.c.base == address.c.local_part))
    .where(address.c.id.in_(bindparam("ids", expanding=True)))
)
_home = address.alias("home")
_THROUGH_CATCH_ALL = (
    select(target.c.source_id)
    .join_from(address, domain, domain.c.id == address.c.domain_id)
    .join(target, target.c.domain == domain.c.name)
    .where(
        address.c.id.in_(bindparam("ids", expanding=True)),
        address.c.local_part == "",
        ~select(_home.c.id)
        .where(_home.c.domain_id == address.c.domain_id, _home.c.local_part == target.c.base)
        .exists(),
    )
)
_IN_DOMAINS = select(target.c.source_id).where(target.c.domain.in_(bindparam("names", expanding=True)))


class DeadEnds:
    """Answers of one moment of the truth; what was asked once is kept."""

    def __init__(self, reading: Connection) -> None:
        self._reading = reading
        self._states: dict[int, _State] = {}

    def is_open(self, address_id: int) -> bool:
        """Whether mail for an address of ours ends somewhere."""
        waiting, seen = [address_id], {address_id}
        while waiting:
            state = self._state(waiting.pop())
            if state.passes and state.keeps:
                return True
            for one in state.targets if state.passes else ():
                here, node = graph.lead(self._reading, one)
                if not here:
                    return True
                if node is not None and node.id not in seen:
                    seen.add(node.id)
                    waiting.append(node.id)
        return False

    def is_open_target(self, where: Address) -> bool:
        """Whether mail sent on to an address ends somewhere."""
        here, node = graph.lead(self._reading, where)
        return not here or (node is not None and self.is_open(node.id))

    def _state(self, address_id: int) -> _State:
        if address_id not in self._states:
            row = self._reading.execute(_STATE, {"address_id": address_id}).one()
            targets = graph.targets_of(self._reading, address_id)
            is_user = row.kind == "user"
            self._states[address_id] = _State(
                passes=bool(row.receive) if is_user else True,
                keeps=is_user and (row.keep_copy or not targets),
                targets=targets,
            )
        return self._states[address_id]


def sources(reading: Connection, ids: Collection[int], domains: Collection[str]) -> set[int]:
    """Every address that leads to one of these addresses, or into one of these domains, over any hops.

    Domains by their A-labels, as one that is gone has no id.
    """
    found: set[int] = set()
    for names in batches(domains):
        found.update(reading.execute(_IN_DOMAINS, {"names": names}).scalars())
    waiting = {*ids, *found}
    while waiting:
        before: set[int] = set()
        for part in batches(waiting):
            for query in (_NAMED, _THROUGH_CATCH_ALL):
                before.update(reading.execute(query, {"ids": part}).scalars())
        waiting = before - found
        found |= before
    return found
