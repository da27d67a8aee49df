"""Taking back what journal entries did, row for row, as an entry that can be taken back itself.

An entry is undone only where nothing that it wrote was changed since: each value it set is still there,
each row it made is as it was, each it took away has not been made again. Else the later entry is named and
nothing happens. The rules of the directory hold afterwards as after any change.

Nothing that let somebody in comes back to life by itself: a replaced password stays replaced, an account
that was locked stays locked, a revoked app password stays revoked, and a user who was removed comes back
without a password. `restore_passwords` brings them back, as long as the journal has their hashes.

An entry is read and undone in lots of rows, so that of an import memory holds one of them, and of all only
what the rules are asked about: which addresses were touched.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, or_, select
from sqlalchemy.exc import IntegrityError

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph, history, users
from postmaster.directory.batches import batches
from postmaster.directory.database import Change
from postmaster.directory.domains import named
from postmaster.directory.history import KINDS, Entry, Names, RowChange, RowStates
from postmaster.directory.planned import Planned
from postmaster.directory.records import User
from postmaster.directory.schema import (
    HASHES,
    JOURNALLED,
    account,
    address,
    domain,
    journal,
    journal_row,
    removed_mailbox,
    target,
)
from postmaster.errors import ConflictError, NotFoundError, RuleError
from postmaster.shell import word

_DATES = {
    name: {c.name for c in t.c if c.type.python_type.__name__ == "datetime"} for name, t in JOURNALLED.items()
}
RESTORE = "--restore-password brings it back"
FEW = 3  # notes that one error tells


@dataclass(frozen=True, slots=True)
class Undone:
    """Entries that were undone, the latest first; what was done to which object; what was left as it is.

    `changes` are the first of as many as `count` says. `back` and `gone` are the mail folders of users who
    are there again, and of those who are not any more.
    """

    entries: tuple[Entry, ...]
    changes: tuple[RowChange, ...]
    count: int
    notes: tuple[str, ...]
    back: tuple[str, ...]
    gone: tuple[str, ...]


def latest(connection: Connection) -> Entry:
    """The last entry that holds and is no undo itself. Raises NotFoundError."""
    holding = history.undone(connection)
    rows = connection.execute(
        select(journal.c.id).where(journal.c.undoes.is_(None)).order_by(journal.c.id.desc())
    ).scalars()
    for number in rows:
        if number not in holding:
            return history.entry(connection, number)
    raise NotFoundError("there is nothing to undo", hint="postmaster history lists what was done")


def size(connection: Connection, numbers: Sequence[int] = ()) -> int:
    """How many rows entries wrote, without numbers the one that `undo` would take. Raises NotFoundError."""
    wanted = set(numbers) or {latest(connection).number}
    query = select(func.count()).select_from(journal_row)
    return sum(
        connection.execute(query.where(journal_row.c.entry_id.in_(part))).scalar_one()
        for part in batches(wanted)
    )


def undo(
    change: Change,
    numbers: Sequence[int] = (),
    *,
    restore_passwords: bool = False,
    most: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    tell: Callable[[int], None] = lambda _: None,
) -> Undone:
    """Take back entries, the latest first; without numbers the last one.

    At most `most` changes are told, None: all of them. `tell` learns how many rows of the entries are done.
    Raises NotFoundError; ConflictError that names what was changed since, or that it is undone already;
    RuleError where the directory would break a rule, or nothing but a credential is left to undo.
    """
    connection = change.connection
    wanted = [history.entry(connection, number) for number in numbers] or [latest(connection)]
    wanted = sorted(dict.fromkeys(wanted), key=lambda one: -one.number)
    for one in wanted:
        if one.undone_by is not None:
            raise ConflictError(
                f"entry {one.number} is undone already, by entry {one.undone_by}",
                hint=f"to have it again: postmaster undo {one.undone_by}",
            )
    change.undoes = json.dumps([one.number for one in wanted])
    run = _Undo(change, restore_passwords, most, tell)
    for one in wanted:
        progress(f"taking back entry {one.number}")
        run.entry(one)
    progress("holding what was touched to the rules")
    run.check()
    if change.is_empty:
        notes = list(run.notes)
        more = f"; and {len(notes) - FEW} more of the kind" if len(notes) > FEW else ""
        raise RuleError("; ".join(notes[:FEW]) + more or "there is nothing to undo", hint=run.hint)
    return Undone(
        tuple(wanted), tuple(run.done), run.count, tuple(run.notes), tuple(run.back), tuple(run.gone)
    )


@dataclass(frozen=True, slots=True)
class RestoredUser:
    """A user who is there again, and what did not come back."""

    user: User
    notes: tuple[str, ...]


def restore_user(change: Change, account_id: int, *, restore_passwords: bool = False) -> RestoredUser:
    """Bring a removed user back as the journal has it: forward and grants too, and the places in aliases
    and forwards of others, where these are still there.

    Raises NotFoundError where the journal has no such removal, ConflictError.
    """
    connection = change.connection
    number = connection.execute(
        select(func.max(journal_row.c.entry_id)).where(
            journal_row.c.table_name == account.name,
            journal_row.c.row_id == account_id,
            journal_row.c.after.is_(None),
        )
    ).scalar()
    if number is None or connection.execute(select(account.c.id).where(account.c.id == account_id)).scalar():
        raise NotFoundError("there is no such removed user", hint="postmaster user trash list shows who is")
    run = _Undo(change, restore_passwords)
    where = run.user(history.entry(connection, number), account_id)
    run.check()
    return RestoredUser(users.show(connection, where), tuple(run.notes))


Rows = defaultdict[str, list[dict[str, Any]]]  # by the names of their tables


@dataclass(slots=True)
class _Step:
    """What taking back some rows of an entry writes, and what there is to say of it.

    `left` are rows, yet without ids, for the mail of users who go; `forgotten` are those of users who come.
    """

    gone: Rows = field(default_factory=lambda: defaultdict(list))
    changed: defaultdict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    made: Rows = field(default_factory=lambda: defaultdict(list))
    left: list[dict[str, Any]] = field(default_factory=list)
    forgotten: set[int] = field(default_factory=set)
    done: list[RowStates] = field(default_factory=list)
    notes: dict[str, str | None] = field(default_factory=dict)  # text -> hint

    @property
    def writes(self) -> bool:
        return any((*self.gone.values(), *self.changed.values(), *self.made.values(), self.left))

    def turn(self, row: RowStates) -> None:
        """Note that a row is as it was before."""
        self.done.append(RowStates(row.table, row.row_id, row.after, row.before))

    def say(self, text: str, hint: str | None = RESTORE) -> None:
        self.notes[text] = hint


class _Undo:
    """Takes rows of the journal back, many at a time.

    What a few hundred rows have to become is worked out from their present state, then written table by
    table: what goes before what comes, and what others lean on first to come and last to go. Where that
    order is not possible, and only the entry's own from its end is, these rows are taken back one by one.
    """

    def __init__(
        self,
        change: Change,
        restore_passwords: bool,
        most: int | None = None,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._change = change
        self._connection = change.connection
        self._restores = restore_passwords
        self._most = most
        self._tell = tell
        self._names = Names(change.connection)
        self._rows = 0
        self._forgotten: set[int] = set()  # rows of removed_mailbox that went with their users' return
        self._touched: set[int] = set()  # ids of addresses
        self._left: defaultdict[int, set[str]] = defaultdict(set)  # domain's id -> local parts not used now
        self._domains: set[str] = set()
        self.notes: dict[str, None] = {}
        self.done: list[RowChange] = []
        self.count = 0
        self.back: list[str] = []
        self.gone: list[str] = []
        self.hint: str | None = None

    def entry(self, entry: Entry) -> None:
        of_entry = select(journal_row.c.position).where(journal_row.c.entry_id == entry.number).limit(1)
        if self._connection.execute(of_entry).first() is None:
            raise RuleError(
                f"entry {entry.number} put a copy of the directory in force and cannot be undone",
                hint="restore what was kept of the state before, in the folder backups of state.directory",
            )
        no_purge = or_(journal_row.c.table_name != removed_mailbox.name, journal_row.c.after.is_not(None))
        if self._connection.execute(of_entry.where(no_purge)).first() is None:
            raise RuleError(
                f"entry {entry.number} deleted mail for good, and nothing brings it back",
                hint="restore it from a backup",
            )
        for rows in history.lots(self._connection, entry.number, backwards=True):
            self._names.expect(rows)
            for part in _each_once(rows):
                self._take_back(entry, part)
            self._rows += len(rows)
            self._tell(self._rows)

    def user(self, entry: Entry, account_id: int) -> Address:
        """Undo what an entry did to one user, and to the targets of others that named the user."""
        own = {address.name: "id", account.name: "id", target.name: "source_id"}
        own |= dict.fromkeys(("app_password", "sender_grant", removed_mailbox.name), "account_id")
        named = [f'"{column}": {account_id}' for column in sorted(set(own.values()))]
        for rows in history.lots(self._connection, entry.number, backwards=True, only=_having(named)):
            mine = [row for row in rows if row.table in own and row.state.get(own[row.table]) == account_id]
            for part in _each_once(mine):
                self._take_back(entry, part)
        node = self._node(account_id)
        assert node is not None
        only = (
            (journal_row.c.table_name == target.name)
            & journal_row.c.after.is_(None)
            & _having([f'"base": {json.dumps(node.address.local.base, ensure_ascii=False)}'])
        )
        for rows in history.lots(self._connection, entry.number, only=only):
            self._names.expect(rows)
            for row in rows:
                assert row.before is not None
                to = Address(Domain(row.before["domain"]), LocalPart(row.before["local_part"]))
                _, there = graph.lead(self._connection, to)
                if row.before["source_id"] != account_id and there is not None and there.id == account_id:
                    self._name_again(row)
        return node.address

    def _name_again(self, row: RowStates) -> None:
        """Put a target back in its place, or at the end where another has that, if the alias or forward is
        there and does not have it."""
        assert row.before is not None
        there = self._connection.execute(
            select(target.c.position, target.c.local_part, target.c.domain).where(
                target.c.source_id == row.before["source_id"]
            )
        ).all()
        same = [(one.local_part, one.domain) for one in there]
        if not there or (row.before["local_part"], row.before["domain"]) in same:
            if not there:
                self._say(f"{self._names.of(row)} leads elsewhere or nowhere now, and stays so", None)
            return
        values, taken = _typed(target, row.before), {one.position for one in there}
        if values["position"] in taken:
            values["position"] = 1 + max(taken)
        self._change.restore(target, values)
        self._touched.add(values["source_id"])

    def _take_back(self, entry: Entry, rows: list[RowStates]) -> None:
        """Take back rows of an entry, the last first, each of them once."""
        step = self._step(entry, rows)
        more = len(step.done) if self._most is None else self._most - len(self.done)
        told = self._names.told(step.done[:more]) if more > 0 else []
        if step.writes:
            try:
                with self._change.attempt():
                    self._write(step)
            except IntegrityError as error:
                if len(rows) == 1:
                    raise self._conflict(entry, rows[0], "something else stands in the way") from error
                for row in rows:
                    self._take_back(entry, [row])
                return
        for text, hint in step.notes.items():
            self._say(text, hint)
        self._forgotten |= step.forgotten
        self.done += told
        self.count += len(step.done)
        for row in step.done:
            self._note(row)

    def _note(self, row: RowStates) -> None:
        """Remember what is to be held to the rules, and whose mail has to follow."""
        states = [state for state in (row.before, row.after) if state]
        if row.table == target.name:
            self._touched.update(state["source_id"] for state in states)
        elif row.table in (address.name, account.name):
            self._touched.add(row.row_id)
        elif row.table == domain.name:
            self._domains.update(state["name"] for state in states)
        if row.table == address.name and row.before is not None:
            self._left[row.before["domain_id"]].add(row.before["local_part"])
        if row.table == account.name and row.before is None:
            self.back.append(states[0]["mail_id"])
        if row.table == account.name and row.after is None:
            self.gone.append(states[0]["mail_id"])

    def _step(self, entry: Entry, rows: list[RowStates]) -> _Step:
        """What has to be written to take these back. Raises ConflictError."""
        ids: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            ids[row.table].append(row.row_id)
        present = {name: self._change.rows(JOURNALLED[name], numbers) for name, numbers in ids.items()}
        step = _Step()
        for row in rows:
            there = present[row.table].get(row.row_id)
            if row.before is None:
                self._unmake(step, entry, row, there)
            elif row.after is None:
                self._make_again(step, entry, row, there)
            else:
                self._set_back(step, entry, row, there)
        self._follow_with_mail(step)
        return step

    def _write(self, step: _Step) -> None:
        for name in reversed(JOURNALLED):
            if step.gone[name]:
                self._change.delete_many(JOURNALLED[name], step.gone[name])
        for name, table in JOURNALLED.items():
            if step.changed[name]:
                self._change.update_many(table, step.changed[name])
        for name, table in JOURNALLED.items():
            self._change.insert_many(table, step.made[name])
        self._change.insert_many(removed_mailbox, step.left)

    def _unmake(self, step: _Step, entry: Entry, row: RowStates, present: dict[str, Any] | None) -> None:
        if present is None:
            if row.table == "app_password" or row.table == removed_mailbox.name:
                if row.row_id not in self._forgotten:
                    step.say(f"the {KINDS[row.table]} of {self._names.of(row)} is gone already", None)
                return
            raise self._conflict(entry, row, "is gone")
        if row.table != removed_mailbox.name:
            self._compare(entry, row, present, set(present) - _credentials(row))
        step.gone[row.table].append(present)
        step.turn(row)

    def _make_again(self, step: _Step, entry: Entry, row: RowStates, present: dict[str, Any] | None) -> None:
        if present is not None:
            raise self._conflict(entry, row, "was made again")
        assert row.before is not None
        values = _typed(JOURNALLED[row.table], row.before)
        secret = HASHES.get(row.table)
        if secret is not None and not (self._restores and values[secret]):
            whose = self._names.of(row)
            if row.table == "app_password":
                step.say(f"the app password {values['name']} of {whose} stays revoked")
                return
            if values[secret] != "":
                step.say(f"{whose} has no password now; postmaster user password {word(whose)} gives one")
            values[secret] = ""
        step.made[row.table].append(values)
        step.turn(row)

    def _set_back(self, step: _Step, entry: Entry, row: RowStates, present: dict[str, Any] | None) -> None:
        if present is None:
            raise self._conflict(entry, row, "was taken away")
        assert row.before is not None
        assert row.after is not None
        changed = {name for name in row.before if row.before[name] != row.after.get(name)}
        typed = _typed(JOURNALLED[row.table], row.before)
        back = {name: value for name, value in typed.items() if name in changed}
        secret = HASHES.get(row.table)
        if secret in back and not (self._restores and back[secret]):
            del back[secret]
            step.say(f"the password of {self._names.of(row)} stays as it is")
        if "locked_at" in back and back["locked_at"] is None and not self._restores:
            del back["locked_at"]
            whose = self._names.of(row)
            step.say(f"{whose} stays locked", f"postmaster user unlock {word(whose)}")
        self._compare(entry, row, present, set(back) - (set() if self._restores else _credentials(row)))
        if any(present[name] != value for name, value in back.items()):
            step.changed[row.table].append((present, back))
        if back:
            step.turn(row)

    def _compare(self, entry: Entry, row: RowStates, present: dict[str, Any], columns: set[Any]) -> None:
        """Refuse where a value that the entry set is not there any more. A purged hash counts as equal."""
        assert row.after is not None
        secret = HASHES.get(row.table)
        for name in columns & present.keys() & row.after.keys():
            now = present[name]
            if name in _DATES[row.table] and now is not None:
                now = now.isoformat()
            forgotten = name == secret and row.after[name] in (None, False)
            if now != row.after[name] and not forgotten:
                raise self._conflict(entry, row, "was changed")

    def _follow_with_mail(self, step: _Step) -> None:
        """Whose account goes has left mail behind, which belongs in the trash as with a removal.

        Of whom comes back nothing is in the trash any more: it is a user's again, or has its own row.
        """
        going = {row["mail_id"]: row for row in step.gone[account.name]}
        coming = {row["mail_id"] for name in (account.name, removed_mailbox.name) for row in step.made[name]}
        there = [
            dict(row)
            for part in batches(going.keys() | coming)
            for row in self._connection.execute(
                select(removed_mailbox).where(removed_mailbox.c.mail_id.in_(part))
            ).mappings()
        ]
        gone = {row["id"] for row in step.gone[removed_mailbox.name]}
        for row in there:
            if row["mail_id"] in coming and row["id"] not in gone:
                step.gone[removed_mailbox.name].append(row)
                step.forgotten.add(row["id"])
        gone |= step.forgotten
        kept = {row["mail_id"] for row in (*step.made[removed_mailbox.name], *there) if row["id"] not in gone}
        leaving = {row["id"]: mail_id for mail_id, row in going.items() if mail_id not in kept}
        nodes = self._nodes(leaving)
        for account_id, mail_id in leaving.items():
            where = nodes[account_id].address.ascii if account_id in nodes else f"#{account_id}"
            row = {"account_id": account_id, "mail_id": mail_id, "mail": "trash"}
            step.left.append({**row, "address": where, "removed_at": self._change.now})

    def _say(self, text: str, hint: str | None = RESTORE) -> None:
        self.notes[text] = None
        self.hint = hint or self.hint

    def _conflict(self, entry: Entry, row: RowStates, what: str) -> ConflictError:
        later = self._connection.execute(
            select(func.max(journal_row.c.entry_id)).where(
                journal_row.c.table_name == row.table,
                journal_row.c.row_id == row.row_id,
                journal_row.c.entry_id > entry.number,
            )
        ).scalar()
        whose = self._names.of(row)
        thing = f"{KINDS[row.table]} of {whose}" if row.table not in ("domain", "address") else whose
        by, hint = "", f"postmaster history {word(whose)} shows what was done"
        if later is not None:
            since = history.entry(self._connection, later)
            by = f" since, by entry {later} ({since.command})"
            hint = f"undo that one too: postmaster undo {later} {entry.number}"
        return ConflictError(f"entry {entry.number} cannot be undone: {thing} {what}{by}", hint=hint)

    def check(self) -> None:
        """Hold what was touched to the rules of the directory. Raises ConflictError."""
        ways = Planned(self._connection)
        checks = graph.Checks(ways)
        self._check_sources(ways, checks, sorted(self._touched))
        for domain_id, local_parts in self._left.items():
            name = self._connection.execute(select(domain.c.name).where(domain.c.id == domain_id)).scalar()
            if name is not None:
                if "" in local_parts:
                    self._domains.add(name)
                self._check_stranded(ways, Domain(name), local_parts - {""})
        for name in sorted(self._domains):
            # A domain or catch-all that came or went changes what is behind the targets that name the domain.
            query = select(target.c.source_id).where(target.c.domain == name).distinct()
            self._check_sources(ways, checks, self._connection.execute(query).scalars().all())

    def _check_sources(self, ways: Planned, checks: graph.Checks, numbers: Iterable[int]) -> None:
        for part in batches(numbers):
            nodes = self._nodes(part)
            ways.look_ahead(nodes)
            for number, node in nodes.items():
                targets = ways.targets_of(number)
                if node.kind == "alias" and not targets:
                    raise ConflictError(
                        f"{node.address} would lead nowhere", hint="postmaster history shows why"
                    )
                try:
                    checks.check(node, targets)
                except RuleError as error:
                    raise ConflictError(
                        f"it cannot be undone any more: {error.message}", hint=error.hint
                    ) from error

    def _check_stranded(self, ways: Planned, name: Domain, local_parts: Iterable[str]) -> None:
        """Nothing may lead to an address that is not there any more, unless something else answers there."""
        if ways.node(Address(name, LocalPart(""))) is not None:
            return
        for part in batches(sorted(local_parts)):
            wheres = [Address(name, LocalPart(local)).without_extension for local in part]
            there = graph.find_many(self._connection, wheres)
            lost = [where for where in wheres if where not in there]
            for where, leading in graph.sources_of_many(self._connection, name, lost).items():
                node = ways.node(leading[0])
                noun = "forward" if node is not None and node.kind == "user" else "alias"
                raise ConflictError(
                    f"it cannot be undone any more: {named(sorted({one.unicode for one in leading}))} would"
                    f" lead to {where}, which would not exist",
                    hint=f"give it another target first: postmaster {noun} set {word(leading[0])} ADDRESS",
                )

    def _node(self, number: int) -> graph.Node | None:
        return self._nodes([number]).get(number)

    def _nodes(self, numbers: Iterable[int]) -> dict[int, graph.Node]:
        """The users and aliases with these ids, in the order of their ids."""
        return {
            row.id: graph.Node(row.id, row.kind, Address(Domain(row.name), LocalPart(row.local_part)))
            for part in batches(numbers)
            for row in self._connection.execute(
                select(address.c.id, address.c.kind, address.c.local_part, domain.c.name)
                .join_from(address, domain, domain.c.id == address.c.domain_id)
                .where(address.c.id.in_(part))
                .order_by(address.c.id)
            )
        }


def _each_once(rows: Iterable[RowStates]) -> Iterator[list[RowStates]]:
    """The rows in their order, parted where one would come a second time."""
    part: dict[tuple[str, int], RowStates] = {}
    for row in rows:
        if (row.table, row.row_id) in part:
            yield list(part.values())
            part = {}
        part[row.table, row.row_id] = row
    if part:
        yield list(part.values())


def _having(texts: Iterable[str]) -> ColumnElement[bool]:
    """Of rows of the journal those with one of these texts in one of their states."""
    states = (journal_row.c.before, journal_row.c.after)
    return or_(*(state.contains(text, autoescape=True) for text in texts for state in states))


def _credentials(row: RowStates) -> set[str]:
    """Columns that an undo may have left as they were, so that a later value of them is no obstacle."""
    return {HASHES[row.table], "locked_at"} if row.table in HASHES else set()


def _typed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A journalled row as the table takes it; a column that is newer than the entry has nothing."""
    from datetime import datetime

    values: dict[str, Any] = {}
    for column in table.c:
        value = row.get(column.name)
        if value is not None and column.name in _DATES[table.name]:
            value = datetime.fromisoformat(value)
        values[column.name] = value
    return values
