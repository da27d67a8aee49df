"""The journal as people read it: who changed what, when and why. Hashes are never shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, or_, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.batches import batches
from postmaster.directory.schema import (
    HASHES,
    account,
    address,
    domain,
    journal,
    journal_row,
    removed_mailbox,
    target,
)
from postmaster.errors import NotFoundError

HIDDEN = "(hidden)"
FEW = 20  # ids that the database looks for itself
LOT = 1000  # rows of the journal that are held in memory
#: Table -> its column with the address that a row belongs to. An account has its address's id.
_OWNER = {"target": "source_id", "app_password": "account_id", "sender_grant": "account_id"}
_OWNER["removed_mailbox"] = "account_id"
#: Table -> what a row of it is called.
KINDS = {
    "domain": "domain",
    "address": "address",
    "account": "account",
    "target": "target",
    "app_password": "app password",
    "sender_grant": "grant",
    "removed_mailbox": "removed mailbox",
}


@dataclass(frozen=True, slots=True)
class RowStates:
    """What an entry did to a row: `before` is None where it was made, `after` where it was taken away."""

    table: str
    row_id: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def state(self) -> dict[str, Any]:
        """What it was, else what it became."""
        return self.before or self.after or {}


@dataclass(frozen=True, slots=True)
class RowChange(RowStates):
    """The same, and what it was done to."""

    object: str  # the address or domain the row belongs to

    @property
    def action(self) -> str:
        if self.before is None:
            return "created"
        return "deleted" if self.after is None else "changed"

    @property
    def values(self) -> dict[str, list[Any]]:
        """Column -> what it was and what it became, for the columns that differ."""
        before, after = self.before or {}, self.after or {}
        hidden = HASHES.get(self.table)
        found = {}
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                pair = [before.get(name), after.get(name)]
                # Without a row there is nothing to hide; one that was forgotten in time is hidden as well.
                states = zip(pair, (self.before, self.after), strict=True)
                found[name] = [HIDDEN if state else None for _, state in states] if name == hidden else pair
        return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry. `undoes`: entries that it undid; `undone_by`: the one that undid it and holds."""

    number: int
    made_at: datetime
    actor: str
    command: str
    reason: str | None
    undoes: tuple[int, ...]
    undone_by: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries; None: any."""

    address: Address | None = None
    domain: Domain | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None


def undone(connection: Connection) -> dict[int, int]:
    """Entry -> the undo that holds, for every entry that is undone now."""
    found: dict[int, int] = {}
    rows = connection.execute(
        select(journal.c.id, journal.c.undoes).where(journal.c.undoes.is_not(None)).order_by(journal.c.id)
    ).all()
    # Backwards: whether an undo holds is known before what it undid is looked at.
    for row in reversed(rows):
        if row.id not in found:
            for number in json.loads(row.undoes):
                found.setdefault(number, row.id)
    return found


def entries(connection: Connection, wanted: Wanted, limit: int = 0) -> Iterator[Entry]:
    """Entries, the latest first; 0: all of them. Raises NotFoundError for a name the history never had."""
    query = select(journal).order_by(journal.c.id.desc())
    if wanted.since is not None:
        query = query.where(journal.c.made_at >= _plain(wanted.since))
    if wanted.until is not None:
        query = query.where(journal.c.made_at < _plain(wanted.until))
    if wanted.actor is not None:
        query = query.where(journal.c.actor == wanted.actor)
    numbers: set[int] | None = None
    if wanted.address is not None:
        numbers = _about(connection, wanted.address.domain, wanted.address.local)
    if wanted.domain is not None:
        there = _about(connection, wanted.domain, None)
        numbers = there if numbers is None else numbers & there
    holding = undone(connection)
    given = 0
    for row in connection.execute(query):
        if numbers is None or row.id in numbers:
            yield _entry(row, holding)
            given += 1
            if given == limit:
                return


def entry(connection: Connection, number: int) -> Entry:
    """One entry. Raises NotFoundError."""
    row = connection.execute(select(journal).where(journal.c.id == number)).one_or_none()
    if row is None:
        raise NotFoundError(f"the history has no entry {number}", hint="postmaster history lists what it has")
    return _entry(row, undone(connection))


def lots(
    connection: Connection,
    number: int,
    *,
    backwards: bool = False,
    only: ColumnElement[bool] | None = None,
) -> Iterator[list[RowStates]]:
    """What an entry did, in its order or from its end, so many rows at a time. The rows have their hashes."""
    place = journal_row.c.position
    query = select(journal_row).where(journal_row.c.entry_id == number).limit(LOT)
    query = query.order_by(place.desc() if backwards else place)
    if only is not None:
        query = query.where(only)
    rows = connection.execute(query).all()
    while rows:
        yield [
            RowStates(row.table_name, row.row_id, *(json.loads(one) if one else None for one in states))
            for row in rows
            for states in [(row.before, row.after)]
        ]
        last = rows[-1].position
        further = query.where(place < last if backwards else place > last)
        rows = connection.execute(further).all() if len(rows) == LOT else []


def changes(connection: Connection, number: int, names: Names | None = None) -> list[RowChange]:
    """What an entry did, in its order. The rows have their hashes: show `values` alone."""
    names = names or Names(connection)
    return [one for rows in lots(connection, number) for one in names.told(rows)]


class Names:
    """What rows are called, though they may be gone; what was asked once is kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._addresses: dict[int, str] = {}
        self._domains: dict[int, str] = {}
        self._expected: list[RowStates] = []

    def expect(self, rows: Sequence[RowStates]) -> None:
        """What these are called is asked for all of them at once, if it is asked for one of them."""
        self._expected = list(rows)

    def told(self, rows: Sequence[RowStates]) -> list[RowChange]:
        self.expect(rows)
        return [RowChange(one.table, one.row_id, one.before, one.after, self.of(one)) for one in rows]

    def of(self, row: RowStates) -> str:
        """The address or domain that a row belongs to, with U-labels."""
        state = row.state
        if row.table == domain.name:
            return Domain(state["name"]).unicode
        if row.table == address.name:
            return self._spelt(state)
        if row.table == removed_mailbox.name:
            local, _, name = state["address"].rpartition("@")
            return Address(Domain(name), LocalPart(local)).unicode
        return self.address(state[_OWNER.get(row.table, "id")])

    def address(self, number: int) -> str:
        if number not in self._addresses:
            numbers = {number}
            numbers.update(
                row.state[_OWNER.get(row.table, "id")]
                for row in self._expected
                if row.table not in (domain.name, address.name, removed_mailbox.name)
            )
            self._expected = []
            numbers -= self._addresses.keys()
            found = self._last(address, numbers)
            for one in numbers:
                self._addresses[one] = self._spelt(found[one]) if one in found else f"#{one}"
        return self._addresses[number]

    def _spelt(self, row: dict[str, Any]) -> str:
        number = row["domain_id"]
        if number not in self._domains:
            found = self._last(domain, [number]).get(number)
            self._domains[number] = "" if found is None else found["name"]
        return Address(Domain(self._domains[number]), LocalPart(row["local_part"])).unicode

    def _last(self, table: Table, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Rows as they are, else as they were when they were taken away."""
        found: dict[int, dict[str, Any]] = {}
        for part in batches(numbers):
            there = self._connection.execute(select(table).where(table.c.id.in_(part))).mappings()
            found.update((row["id"], dict(row)) for row in there)
            gone = [number for number in part if number not in found]
            if not gone:
                continue
            rows = self._connection.execute(
                select(journal_row.c.row_id, journal_row.c.before, journal_row.c.after)
                .where(journal_row.c.table_name == table.name, journal_row.c.row_id.in_(gone))
                .order_by(journal_row.c.entry_id, journal_row.c.position)
            )
            found.update((row.row_id, json.loads(row.after or row.before)) for row in rows)
        return found


def _about(connection: Connection, name: Domain, local: LocalPart | None) -> set[int]:
    """Entries about a domain and all in it, or about one address: under any of the names they ever had.

    Of an address or a domain elsewhere, those about what led there. Raises NotFoundError.
    """
    domain_ids = {
        row_id
        for _, row_id, row in _states(connection, domain.name, [_as_text(name.ascii)])
        if row["name"] == name.ascii
    }
    domain_ids.update(connection.execute(select(domain.c.id).where(domain.c.name == name.ascii)).scalars())
    ids: set[int] = set()
    if local is not None:
        ids.update(
            row_id
            for _, row_id, row in _states(connection, address.name, [_as_text(local.base)])
            if row["local_part"] == local.base and row["domain_id"] in domain_ids
        )
    else:
        ids.update(
            row_id for _, row_id, row in _states(connection, address.name) if row["domain_id"] in domain_ids
        )
    numbers: set[int] = set()
    rows = [(address.name, ids), (account.name, ids), (domain.name, domain_ids if local is None else set())]
    for table_name, wanted in rows:
        for part in batches(wanted):
            query = select(journal_row.c.entry_id).where(
                journal_row.c.table_name == table_name, journal_row.c.row_id.in_(part)
            )
            numbers.update(connection.execute(query.distinct()).scalars())
    for table, column in _OWNER.items() if ids else ():
        few = ids if len(ids) <= FEW else ()
        for entry_id, _, row in _states(connection, table, [f'"{column}": {one}' for one in few]):
            if row[column] in ids:
                numbers.add(entry_id)
    if local is not None or not domain_ids:
        # Also where it was a target of others: who let mail go to an address elsewhere?
        text = name.ascii if local is None else local.base
        for entry_id, _, row in _states(connection, target.name, [_as_text(text)]):
            if row["domain"] == name.ascii and (local is None or row["base"] == local.base):
                numbers.add(entry_id)
    if not (numbers or ids or (domain_ids and local is None)):
        what = name.unicode if local is None else Address(name, local).unicode
        raise NotFoundError(f"the history knows nothing of {what}", hint="postmaster history lists all of it")
    return numbers


def _states(
    connection: Connection, table: str, texts: Sequence[str] = ()
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(entry, id, row) of every state of a table's rows in the journal; only of those with one of the texts
    in them, at least, where there are some.
    """
    query = select(journal_row.c.entry_id, journal_row.c.row_id, journal_row.c.before, journal_row.c.after)
    columns = (journal_row.c.before, journal_row.c.after)
    wanted = [column.contains(text, autoescape=True) for text in texts for column in columns]
    if wanted:
        query = query.where(or_(*wanted))
    for row in connection.execute(query.where(journal_row.c.table_name == table)):
        for state in (row.before, row.after):
            if state:
                yield row.entry_id, row.row_id, json.loads(state)


def _as_text(value: str) -> str:
    """A value as it stands in a row's JSON."""
    return json.dumps(value, ensure_ascii=False)


def _entry(row: Any, holding: dict[int, int]) -> Entry:
    return Entry(
        number=row.id,
        made_at=row.made_at.replace(tzinfo=UTC),
        actor=row.actor,
        command=row.command,
        reason=row.reason,
        undoes=tuple(json.loads(row.undoes)) if row.undoes else (),
        undone_by=holding.get(row.id),
    )


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
