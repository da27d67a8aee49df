"""Moving a whole directory from one database to another: every table, ids and journal and all.

What is read is of one moment; what is written is one transaction, which is committed only after every
table was read back and has as many rows as the source and the same digest. Ids that the source once gave
away are not given again by the target either. A target with rows is replaced only when told, and what it
had is kept in a file first.

Look-ups know which journal entry they are at, so they go on from there when the truth moves.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, column, func, insert, inspect, select, table, text

from postmaster.database_url import SCHEMES, DatabaseUrl, parse, scheme
from postmaster.directory import migrate, replaced
from postmaster.directory.database import Directory, check_revision, current_revision
from postmaster.directory.engines import (
    address_of,
    for_writing,
    is_postgresql,
    make_engine,
    plain_errors,
    tell_followers,
)
from postmaster.directory.places import have_schemas
from postmaster.directory.schema import journal, metadata
from postmaster.errors import DirectoryError, ExistsError, RuleError, UsageError
from postmaster.files import complete
from postmaster.settings import DirectorySettings, Settings

OWN = "."  # how the directory of the settings is named
BATCH = 2000  # rows held in memory

Batches = Generator[list[dict[str, Any]], None, None]
Progress = Callable[[int], None]  # is told how many rows were written and compared

_SEQUENCES = table("sqlite_sequence", column("name"), column("seq"))


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows each table has, the last journal entry (0: none), where the state before is kept."""

    rows: dict[str, int]
    entry: int
    before: Path | None


def named(settings: Settings, where: str, password_file: str = "") -> Settings:
    """Settings for the directory that an argument names: `.`, an absolute path or a database URL.

    The settings' own password is used for the settings' own URL alone. Raises UsageError.
    """
    own = settings.directory.url
    if where == OWN:
        where = own
    elif where.startswith("/"):
        where = f"sqlite:///{where}"
    elif not scheme(where):
        raise UsageError(
            "this is no database URL", hint=f"postgresql://USER@HOST/DATABASE, a file's path, or {OWN}"
        )
    elif scheme(where) in SCHEMES and parse(where).has_password:
        raise UsageError(
            "a password in an argument can be read by everybody on this machine",
            hint="leave it out of the URL; --from-password-file and --to-password-file name files with it",
        )
    if _place(where) == _place(own) and not password_file:
        return settings
    return replace(settings, directory=replace(settings.directory, url=where, password_file=password_file))


def _place(url: str) -> DatabaseUrl | str:
    """A URL less its password."""
    return replace(parse(url), password="") if scheme(url) in SCHEMES else url


def in_file(settings: Settings, file: Path) -> Settings:
    """Settings for a directory in a file."""
    return replace(settings, directory=DirectorySettings(f"sqlite:///{file}"))


def look(settings: Settings) -> dict[str, int] | None:
    """How many rows each table of a directory has; None where there is none. Raises DirectoryError."""
    file = settings.directory.file
    if file is not None and not file.exists():
        return None
    with _engine(settings) as engine, _transaction(engine, settings) as connection:
        return _counts(connection) if _is_set_up(connection, settings) else None


def copy(
    source: Settings,
    target: Settings,
    *,
    replace_rows: bool = False,
    progress: Progress = lambda _done: None,
) -> Copied:
    """Make the target what the source is now; a target where nothing is set up is set up first.

    Raises ExistsError for a target with rows that is not to be replaced, RuleError when both are the same
    database, DirectoryError for one of another version or damaged; then the target is as it was.
    """
    with ExitStack() as stack:
        come_from = stack.enter_context(_engine(source))
        if _are_one_file(source, target):
            raise _same(target)
        reading = stack.enter_context(_transaction(come_from, source))
        check_revision(current_revision(reading))
        go_to = stack.enter_context(_engine(target, create=True))
        _refuse_the_same_server(reading, go_to, target)
        _set_up(go_to, target)
        with _transaction(for_writing(go_to), target) as writing:
            before = None
            if _has_rows(writing):
                if not replace_rows:
                    raise has_rows(target)
                before = _keep(writing, target)
                _empty(writing)
            copied = _copy(reading, writing, source, progress)
            tell_followers(writing)
    return replace(copied, before=before)


def publish_copy(settings: Settings, target: Settings) -> None:
    """Bring to what servers read what a copy has changed. Raises PartialError.

    The files of this host are the settings' directory's; another's are on the hosts that use it. Schemas
    in the target are its own.
    """
    with _engine(target) as engine:
        if target.directory != settings.directory:
            if not have_schemas(engine):
                return
            target = replace(target, lookups=replace(target.lookups, source="database"))
        Directory(target, engine, command="directory copy", actor="").publish_after_commit()


def has_rows(settings: Settings) -> ExistsError:
    return ExistsError(
        f"{address_of(settings)} holds a directory already",
        hint="--replace puts the copy in its place; what is there is kept in a file",
    )


def _copy(reading: Connection, writing: Connection, source: Settings, progress: Progress) -> Copied:
    done = 0
    copied: dict[str, tuple[int, str]] = {}
    for one in metadata.sorted_tables:
        rows = _Rows()
        with closing(_complaining(source, rows.read(reading, one))) as batches:
            for batch in batches:
                writing.execute(insert(one), batch)
                done += len(batch)
                progress(done)
        copied[one.name] = rows.result
    _set_last_ids(writing, _last_ids(reading))
    for one in metadata.sorted_tables:
        rows = _Rows()
        with closing(rows.read(writing, one)) as batches:
            for batch in batches:
                done += len(batch)
                progress(done)
        if rows.result != copied[one.name]:
            raise DirectoryError(
                f"what was written to the table {one.name} does not read the same, so nothing is kept",
                hint="has the other database's encoding all characters? PostgreSQL's should be UTF8",
            )
    entry = reading.execute(select(func.coalesce(func.max(journal.c.id), 0))).scalar_one()
    return Copied({name: count for name, (count, _) in copied.items()}, entry, None)


def _complaining(of: Settings, batches: Batches) -> Batches:
    with plain_errors(of):
        yield from batches


class _Rows:
    """Reads a table in the order of its keys, and remembers how many rows there were and their digest."""

    def __init__(self) -> None:
        self._count = 0
        self._digest = hashlib.sha256()

    @property
    def result(self) -> tuple[int, str]:
        return self._count, self._digest.hexdigest()

    def read(self, connection: Connection, of: Table) -> Batches:
        with connection.execute(_in_order(of), execution_options={"yield_per": BATCH}) as found:
            for part in found.mappings().partitions():
                batch = [dict(row) for row in part]
                for row in batch:
                    # Python's values are the same whatever the database; no value runs into the next.
                    self._digest.update(repr(list(row.values())).encode("utf-8", "surrogatepass"))
                self._count += len(batch)
                yield batch


def _in_order(of: Table) -> Select[Any]:
    """Every row, by its key; where a row names another of the same table, the named ones first."""
    inward = [key.parent for key in of.foreign_keys if key.column.table is of]
    return select(of).order_by(*(one.is_not(None) for one in inward), *of.primary_key)


def _counts(connection: Connection) -> dict[str, int]:
    return {
        one.name: connection.execute(select(func.count()).select_from(one)).scalar_one()
        for one in metadata.sorted_tables
    }


def _has_rows(connection: Connection) -> bool:
    return any(
        connection.execute(select(1).select_from(one).limit(1)).first() is not None
        for one in metadata.sorted_tables
    )


def _empty(connection: Connection) -> None:
    for one in reversed(metadata.sorted_tables):
        connection.execute(one.delete())


def _keep(connection: Connection, target: Settings) -> Path:
    """Copy what the target has into a file of its own."""
    file = replaced.new_file(target, "copy")
    with complete(file, 0o600) as new:
        kept = in_file(target, new)
        with _engine(kept) as engine:
            _set_up(engine, kept)
            with _transaction(for_writing(engine), kept) as writing:
                _copy(connection, writing, target, lambda _done: None)
    return file


# --- ids that were given away ---


def _counted() -> list[Table]:
    """Tables whose ids are counted, and never used again."""
    return [one for one in metadata.sorted_tables if one.dialect_options["sqlite"]["autoincrement"]]


def _sequence(connection: Connection, of: Table) -> str:
    found = connection.execute(select(func.pg_get_serial_sequence(of.name, "id"))).scalar_one()
    return str(found)


def _last_ids(connection: Connection) -> dict[str, int]:
    """Table -> the last id that it gave away, 0 for none, though its row may be gone."""
    if not is_postgresql(connection):
        known = {row.name: row.seq for row in connection.execute(select(_SEQUENCES))}
        return {one.name: known.get(one.name, 0) for one in _counted()}
    found = {}
    for one in _counted():
        query = f"SELECT last_value, is_called FROM {_sequence(connection, one)}"
        last, is_called = connection.exec_driver_sql(query).one()
        highest = connection.execute(select(func.coalesce(func.max(one.c.id), 0))).scalar_one()
        found[one.name] = max(last if is_called else last - 1, highest)
    return found


def _set_last_ids(connection: Connection, ids: dict[str, int]) -> None:
    for one in _counted():
        last = ids[one.name]
        if is_postgresql(connection):
            # Unlike setval() it is undone with the transaction.
            sequence = _sequence(connection, one)
            connection.exec_driver_sql(f"ALTER SEQUENCE {sequence} RESTART WITH {last + 1}")
            continue
        connection.execute(_SEQUENCES.delete().where(_SEQUENCES.c.name == one.name))
        if last:
            connection.execute(_SEQUENCES.insert().values(name=one.name, seq=last))


# --- two databases ---


@contextmanager
def _engine(settings: Settings, *, create: bool = False) -> Iterator[Engine]:
    engine = make_engine(settings, create=create)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _transaction(engine: Engine, settings: Settings) -> Iterator[Connection]:
    with plain_errors(settings), engine.connect() as connection, connection.begin():
        yield connection


def _is_set_up(connection: Connection, settings: Settings) -> bool:
    """Whether there is a directory of this version. Raises DirectoryError for what is something else."""
    revision = current_revision(connection)
    if revision is not None:
        check_revision(revision)
        return True
    if inspect(connection).get_table_names():
        raise DirectoryError(
            f"{address_of(settings)} has tables, and they are not a directory's", hint="name an empty one"
        )
    return False


def _set_up(engine: Engine, settings: Settings) -> None:
    with _transaction(engine, settings) as connection:
        there = _is_set_up(connection, settings)
    if not there:
        with plain_errors(settings):
            migrate.upgrade(engine)


def _are_one_file(source: Settings, target: Settings) -> bool:
    one, other = source.directory.file, target.directory.file
    return bool(one and other and one.exists() and other.exists() and one.samefile(other))


def _refuse_the_same_server(reading: Connection, go_to: Engine, target: Settings) -> None:
    """However the URLs spell it: an advisory lock is one in the whole database."""
    if not (is_postgresql(reading) and is_postgresql(go_to)):
        return
    key = secrets.randbits(62)
    reading.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    with _transaction(go_to, target) as other:
        if not other.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar_one():
            raise _same(target)


def _same(target: Settings) -> RuleError:
    return RuleError(f"both are the same database, {address_of(target)}", hint="name another one")
