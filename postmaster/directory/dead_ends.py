"""Which addresses lead nowhere, and when: mail for them is refused, and never handed to the catch-all.

Mail for an address ends somewhere when it can reach a mailbox that takes it, or leaves the house. A user
who does not receive takes nothing and passes nothing on; nothing passes an address that has ended; a user
whose forward has ended takes the mail; what a locked user forwards does not leave the house. Whether an
address leads somewhere can change with any address that it leads to, over any number of hops; so publishing
works it out for all time to come, and asks here whose answer a change may have changed.

A span is the time from the first moment to the last at which mail gets through; what may be closed between
the two, where several ways end and begin at dates, is not told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph
from postmaster.directory.batches import batches
from postmaster.directory.lookups import EVER
from postmaster.directory.schema import account, address, domain, target


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment on and before another, in seconds since the epoch; empty where they are turned around."""

    start: int
    end: int

    @property
    def is_empty(self) -> bool:
        return self.start >= self.end

    def within(self, other: Span) -> Span:
        """What both have."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def joined(self, other: Span) -> Span:
        """What either has, and what is between."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        return Span(min(self.start, other.start), max(self.end, other.end))

    def has(self, moment: float) -> bool:
        return self.start <= moment < self.end


ALWAYS = Span(0, EVER)
NEVER = Span(EVER, 0)


def seconds(until: datetime | None) -> int:
    """A date of the truth as the look-ups have it."""
    return EVER if until is None else int(until.replace(tzinfo=UTC).timestamp())


def _until(moment: datetime | None) -> Span:
    return ALWAYS if moment is None else Span(0, seconds(moment))


#: An address, and by which way it was reached.
_Way = tuple[int, "_Way | None"]


@dataclass(frozen=True, slots=True)
class _State:
    passes: Span  # mail gets in at all
    keeps: Span  # and stays
    leads: Span  # and goes on to the targets
    targets: tuple[Address, ...]


#: Of a user who only takes mail, as nearly all do.
_OPEN = _State(ALWAYS, ALWAYS, ALWAYS, ())

_STATES = (
    select(
        *(address.c.id, address.c.kind, address.c.until),
        *(account.c.receive, account.c.keep_copy, account.c.forward_until, account.c.locked_at),
    )
    .join_from(address, account, account.c.id == address.c.id, isouter=True)
    .where(address.c.id.in_(bindparam("ids", expanding=True)))
)
_TARGETS = (
    select(target.c.source_id, target.c.local_part, target.c.domain)
    .where(target.c.source_id.in_(bindparam("ids", expanding=True)))
    .order_by(target.c.source_id, target.c.position)
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
        self._leads: dict[Address, tuple[bool, int | None]] = {}
        self._known: dict[int, Span] = {}  # what `open` found

    def prepare(self, ids: Sequence[int]) -> None:
        """Ask about many at once: each alone costs two queries."""
        targets = self._reading.execute(_TARGETS, {"ids": ids}).all()
        self.learn(self._reading.execute(_STATES, {"ids": ids}).all(), targets)

    def learn(self, rows: Iterable[Any], targets: Iterable[Any]) -> None:
        """Take what was read of addresses, with their accounts, and of all their targets, in order."""
        found: dict[int, list[Address]] = {}
        for one in targets:
            where = Address(Domain(one.domain), LocalPart(one.local_part))
            found.setdefault(one.source_id, []).append(where)
        for row in rows:
            self._states[row.id] = self._state_of(row, tuple(found.get(row.id, ())))

    def is_open(self, address_id: int) -> bool:
        """Whether mail for an address of ours ends somewhere now."""
        return self.open(address_id).has(time())

    def open(self, address_id: int) -> Span:
        """When mail for an address of ours ends somewhere."""
        if self._state(address_id) is _OPEN:
            return ALWAYS
        found = NEVER
        seen = dict[int, Span]()
        waiting: list[tuple[int, Span, _Way | None]] = [(address_id, ALWAYS, None)]
        while waiting and found != ALWAYS:
            node_id, span, before = waiting.pop()
            if span == ALWAYS and node_id in self._known:
                if self._known[node_id] == ALWAYS:
                    return self._note_always(before)
                found = found.joined(self._known[node_id])
                continue
            way = (node_id, before)
            state = self._state(node_id)
            span = span.within(state.passes)
            known = seen.get(node_id, NEVER)
            if span.is_empty or known.joined(span) == known:
                continue
            seen[node_id] = known.joined(span)
            kept = span.within(state.keeps)
            found = found.joined(kept)
            span = span.within(state.leads)
            outside = False
            for one in () if span.is_empty else state.targets:
                here, to = self._lead(one)
                if not here:
                    found = found.joined(span)
                    outside = True
                elif to is not None:
                    waiting.append((to, span, way))
            if kept == ALWAYS or (outside and span == ALWAYS):
                return self._note_always(way)
        self._known[address_id] = found
        if found.is_empty:  # nor is anything open that it leads to: a dead chain is gone through once
            self._known.update((one, NEVER) for one, span in seen.items() if span == ALWAYS)
        return found

    def _note_always(self, way: _Way | None) -> Span:
        """Remember it of all on the way to where mail ends, so that a chain is gone through once."""
        while way is not None:
            node_id, way = way
            self._known[node_id] = ALWAYS
        return ALWAYS

    def keeps(self, address_id: int) -> Span:
        """When a user's mailbox gets the mail, whether it takes it or not."""
        return self._state(address_id).keeps

    def open_target(self, source_id: int, where: Address) -> Span:
        """When mail that an address sends on to a target ends somewhere."""
        state = self._state(source_id)
        span = state.passes.within(state.leads)
        if where not in state.targets:
            return NEVER
        here, to = self._lead(where)
        if here:
            span = NEVER if to is None else span.within(self.open(to))
        return span

    def _lead(self, where: Address) -> tuple[bool, int | None]:
        """(is the domain hosted here, the id that mail for the address reaches)."""
        if where not in self._leads:
            here, node = graph.lead(self._reading, where)
            self._leads[where] = here, None if node is None else node.id
        return self._leads[where]

    def _state(self, address_id: int) -> _State:
        if address_id not in self._states:
            self.prepare([address_id])
        return self._states[address_id]

    def _state_of(self, row: Any, targets: tuple[Address, ...]) -> _State:
        if row.receive and row.until is None and not targets:
            return _OPEN
        passes, keeps, leads = _until(row.until), NEVER, ALWAYS
        if row.kind == "user":
            if row.locked_at is not None:
                targets = tuple(one for one in targets if graph.hosted(self._reading, one.domain))
            if not row.receive:
                passes = NEVER
            leads = _until(row.forward_until)
            keeps = ALWAYS if row.keep_copy or not targets else Span(leads.end, EVER)
        return _State(passes, keeps, leads, targets)


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
