"""Taking back what journal entries did, row by row, as an entry that can be taken back itself.

An entry is undone only where nothing that it wrote was changed since: each value it set is still there,
each row it made is as it was, each it took away has not been made again. Else the later entry is named and
nothing happens. The rules of the directory hold afterwards as after any change.

Nothing that let somebody in comes back to life by itself: a replaced password stays replaced, an account
that was locked stays locked, a revoked app password stays revoked, and a user who was removed comes back
without a password. `restore_passwords` brings them back, as long as the journal has their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.exc import IntegrityError

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph, history, users
from postmaster.directory.database import Change, as_json
from postmaster.directory.domains import named
from postmaster.directory.history import KINDS, Entry, Names, RowChange
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


@dataclass(frozen=True, slots=True)
class Undone:
    """Entries that were undone, the latest first; what was done to which object; what was left as it is."""

    entries: tuple[Entry, ...]
    changes: tuple[RowChange, ...]
    notes: tuple[str, ...]


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


def undo(
    change: Change,
    numbers: Sequence[int] = (),
    *,
    restore_passwords: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Undone:
    """Take back entries, the latest first; without numbers the last one.

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
    run = _Undo(change, restore_passwords)
    for one in wanted:
        progress(f"taking back entry {one.number}")
        run.entry(one)
    progress("holding what was touched to the rules")
    run.check()
    if change.is_empty:
        raise RuleError("; ".join(run.notes) or "there is nothing to undo", hint=run.hint)
    return Undone(tuple(wanted), tuple(run.done), tuple(run.notes))


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
    run.user(history.entry(connection, number), account_id)
    run.check()
    where = run.address_of(account_id)
    return RestoredUser(users.show(connection, where), tuple(run.notes))


class _Undo:
    def __init__(self, change: Change, restore_passwords: bool) -> None:
        self._change = change
        self._connection = change.connection
        self._restores = restore_passwords
        self._names = Names(change.connection)
        self.notes: list[str] = []
        self.done: list[RowChange] = []
        self.hint: str | None = None

    def entry(self, entry: Entry) -> None:
        rows = history.changes(self._connection, entry.number, self._names)
        if not rows:
            raise RuleError(
                f"entry {entry.number} put a copy of the directory in force and cannot be undone",
                hint="restore what was kept of the state before, in the folder backups of state.directory",
            )
        if all(row.table == removed_mailbox.name and row.after is None for row in rows):
            raise RuleError(
                f"entry {entry.number} deleted mail for good, and nothing brings it back",
                hint="restore it from a backup",
            )
        for row in reversed(rows):
            self._try(entry, row)

    def _try(self, entry: Entry, row: RowChange) -> None:
        try:
            # What fails takes the whole transaction along in PostgreSQL, and the conflict asks on.
            with self._connection.begin_nested():
                self._row(entry, row)
        except IntegrityError as error:
            raise self._conflict(entry, row, "something else stands in the way") from error

    def user(self, entry: Entry, account_id: int) -> None:
        """Undo what an entry did to one user, and to the targets of others that named the user."""
        rows = history.changes(self._connection, entry.number, self._names)
        own = {address.name: "id", account.name: "id", target.name: "source_id"}
        own |= dict.fromkeys(("app_password", "sender_grant", removed_mailbox.name), "account_id")
        mine = [
            row
            for row in rows
            if row.table in own and (row.before or row.after or {}).get(own[row.table]) == account_id
        ]
        for row in reversed(mine):
            self._try(entry, row)
        where = self.address_of(account_id)
        for row in rows:
            if row.table == target.name and row not in mine and row.after is None and row.before:
                named = Address(Domain(row.before["domain"]), LocalPart(row.before["local_part"]))
                _, node = graph.lead(self._connection, named)
                if node is not None and node.address == where:
                    self._name_again(row)

    def _name_again(self, row: RowChange) -> None:
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
                self._say(f"{row.object} leads elsewhere or nowhere now, and stays so", None)
            return
        values, taken = _typed(target, row.before), {one.position for one in there}
        if values["position"] in taken:
            values["position"] = 1 + max(taken)
        self._change.restore(target, values)
        self._note(RowChange(row.table, row.row_id, row.object, json.loads(as_json(values) or "{}"), None))

    def address_of(self, number: int) -> Address:
        node = self._node(number)
        assert node is not None
        return node.address

    def _row(self, entry: Entry, row: RowChange) -> None:
        table = JOURNALLED[row.table]
        present = self._change.row(table, row.row_id)
        if row.before is None:
            self._unmake(entry, row, table, present)
        elif row.after is None:
            self._make_again(entry, row, table, present)
        else:
            self._set_back(entry, row, table, present)

    def _unmake(self, entry: Entry, row: RowChange, table: Table, present: dict[str, Any] | None) -> None:
        if present is None:
            if row.table in ("app_password", "removed_mailbox"):
                self._say(f"the {KINDS[row.table]} of {row.object} is gone already", None)
                return
            raise self._conflict(entry, row, "is gone")
        if row.table != removed_mailbox.name:
            self._compare(entry, row, present, set(present) - _credentials(row))
        if row.table == account.name:
            self._keep_mail(present, row.object)
        self._change.delete(table, row.row_id)
        self._note(row)

    def _make_again(self, entry: Entry, row: RowChange, table: Table, present: dict[str, Any] | None) -> None:
        if present is not None:
            raise self._conflict(entry, row, "was made again")
        assert row.before is not None
        values = _typed(table, row.before)
        secret = HASHES.get(row.table)
        if secret is not None and not (self._restores and values[secret]):
            if row.table == "app_password":
                self._say(f"the app password {values['name']} of {row.object} stays revoked")
                return
            if values[secret] != "":
                self._say(
                    f"{row.object} has no password now; postmaster user password {word(row.object)} gives one"
                )
            values[secret] = ""
        if row.table in (account.name, removed_mailbox.name):
            self._forget_removal(values["mail_id"])  # it is a user's again, or has this row of its own
        self._change.restore(table, values)
        self._note(row)

    def _set_back(self, entry: Entry, row: RowChange, table: Table, present: dict[str, Any] | None) -> None:
        if present is None:
            raise self._conflict(entry, row, "was taken away")
        assert row.before is not None
        assert row.after is not None
        changed = {name for name in row.before if row.before[name] != row.after.get(name)}
        back = {name: value for name, value in _typed(table, row.before).items() if name in changed}
        secret = HASHES.get(row.table)
        if secret in back and not (self._restores and back[secret]):
            del back[secret]
            self._say(f"the password of {row.object} stays as it is")
        if "locked_at" in back and back["locked_at"] is None and not self._restores:
            del back["locked_at"]
            self._say(f"{row.object} stays locked", f"postmaster user unlock {word(row.object)}")
        self._compare(entry, row, present, set(back) - (set() if self._restores else _credentials(row)))
        if back:
            self._change.update(table, row.row_id, back)
            self._note(row)

    def _compare(self, entry: Entry, row: RowChange, present: dict[str, Any], columns: set[Any]) -> None:
        """Refuse where a value that the entry set is not there any more. A purged hash counts as equal."""
        assert row.after is not None
        now = json.loads(as_json(present) or "{}")
        for name in sorted(columns & now.keys() & row.after.keys()):
            forgotten = name == HASHES.get(row.table) and row.after[name] in (None, False)
            if now[name] != row.after[name] and not forgotten:
                raise self._conflict(entry, row, "was changed")

    def _keep_mail(self, gone: dict[str, Any], where: str) -> None:
        """Whose account goes has left mail behind: it belongs in the trash, as with a removal."""
        present = self._connection.execute(
            select(removed_mailbox.c.id).where(removed_mailbox.c.mail_id == gone["mail_id"])
        ).scalar()
        if present is None:
            node = self._node(gone["id"])
            row = {"account_id": gone["id"], "mail_id": gone["mail_id"], "mail": "trash"}
            spelt = node.address.ascii if node is not None else where
            self._change.insert(removed_mailbox, {**row, "address": spelt, "removed_at": self._change.now})

    def _forget_removal(self, mail_id: str) -> None:
        row_id = self._connection.execute(
            select(removed_mailbox.c.id).where(removed_mailbox.c.mail_id == mail_id)
        ).scalar()
        if row_id is not None:
            self._change.delete(removed_mailbox, row_id)

    def _note(self, row: RowChange) -> None:
        self.done.append(RowChange(row.table, row.row_id, row.object, row.after, row.before))

    def _say(self, text: str, hint: str | None = RESTORE) -> None:
        if text not in self.notes:
            self.notes.append(text)
        self.hint = hint or self.hint

    def _conflict(self, entry: Entry, row: RowChange, what: str) -> ConflictError:
        later = self._connection.execute(
            select(func.max(journal_row.c.entry_id)).where(
                journal_row.c.table_name == row.table,
                journal_row.c.row_id == row.row_id,
                journal_row.c.entry_id > entry.number,
            )
        ).scalar()
        thing = (
            f"{KINDS[row.table]} of {row.object}" if row.table not in ("domain", "address") else row.object
        )
        by, hint = "", f"postmaster history {word(row.object)} shows what was done"
        if later is not None:
            since = history.entry(self._connection, later)
            by = f" since, by entry {later} ({since.command})"
            hint = f"undo that one too: postmaster undo {later} {entry.number}"
        return ConflictError(f"entry {entry.number} cannot be undone: {thing} {what}{by}", hint=hint)

    def check(self) -> None:
        """Hold what was touched to the rules of the directory. Raises ConflictError."""
        numbers: set[int] = set()
        gone: list[Address] = []
        domains: set[str] = set()
        for row in self.done:
            for state in filter(None, (row.before, row.after)):
                if row.table == target.name:
                    numbers.add(state["source_id"])
                elif row.table in (address.name, account.name):
                    numbers.add(row.row_id)
                elif row.table == domain.name:
                    domains.add(state["name"])
            if row.table == address.name and row.before is not None:
                name = self._name_of(row.before["domain_id"])
                if name is not None:
                    gone.append(Address(Domain(name), LocalPart(row.before["local_part"])))
        for number in sorted(numbers):
            self._check_source(number)
        for where in gone:
            self._check_stranded(where)
        for name in sorted(domains):
            self._check_domain(name)

    def _check_source(self, number: int) -> None:
        node = self._node(number)
        if node is None:
            return
        targets = graph.targets_of(self._connection, number)
        if node.kind == "alias" and not targets:
            raise ConflictError(f"{node.address} would lead nowhere", hint="postmaster history shows why")
        try:
            graph.check_targets(self._connection, node, targets)
        except RuleError as error:
            raise ConflictError(f"it cannot be undone any more: {error.message}", hint=error.hint) from error

    def _check_stranded(self, where: Address) -> None:
        if where.is_catch_all:
            self._check_domain(where.domain.ascii)
            return
        here, node = graph.lead(self._connection, where)
        if not here or node is not None:
            return
        leading = {one: number for _, number, one in graph.sources_of(self._connection, where)}
        if leading:
            first = min(leading, key=str)
            node = self._node(leading[first])
            noun = "forward" if node is not None and node.kind == "user" else "alias"
            raise ConflictError(
                f"it cannot be undone any more: {named(sorted(map(str, leading)))} would lead to {where},"
                " which would not exist",
                hint=f"give it another target first: postmaster {noun} set {word(first)} ADDRESS",
            )

    def _check_domain(self, name: str) -> None:
        """A domain that came or went changes what is behind the targets that name it."""
        rows = self._connection.execute(
            select(target.c.source_id).where(target.c.domain == name).distinct()
        ).scalars()
        for number in rows.all():
            self._check_source(number)

    def _node(self, number: int) -> graph.Node | None:
        row = self._connection.execute(
            select(address.c.kind, address.c.local_part, domain.c.name)
            .join_from(address, domain, domain.c.id == address.c.domain_id)
            .where(address.c.id == number)
        ).one_or_none()
        return (
            None
            if row is None
            else graph.Node(number, row.kind, Address(Domain(row.name), LocalPart(row.local_part)))
        )

    def _name_of(self, number: int) -> str | None:
        name: str | None = self._connection.execute(
            select(domain.c.name).where(domain.c.id == number)
        ).scalar()
        return name


def _credentials(row: RowChange) -> set[str]:
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
