"""Where look-ups are published to: files on this host, or schemas of the PostgreSQL that holds the truth.

A place takes one transaction at a time, says up to which entry it is published, and answers servers
meanwhile. What is written to it is the same (`publish.py`); so are its tables and views (`lookups.py`).

The schemas `postfix` and `dovecot` are for servers that query the database. Each has a role of its name
that may read its views and nothing else: Postfix's role can read no hash. Where they exist every command
that changes the truth publishes to them, whoever runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postmaster.directory import lookups
from postmaster.directory.lookups import FILES, VERSION, LookupFile
from postmaster.errors import DirectoryError, SettingsError
from postmaster.settings import LookupsSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SOURCES = ("files", "database")  # of lookups.source

Entry = tuple[int, str]  # a journal entry and when it was made


class Writing(Protocol):
    """A transaction on a place, in the standard library's words for SQLite."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Any: ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Place:
    """`name` is the file's path, or the schema. `entry` is None where it cannot say, or is not whole.

    What `reading` gives is of one moment, and meets no change; it makes and mends nothing.
    """

    name: Path | str
    file: LookupFile
    writing: Callable[[], AbstractContextManager[Writing]]
    reading: Callable[[], AbstractContextManager[Writing]]
    entry: Callable[[], Entry | None]


def places(settings: LookupsSettings, engine: Engine) -> list[Place]:
    """Every place that is published to, those of Dovecot first: a right is withdrawn there first."""
    if not settings.in_database:
        found = [*host_files(settings), *(_schemas(engine) if have_schemas(engine) else ())]
    elif engine.dialect.name == "postgresql":
        found = _schemas(engine)
    else:
        raise DirectoryError(
            "lookups.source is database, and the directory is in none that servers can query",
            hint="set directory.url to postgresql://USER@HOST/DATABASE, or lookups.source to files",
        )
    return sorted(found, key=lambda place: FILES.index(place.file))


def host_files(settings: LookupsSettings) -> list[Place]:
    """The files of this host, for which the truth need not be opened."""
    if settings.source not in SOURCES:
        raise SettingsError(f"lookups.source is {settings.source!r}", hint="it is files or database")
    return [_file(file, settings) for file in FILES]


def _schemas(engine: Engine) -> list[Place]:
    return [_schema(file, engine) for file in FILES]


def _file(file: LookupFile, settings: LookupsSettings) -> Place:
    path = file.path(settings)

    def entry() -> Entry | None:
        known = lookups.published_entry(path)
        return known if all(side.exists() for side in lookups.side_files(path)) else None

    return Place(path, file, lambda: lookups.writing(file, settings), lambda: lookups.reading(path), entry)


def _schema(file: LookupFile, engine: Engine) -> Place:
    @contextmanager
    def writing() -> Iterator[Writing]:
        # READ COMMITTED: the wait for the lock comes first, and what it waited for must be seen.
        waiting = engine.execution_options(isolation_level="READ COMMITTED")
        with waiting.connect() as connection, connection.begin():
            _upgrade(connection, file)
            connection.exec_driver_sql(f"SET LOCAL search_path TO {file.schema_name}")
            connection.exec_driver_sql("SELECT 1 FROM published FOR UPDATE")
            yield _Translated(connection)

    @contextmanager
    def reading() -> Iterator[Writing]:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(f"SET LOCAL search_path TO {file.schema_name}")
            yield _Translated(connection)

    def entry() -> Entry | None:
        with engine.connect() as connection:
            return _entry(connection, file)

    return Place(f"schema {file.schema_name}", file, writing, reading, entry)


def have_schemas(engine: Engine) -> bool:
    """Whether servers query the database's views and we write them: a standby has its primary's."""
    if engine.dialect.name != "postgresql":
        return False
    with engine.connect() as connection:
        is_standby = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar()
        return not is_standby and all(_is_there(connection, file) for file in FILES)


def _is_there(connection: Connection, file: LookupFile) -> bool:
    found = connection.exec_driver_sql(f"SELECT to_regclass('{file.schema_name}.published')").scalar()
    return found is not None


def _entry(connection: Connection, file: LookupFile) -> Entry | None:
    if not _is_there(connection, file):
        return None
    row = connection.exec_driver_sql(
        f"SELECT entry, made_at, version FROM {file.schema_name}.published"
    ).first()
    return None if row is None or row[2] != VERSION else (row[0], row[1])


def _upgrade(connection: Connection, file: LookupFile) -> None:
    """Make the schema with tables and views, or anew where it is of another version, in this transaction."""
    if _entry(connection, file) is not None:
        return
    name = file.schema_name
    connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    connection.exec_driver_sql(f"SET LOCAL search_path TO {name}")
    # What SQLite's queries call.
    connection.exec_driver_sql(
        "CREATE FUNCTION unixepoch() RETURNS BIGINT LANGUAGE SQL STABLE PARALLEL SAFE"
        " AS 'SELECT floor(extract(epoch FROM now()))::BIGINT'"
    )
    for statement in lookups.statements(file):
        connection.exec_driver_sql(_translated_table(statement))
    connection.exec_driver_sql(f"INSERT INTO published VALUES (1, {VERSION}, 0, '')")
    grant(connection, file)


def grant(connection: Connection, file: LookupFile) -> bool:
    """Let the role of this name read the views; whether there is one."""
    name = file.schema_name
    if not connection.exec_driver_sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'").scalar():
        return False
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {name} TO {name}")
    for view in re.findall(r"CREATE VIEW (\w+)", file.schema):
        connection.exec_driver_sql(f"GRANT SELECT ON {name}.{view} TO {name}")
    return True


def unreadable(engine: Engine, file: LookupFile, role: str) -> tuple[str, ...]:
    """The views of a schema that a role cannot read: all of them where there is no such role."""
    views = re.findall(r"CREATE VIEW (\w+)", file.schema)
    schema = file.schema_name
    with engine.connect() as connection:
        if not connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).scalar():
            return tuple(views)
        ask = "SELECT has_schema_privilege(%s, %s, 'USAGE') AND has_table_privilege(%s, %s, 'SELECT')"
        return tuple(
            view
            for view in views
            if not connection.exec_driver_sql(ask, (role, schema, role, f"{schema}.{view}")).scalar()
        )


def _translated_table(statement: str) -> str:
    """PostgreSQL's form of a statement: 64 bits, and text that sorts and compares by bytes as in SQLite."""
    return re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', re.sub(r"(?<= )INTEGER\b", "BIGINT", statement))


class _Translated:
    """psycopg in the words of the standard library's driver: `?`, and numbers for truth values."""

    def __init__(self, connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        self._cursor: Any = driver.cursor()

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        return self._cursor.execute(statement.replace("?", "%s"), [_plain(value) for value in values])

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Any:
        if rows:
            plain = [[_plain(value) for value in row] for row in rows]
            self._cursor.executemany(statement.replace("?", "%s"), plain)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
