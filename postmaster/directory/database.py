"""Opens the truth: reads are consistent, a change is one transaction that journals itself.

`open_directory` refuses a truth that is missing or of another version and says which command to
run; it first publishes what an interrupted command left. `Directory.change` begins with the write
lock, records every row before and after in the journal, commits, and publishes. What is committed
and not yet published is never lost: the next command publishes it.

Only `postmaster` opens the truth. It is in SQLite's rollback-journal mode: one file is the backup.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from postmaster.directory import publish as publishing
from postmaster.directory.schema import HASHES, JOURNALLED, REVISION, journal, journal_row
from postmaster.errors import DirectoryError, PartialError, PostmasterError
from postmaster.process import current_actor
from postmaster.settings import Settings

LOCK_TIMEOUT = 30.0  # seconds that a command waits for another one's transaction
JOURNAL_BATCH = 1000  # rows held in memory
INIT_HINT = "run: postmaster init"


#: Table -> its row with an id.
_BY_ID = {name: select(table).where(table.c.id == bindparam("row_id")) for name, table in JOURNALLED.items()}
_INSERT = {name: insert(table) for name, table in JOURNALLED.items()}


class Directory:
    """An open truth. `command` and `actor` go into the journal entry of each change."""

    def __init__(self, settings: Settings, engine: Engine, *, command: str, actor: str) -> None:
        self.settings = settings
        self.engine = engine
        self._command = command
        self._actor = actor

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: everything read in it is of one moment. Raises DirectoryError."""
        with _plain_errors(self.settings), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def change(self, *, reason: str | None = None, keep: bool = True) -> Iterator[Change]:
        """A transaction that writes rows and their journal entry, then publishes.

        An exception inside rolls everything back; so does its end without `keep`, for a dry run that
        meets every rule on the way. Raises DirectoryError when the truth stays
        locked, PartialError when the change was kept and publishing it failed.
        """
        writing = self.engine.execution_options(postmaster_begin="BEGIN IMMEDIATE")
        with _plain_errors(self.settings), writing.connect() as connection, connection.begin() as going:
            change = Change(connection, actor=self._actor, command=self._command, reason=reason)
            yield change
            change.write_journal()
            if not keep:
                going.rollback()
        if keep and not change.is_empty:
            self._publish_after_commit()

    def publish(self, *, rebuild: bool = False) -> publishing.Published:
        """Bring the look-ups up to date, or write them anew. Raises DirectoryError."""
        with _plain_errors(self.settings):
            return publishing.publish(self.settings.lookups, self.read, rebuild=rebuild)

    def _publish_after_commit(self) -> None:
        try:
            self.publish()
        except (PostmasterError, OSError) as error:
            raise PartialError(
                f"the change is kept, but the servers do not see it yet: {error}",
                hint="run: postmaster publish",
            ) from error


class Change:
    """A transaction under way. Rows are written through it alone, so the journal misses none."""

    def __init__(self, connection: Connection, *, actor: str, command: str, reason: str | None) -> None:
        self.connection = connection
        self.now = datetime.now(UTC).replace(tzinfo=None)
        self._entry = {"made_at": self.now, "actor": actor, "command": command, "reason": reason}
        self._entry_id: int | None = None
        self._position = 0
        self._rows: list[dict[str, Any]] = []

    @property
    def is_empty(self) -> bool:
        return self._entry_id is None

    def insert(self, table: Table, values: Mapping[str, Any]) -> int:
        """Add a row, every column but the id given, and give back its id."""
        assert values.keys() | {"id"} == set(table.c.keys())
        key = self.connection.execute(_INSERT[table.name], dict(values)).inserted_primary_key
        assert key is not None
        self._record(table, int(key[0]), None, {**values, "id": int(key[0])})
        return int(key[0])

    def update(self, table: Table, row_id: int, values: Mapping[str, Any]) -> None:
        """Give columns of a row new values; nothing is journalled where nothing differs."""
        before = self._row(table, row_id)
        assert before is not None
        if all(before[name] == value for name, value in values.items()):
            return
        self.connection.execute(table.update().where(table.c.id == row_id).values(values))
        self._record(table, row_id, before, {**before, **values})

    def delete(self, table: Table, row_id: int) -> None:
        before = self._row(table, row_id)
        assert before is not None
        self.connection.execute(table.delete().where(table.c.id == row_id))
        self._record(table, row_id, before, None)

    def _row(self, table: Table, row_id: int) -> dict[str, Any] | None:
        row = self.connection.execute(_BY_ID[table.name], {"row_id": row_id}).mappings().one_or_none()
        return None if row is None else dict(row)

    def _record(
        self, table: Table, row_id: int, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        assert table.name in JOURNALLED
        if self._entry_id is None:
            key = self.connection.execute(insert(journal).values(self._entry)).inserted_primary_key
            assert key is not None
            self._entry_id = int(key[0])
        self._rows.append(
            {
                "entry_id": self._entry_id,
                "position": self._position,
                "table_name": table.name,
                "row_id": row_id,
                "before": _as_json(before),
                "after": _as_json(after),
                "has_hash": table.name in HASHES,
            }
        )
        self._position += 1
        if len(self._rows) >= JOURNAL_BATCH:
            self.write_journal()

    def write_journal(self) -> None:
        """Write the rows of the entry that wait: many at once cost a fifth of each alone."""
        if self._rows:
            self.connection.execute(insert(journal_row), self._rows)
            self._rows = []


@contextmanager
def open_directory(
    settings: Settings, *, command: str = "", actor: str | None = None, publish: bool = True
) -> Iterator[Directory]:
    """Open the truth for one command. Raises DirectoryError with the command that mends it.

    Without `publish` what an interrupted command left unpublished stays so: for who publishes and tells.
    """
    engine = make_engine(settings)
    try:
        with _plain_errors(settings), engine.connect() as connection, connection.begin():
            check_revision(current_revision(connection))
        directory = Directory(settings, engine, command=command, actor=actor or current_actor())
        if publish and publishing.is_behind(settings.lookups, directory.read):
            directory.publish()
        yield directory
    finally:
        engine.dispose()


def zoned(moment: datetime | None) -> datetime | None:
    """A time of the truth, which is UTC, with its zone."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def make_engine(settings: Settings, *, create: bool = False) -> Engine:
    """An engine for the truth; with `create`, a missing SQLite file is made, readable to its owner alone."""
    try:
        url = make_url(settings.directory.url)
    except ArgumentError:
        raise DirectoryError(
            "directory.url is not a database URL",
            hint="for example sqlite:////var/lib/postmaster/directory.db",
        ) from None
    if url.get_backend_name() != "sqlite":
        raise DirectoryError(
            f"directory.url names {url.get_backend_name()}, which is not supported yet",
            hint="use sqlite:////var/lib/postmaster/directory.db",
        )
    if not url.database or url.database == ":memory:":
        raise DirectoryError("directory.url names no file", hint="use sqlite:////absolute/path/directory.db")
    _check_file(Path(url.database), create)
    engine = create_engine(url, connect_args={"isolation_level": None, "timeout": LOCK_TIMEOUT})

    @event.listens_for(engine, "connect")
    def prepare(dbapi: Any, _record: Any) -> None:
        dbapi.execute("PRAGMA foreign_keys=ON")
        dbapi.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver is in autocommit, so that a transaction begins where we say and with the lock we say.
        connection.exec_driver_sql(connection.get_execution_options().get("postmaster_begin", "BEGIN"))

    return engine


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


def _check_file(file: Path, create: bool) -> None:
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        if not create:
            raise DirectoryError(f"there is no directory at {file}", hint=INIT_HINT) from None
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass  # another init was quicker
        except OSError as error:
            raise DirectoryError(f"{file} cannot be made: {error.strerror}") from None
        return
    except OSError as error:
        raise DirectoryError(
            f"the directory {file} cannot be opened: {error.strerror}", hint="run it as root"
        ) from None
    if not stat.S_ISREG(mode):
        raise DirectoryError(f"the directory {file} is not a regular file")
    if not os.access(file, os.R_OK | os.W_OK):
        raise DirectoryError(
            f"the directory {file} cannot be opened: Permission denied", hint="run it as root"
        )


@contextmanager
def _plain_errors(settings: Settings) -> Iterator[None]:
    """Turn the database's complaints into one clear line."""
    try:
        yield
    except OperationalError as error:
        text = str(error.orig)
        if "locked" in text:
            raise DirectoryError(
                f"another command kept the directory locked for {LOCK_TIMEOUT:g} s",
                hint="try again; see who holds it with: fuser " + str(settings.directory.file),
            ) from error
        raise DirectoryError(f"the directory cannot be used: {text}") from error
    except DatabaseError as error:
        raise DirectoryError(
            f"the directory is damaged or not ours: {error.orig}", hint="restore it from a backup"
        ) from error


def _as_json(row: dict[str, Any] | None) -> str | None:
    if row is None:
        return None
    import json

    plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)
