"""Opens the truth: reads are consistent, a change is one transaction that journals itself.

`open_directory` refuses a truth that is missing or of another version and says which command to
run; it first publishes what an interrupted command left. `Directory.change` begins with the write
lock, records every row before and after in the journal, commits, and publishes. What is committed
and not yet published is never lost: the next command publishes it.

Only `postmaster` opens the truth. Which database holds it only `engines.py` knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, delete, insert, select, update

from postmaster.directory import publish as publishing
from postmaster.directory.batches import batches
from postmaster.directory.engines import INIT_HINT, for_writing, make_engine, plain_errors, tell_followers
from postmaster.directory.many import insert_rows, take_ids
from postmaster.directory.schema import HASHES, JOURNALLED, REVISION, journal, journal_row
from postmaster.errors import DirectoryError, PartialError, PostmasterError
from postmaster.process import current_actor
from postmaster.settings import Settings, days_before

JOURNAL_BATCH = 1000  # rows held in memory
FORGOTTEN_ROWS = 5000  # of the journal that lose their hashes with one change


#: Table -> its row with an id.
_BY_ID = {name: select(table).where(table.c.id == bindparam("row_id")) for name, table in JOURNALLED.items()}
_BY_IDS = {
    name: select(table).where(table.c.id.in_(bindparam("ids", expanding=True)))
    for name, table in JOURNALLED.items()
}
_INSERT = {name: insert(table) for name, table in JOURNALLED.items()}
_DELETE = {
    name: delete(table).where(table.c.id.in_(bindparam("ids", expanding=True)))
    for name, table in JOURNALLED.items()
}


class Directory:
    """An open truth. `command`, `actor` and `reason` go into the journal entry of each change."""

    def __init__(
        self, settings: Settings, engine: Engine, *, command: str, actor: str, reason: str | None = None
    ) -> None:
        self.settings = settings
        self.engine = engine
        self._command = command
        self._actor = actor
        self._reason = reason

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: everything read in it is of one moment. Raises DirectoryError."""
        with plain_errors(self.settings), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def change(self, *, reason: str | None = None, keep: bool = True) -> Iterator[Change]:
        """A transaction that writes rows and their journal entry, then publishes.

        An exception inside rolls everything back; so does its end without `keep`, for a dry run that
        meets every rule on the way. Raises DirectoryError when the truth stays
        locked, PartialError when the change was kept and publishing it failed.
        """
        with (
            plain_errors(self.settings),
            for_writing(self.engine).connect() as connection,
            connection.begin() as going,
        ):
            change = Change(
                connection, actor=self._actor, command=self._command, reason=reason or self._reason
            )
            yield change
            change.close()
            if not change.is_empty:
                forget_hashes(connection, days_before(change.now, self.settings.directory.hash_days))
            if not keep:
                going.rollback()
        if keep and not change.is_empty:
            self.publish_after_commit()

    def publish(self, *, rebuild: bool = False) -> publishing.Published:
        """Bring the look-ups up to date, or write them anew. Raises DirectoryError."""
        with plain_errors(self.settings):
            return publishing.publish(self.settings.lookups, self.read, self.engine, rebuild=rebuild)

    def publish_after_commit(self) -> None:
        """Publish what was committed. Raises PartialError."""
        try:
            self.publish()
        except (PostmasterError, OSError, KeyboardInterrupt) as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else error
            raise PartialError(
                f"the change is kept, but the servers do not see it yet: {why}",
                hint="run: postmaster publish",
            ) from error


class Change:
    """A transaction under way. Rows are written through it alone, so the journal misses none."""

    def __init__(self, connection: Connection, *, actor: str, command: str, reason: str | None) -> None:
        self.connection = connection
        self.now = datetime.now(UTC).replace(tzinfo=None)
        #: Entries that this change undoes, as JSON; to be set before the first row is written.
        self.undoes: str | None = None
        self._entry = {"made_at": self.now, "actor": actor, "command": command, "reason": reason}
        self._entry_id: int | None = None
        self._position = 0
        self._rows: list[tuple[Any, ...]] = []  # of journal_row, by its columns

    @property
    def is_empty(self) -> bool:
        return self._entry_id is None

    @property
    def number(self) -> int | None:
        """The journal entry's, None while nothing is written."""
        return self._entry_id

    def insert(self, table: Table, values: Mapping[str, Any]) -> int:
        """Add a row, every column but the id given, and give back its id."""
        assert values.keys() | {"id"} == set(table.c.keys())
        key = self.connection.execute(_INSERT[table.name], dict(values)).inserted_primary_key
        assert key is not None
        self._record(table, int(key[0]), None, {**values, "id": int(key[0])})
        return int(key[0])

    def insert_many(self, table: Table, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Add many rows, a fifth of the time that each alone takes; their ids, in the order of the rows.

        Rows have every column but the id, or, where others lean on it, that one too.
        """
        names = tuple(table.c.keys())
        ids: list[int] = []
        for first in range(0, len(rows), JOURNAL_BATCH):
            part = rows[first : first + JOURNAL_BATCH]
            if "id" not in part[0]:
                new = take_ids(self.connection, table, len(part))
                part = [{"id": row_id, **row} for row_id, row in zip(new, part, strict=True)]
            assert all(len(row) == len(names) for row in part)
            insert_rows(self.connection, table, map(itemgetter(*names), part))
            for row in part:
                self._record(table, row["id"], None, row)
                ids.append(row["id"])
        return ids

    def restore(self, table: Table, row: Mapping[str, Any]) -> None:
        """Put a row back that was there before, with the id it had."""
        assert set(row) == set(table.c.keys())
        self.connection.execute(_INSERT[table.name], dict(row))
        self._record(table, row["id"], None, dict(row))

    def update(self, table: Table, row_id: int, values: Mapping[str, Any]) -> None:
        """Give columns of a row new values; nothing is journalled where nothing differs."""
        before = self.row(table, row_id)
        assert before is not None
        if all(before[name] == value for name, value in values.items()):
            return
        self.connection.execute(table.update().where(table.c.id == row_id).values(values))
        self._record(table, row_id, before, {**before, **values})

    def update_many(self, table: Table, changed: Iterable[tuple[dict[str, Any], Mapping[str, Any]]]) -> None:
        """Give columns of many rows new values: pairs of a row as it is now and of what changes in it."""
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for row, values in changed:
            new = {name: value for name, value in values.items() if row[name] != value}
            if new:
                given = {f"new_{name}": value for name, value in new.items()}
                by_columns[tuple(new)].append({"row_id": row["id"], **given})
                self._record(table, row["id"], row, {**row, **new})
        for names, parameters in by_columns.items():
            statement = table.update().where(table.c.id == bindparam("row_id"))
            marks: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
            self.connection.execute(statement.values(marks), parameters)

    def delete(self, table: Table, row_id: int) -> None:
        before = self.row(table, row_id)
        assert before is not None
        self.connection.execute(table.delete().where(table.c.id == row_id))
        self._record(table, row_id, before, None)

    def delete_many(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Take away many rows, each given as it is now."""
        for ids in batches(row["id"] for row in rows):
            self.connection.execute(_DELETE[table.name], {"ids": ids})
        for row in rows:
            self._record(table, row["id"], row, None)

    def row(self, table: Table, row_id: int) -> dict[str, Any] | None:
        """A row as it is now; None where there is none."""
        row = self.connection.execute(_BY_ID[table.name], {"row_id": row_id}).mappings().one_or_none()
        return None if row is None else dict(row)

    def rows(self, table: Table, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Those of these rows that there are, as they are now, by their ids."""
        return {
            row["id"]: dict(row)
            for part in batches(ids)
            for row in self.connection.execute(_BY_IDS[table.name], {"ids": part}).mappings()
        }

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part of the change that an exception takes back alone: its rows, and the journal of them."""
        self.note()
        self.write_journal()
        position = self._position
        try:
            # What fails takes the whole transaction along in PostgreSQL, and who tries otherwise goes on.
            with self.connection.begin_nested():
                yield
        except BaseException:
            self._rows, self._position = [], position
            raise

    def note(self) -> int:
        """The number of the journal entry, which is made now if it is not: also for a change without rows."""
        if self._entry_id is None:
            values = {**self._entry, "undoes": self.undoes}
            key = self.connection.execute(insert(journal).values(values)).inserted_primary_key
            assert key is not None
            self._entry_id = int(key[0])
        return self._entry_id

    def _record(
        self, table: Table, row_id: int, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        assert table.name in JOURNALLED
        state = (as_json(before), as_json(after))
        self._rows.append((self.note(), self._position, table.name, row_id, *state, table.name in HASHES))
        self._position += 1
        if len(self._rows) >= JOURNAL_BATCH:
            self.write_journal()

    def write_journal(self) -> None:
        """Write the rows of the entry that wait: many at once cost a fifth of each alone."""
        if self._rows:
            insert_rows(self.connection, journal_row, self._rows)
            self._rows = []

    def close(self) -> None:
        """What comes last in a change that is kept: all of the journal, and word to who follows it."""
        self.write_journal()
        if not self.is_empty:
            tell_followers(self.connection)


@contextmanager
def open_directory(
    settings: Settings,
    *,
    command: str = "",
    actor: str | None = None,
    reason: str | None = None,
    publish: bool = True,
) -> Iterator[Directory]:
    """Open the truth for one command. Raises DirectoryError with the command that mends it.

    Without `publish` what an interrupted command left unpublished stays so: for who publishes and tells.
    """
    engine = make_engine(settings)
    try:
        with plain_errors(settings), engine.connect() as connection, connection.begin():
            check_revision(current_revision(connection))
        directory = Directory(
            settings, engine, command=command, actor=actor or current_actor(), reason=reason
        )
        if publish and publishing.is_behind(settings.lookups, directory.read, engine):
            directory.publish()
        yield directory
    finally:
        engine.dispose()


def forget_hashes(connection: Connection, before: datetime) -> int:
    """Take the hashes out of the journal's entries made before a moment, at most FORGOTTEN_ROWS at a time.

    What is not replaced is in its own table still. Gives back how many rows were changed.
    """
    import json

    # By the index on made_at: the highest id of all that is older would be looked for among all of it.
    newest = (
        select(journal.c.id)
        .where(journal.c.made_at < before)
        .order_by(journal.c.made_at.desc(), journal.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(journal_row)
        .where(journal_row.c.has_hash, journal_row.c.entry_id <= newest)
        .order_by(journal_row.c.entry_id)
        .limit(FORGOTTEN_ROWS)
    ).all()

    def without(row: Any) -> dict[str, Any]:
        column = HASHES[row.table_name]
        before, after = (json.loads(state) if state else None for state in (row.before, row.after))
        # That it was another one stays to be seen.
        other = before is not None and after is not None and before[column] != after[column]
        return {
            "entry": row.entry_id,
            "place": row.position,
            "old": as_json(before and {**before, column: None}),
            "new": as_json(after and {**after, column: False if other else None}),
        }

    if rows:
        connection.execute(
            update(journal_row)
            .where(journal_row.c.entry_id == bindparam("entry"), journal_row.c.position == bindparam("place"))
            .values(before=bindparam("old"), after=bindparam("new"), has_hash=False),
            [without(row) for row in rows],
        )
    return len(rows)


def zoned(moment: datetime | None) -> datetime | None:
    """A time of the truth, which is UTC, with its zone."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def current_revision(connection: Connection) -> str | None:
    """The revision of the truth, None where it was never set up."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def check_revision(revision: str | None) -> None:
    """Refuse a truth of another version than this program's. Raises DirectoryError."""
    if revision is None:
        raise DirectoryError("the directory is not set up", hint=INIT_HINT)
    if revision != REVISION:
        raise DirectoryError(
            f"the directory is of version {revision}, this program needs {REVISION}",
            hint=INIT_HINT if revision < REVISION else "install the newer postmaster that made it",
        )


def as_json(row: dict[str, Any] | None) -> str | None:
    """A row as the journal has it."""
    return None if row is None else _encode()(row)


@cache
def _encode() -> Callable[[Any], str]:
    # One for all rows: json.dumps makes one for each, a quarter of the time of a bulk change's journal.
    import json

    return json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=datetime.isoformat).encode
