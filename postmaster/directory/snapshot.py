"""The whole directory in memory: one moment of it, read in one pass over each table.

Numbers instead of objects, as there may be a million users: an address is its id, an edge leads to an id,
to OUTSIDE or to NOWHERE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.schema import account, address, domain, journal, removed_mailbox, target

OUTSIDE, NOWHERE = -1, -2


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A user. `takes` is whether mail gets in now, `keeps` whether it stays, `leads` whether it goes on."""

    mail_id: str
    password: str
    created_at: datetime
    takes: bool
    keeps: bool
    leads: bool
    is_locked: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """A target: which row it is, what it says, and where it leads."""

    row_id: int
    local: str
    domain: str
    to: int


@dataclass(slots=True)
class Snapshot:
    domains: dict[int, tuple[str, int | None]]  # id -> (name, id of the domain it stands for)
    addresses: dict[int, tuple[int, str, str]]  # id -> (domain's id, local part, kind)
    ended: set[int]  # addresses whose date is past
    mailboxes: dict[int, Mailbox]
    edges: dict[int, list[Edge]]
    ids: dict[int, dict[str, int]]  # domain's id -> local part -> address's id
    by_name: dict[str, int]  # name -> domain's id
    open: set[int] = field(default_factory=set)  # addresses whose mail ends somewhere now
    removed: dict[str, str] = field(default_factory=dict)  # folder of a removed user -> trash, keep, delete
    newest: tuple[int, str] = (0, "")  # the journal's last entry, and when it was made

    def text(self, address_id: int) -> str:
        domain_id, local, _ = self.addresses[address_id]
        return f"{local}@{self.domains[domain_id][0]}"

    def shown(self, address_id: int) -> str:
        """The address for people."""
        domain_id, local, _ = self.addresses[address_id]
        return Address(Domain(self.domains[domain_id][0]), LocalPart(local)).unicode

    def homes(self) -> Iterator[tuple[int, str]]:
        """(id, name) of hosted domains that are no alias domains, by name."""
        found = [(name, domain_id) for domain_id, (name, home) in self.domains.items() if home is None]
        yield from ((domain_id, name) for name, domain_id in sorted(found))

    def twins(self) -> Iterator[tuple[str, int]]:
        """(name, id of the hosted domain) of alias domains, by name."""
        yield from sorted((name, home) for name, home in self.domains.values() if home is not None)

    def lead(self, base: str, name: str) -> int:
        """Where mail for a local part without extension in a domain goes: an id, OUTSIDE or NOWHERE."""
        domain_id = self.by_name.get(name)
        if domain_id is None:
            return OUTSIDE
        home = self.domains[domain_id][1]
        own = self.ids.get(domain_id if home is None else home, {})
        found = own.get(base)
        if found is None and home is None:
            found = own.get("")
        return NOWHERE if found is None else found

    def goes_on(self, address_id: int) -> Iterable[Edge]:
        """The targets that mail for an address goes on to now."""
        if address_id in self.ended:
            return ()
        mailbox = self.mailboxes.get(address_id)
        if mailbox is not None and not (mailbox.takes and mailbox.leads):
            return ()
        edges = self.edges.get(address_id, ())
        if mailbox is not None and mailbox.is_locked:
            return [edge for edge in edges if edge.to != OUTSIDE]
        return edges

    def reached(self, address_id: int) -> set[str]:
        """The mailboxes and addresses elsewhere that mail for an address ends in."""
        found: set[str] = set()
        waiting, seen = [address_id], {address_id}
        while waiting:
            one = waiting.pop()
            mailbox = self.mailboxes.get(one)
            if mailbox is not None and mailbox.takes and mailbox.keeps and one not in self.ended:
                found.add(self.text(one))
            for edge in self.goes_on(one):
                if edge.to == OUTSIDE:
                    found.add(f"{edge.local}@{edge.domain}")
                elif edge.to != NOWHERE and edge.to not in seen:
                    seen.add(edge.to)
                    waiting.append(edge.to)
        return found


def take(reading: Connection) -> Snapshot:
    """Read everything."""
    now = datetime.now(UTC).replace(tzinfo=None)
    domains = {
        row.id: (row.name, row.alias_of_id)
        for row in reading.execute(select(domain.c.id, domain.c.name, domain.c.alias_of_id))
    }
    found = Snapshot(domains, {}, set(), {}, defaultdict(list), defaultdict(dict), {})
    found.by_name = {name: domain_id for domain_id, (name, _) in domains.items()}
    columns = (address.c.id, address.c.domain_id, address.c.local_part, address.c.kind, address.c.until)
    for row_id, domain_id, local, kind, until in reading.execute(select(*columns)):
        found.addresses[row_id] = (domain_id, local, kind)
        found.ids[domain_id][local] = row_id
        if until is not None and until <= now:
            found.ended.add(row_id)
    rows = reading.execute(
        select(target.c.id, target.c.source_id, target.c.local_part, target.c.base, target.c.domain).order_by(
            target.c.source_id, target.c.position
        )
    )
    for row_id, source_id, local, base, name in rows:
        found.edges[source_id].append(Edge(row_id, local, name, found.lead(base, name)))
    wanted = ("id", "mail_id", "password", "receive", "keep_copy", "forward_until", "locked_at")
    made = address.c.created_at
    query = select(*(account.c[name] for name in wanted), made).join(address, address.c.id == account.c.id)
    for row in reading.execute(query):
        leads = row.forward_until is None or row.forward_until > now
        edges = found.edges.get(row.id, ())
        is_locked = row.locked_at is not None
        # What a locked user forwards out of the house stays here instead, where it goes nowhere else.
        goes = leads and any(not is_locked or edge.to != OUTSIDE for edge in edges)
        found.mailboxes[row.id] = Mailbox(
            row.mail_id,
            row.password,
            row.created_at,
            takes=bool(row.receive) and row.id not in found.ended,
            keeps=bool(row.keep_copy) or not goes,
            leads=leads,
            is_locked=is_locked,
        )
    for mail_id, mail in reading.execute(select(removed_mailbox.c.mail_id, removed_mailbox.c.mail)):
        found.removed[mail_id] = mail
    last = select(journal.c.id, journal.c.made_at).order_by(journal.c.id.desc()).limit(1)
    for entry, made_at in reading.execute(last):
        found.newest = (entry, made_at.isoformat())
    found.open = _open(found)
    return found


def _open(snapshot: Snapshot) -> set[int]:
    """Addresses whose mail ends in a mailbox or leaves, by going back from where it ends."""
    before: dict[int, list[int]] = defaultdict(list)
    ends: list[int] = []
    for one in snapshot.addresses:
        mailbox = snapshot.mailboxes.get(one)
        if mailbox is not None and mailbox.takes and mailbox.keeps:
            ends.append(one)
        for edge in snapshot.goes_on(one):
            if edge.to == OUTSIDE:
                ends.append(one)
            elif edge.to != NOWHERE:
                before[edge.to].append(one)
    found = set(ends)
    while ends:
        for one in before[ends.pop()]:
            if one not in found:
                found.add(one)
                ends.append(one)
    return found
