"""Where the rows of a system come from: a database by its URL, an SQLite file, or a dump.

A live database is read in one transaction that sees one moment, and never written. A URL with a password in
it is not taken from the command line, where everybody on the machine can read it: `env:NAME` names the
variable of the environment that has it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postmaster.bulk.foreign import dump
from postmaster.bulk.foreign.dump import Record, Rows
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_SQLITE = b"SQLite format 3\0"
_EXTRA = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgresql"}
#: How a reader sees one moment; MySQL's own default is that already, and SQLite has to be told to begin.
_ONE_MOMENT = {"postgresql": "REPEATABLE READ", "mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ"}


def take(
    source: str, wanted: Collection[str], into: Gathered, *, needed: Collection[str], prefixed: bool = False
) -> Mapping[str, list[Record]]:
    """The rows of these tables by name, none where a table is not there; some of them must be.

    With `prefixed` the system may have been told to begin all their names with a text of somebody's choice.
    Rows that are none become problems, and tables with rows that are not read a note. Raises NotFoundError,
    UsageError.
    """
    rows, prefix = read(source, wanted), ""
    missing = [name for name in needed if name not in rows.tables]
    if missing and prefixed:
        prefix = _prefix(rows.names, needed)
        if prefix:
            rows, missing = read(source, [prefix + name for name in wanted]), []
            into.note(f"the names of the tables begin with {prefix} there")
    if missing:
        raise UsageError(
            f"the source has no table {', '.join(missing)}", hint="is it of the system that --from names?"
        )
    told(rows, into)
    return {name: rows.tables.get(prefix + name, []) for name in wanted}


def _prefix(names: Collection[str], needed: Collection[str]) -> str:
    """What the names of all needed tables begin with; empty where nothing does. Raises UsageError for two."""
    first = min(needed)
    prefixes = {name.removesuffix(first) for name in names if name.endswith(first)}
    found = sorted(one for one in prefixes if all(one + name in names for name in needed))
    if len(found) > 1:
        raise UsageError(
            f"the source has several times the tables of such a system, as {', '.join(found[:10])}",
            hint="give a dump of the tables of one of them alone",
        )
    return found[0] if found else ""


def told(rows: Rows, into: Gathered) -> None:
    """Make problems and a note of what was found and is not read."""
    for place, why in rows.problems:
        into.problem(place, "", "", why)
    into.not_read(rows.others)


def read(source: str, wanted: Collection[str]) -> Rows:
    """The rows of these tables; every one that is there has an entry. Raises NotFoundError, UsageError."""
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        url = os.environ.get(name)
        if not url:
            raise UsageError(f"the environment has no variable {name}", hint=f"export {name}=mysql://…")
        return _of_url(url, wanted)
    if re.match(r"[a-z0-9]+(?:\+[a-z0-9]+)?://", source):
        if re.match(r"[^/]+//[^/@]*:[^/@]+@", source):
            raise UsageError(
                "a database's password does not belong in a command line",
                hint="put the URL into a variable and name it: env:NAME",
            )
        return _of_url(source, wanted)
    return of_file(Path(source), wanted)


def _of_url(url: str, wanted: Collection[str]) -> Rows:
    parsed, engine = _engine(url)
    if parsed.get_backend_name() == "sqlite":  # which by itself would make a file that is not there
        return of_file(Path(parsed.database or ""), wanted)
    return _of_database(parsed, engine, wanted)


def of_file(file: Path, wanted: Collection[str]) -> Rows:
    """An SQLite database, or a dump. Raises NotFoundError, UsageError."""
    data = content(file, len(_SQLITE))
    if data.startswith(_SQLITE):
        url = f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
        return _of_database(*_engine(url), wanted)
    return dump.read(decoded(content(file, SIZE_LIMIT), str(file)), wanted)


def content(file: Path, limit: int) -> bytes:
    """The first so many bytes of a file. Raises NotFoundError, UsageError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
            return data[:limit] if limit < SIZE_LIMIT else _whole(data, file, limit)
    except FileNotFoundError:
        raise NotFoundError(f"there is no {file}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def _whole(data: bytes, file: Path, limit: int) -> bytes:
    if len(data) > limit:
        raise UsageError(f"{file} is larger than {limit >> 20} MiB")
    return data


def by(rows: Iterable[Record], column: str) -> Mapping[str, list[Record]]:
    """Rows by the value that they have in a column; none for a value that no row has."""
    found: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        found[row.text(column)].append(row)
    return found


def _of_database(parsed: URL, engine: Engine, wanted: Collection[str]) -> Rows:
    from sqlalchemy.exc import SQLAlchemyError

    rows = Rows()
    try:
        with engine.connect() as connection:
            isolation = _ONE_MOMENT.get(parsed.get_backend_name())
            if isolation is not None:
                connection.execution_options(isolation_level=isolation)
            there = _tables_of(connection)
            rows.names = set(there)
            if parsed.get_backend_name() == "sqlite":
                _text_as_it_is(connection)
                connection.exec_driver_sql("BEGIN")
            for name in wanted:
                if name in there:
                    rows.tables[name] = _rows_of(connection, name, there[name])
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            rows.others = {
                name for name in there if name not in wanted and _has_rows(connection, there[name])
            }
    except (SQLAlchemyError, ValueError, RuntimeError) as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0][:300]
        shown = parsed.render_as_string(hide_password=True)
        raise UsageError(f"the database {shown} cannot be read: {said}") from None
    finally:
        engine.dispose()
    return rows


def _engine(url: str) -> tuple[URL, Engine]:
    """Raises UsageError for what is no URL, or of a database whose driver is not installed."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    kind = url.partition(":")[0].partition("+")[0]
    try:
        parsed = make_url(url)
        if parsed.drivername in ("mysql", "mariadb"):  # of their drivers the one that is pure Python
            parsed = parsed.set(drivername=f"{parsed.drivername}+pymysql")
        return parsed, create_engine(parsed)
    except ArgumentError:
        raise UsageError("that is no database URL", hint="for example mysql://user@host/name") from None
    except (ImportError, SQLAlchemyError) as error:
        name = getattr(error, "name", None) or kind
        install = f"pip install 'postmaster[{_EXTRA[kind]}]'" if kind in _EXTRA else "install it"
        raise UsageError(
            f"the driver for {kind} is not installed: {name}",
            hint=f"{install}, or give a dump of the database instead",
        ) from None


def _tables_of(connection: Connection) -> dict[str, str]:
    """Name in small letters -> name."""
    from sqlalchemy import inspect

    return {name.lower(): name for name in inspect(connection).get_table_names()}


def _text_as_it_is(connection: Connection) -> None:
    """A text of SQLite's that is no UTF-8 spoils its own row alone."""
    connection.connection.dbapi_connection.text_factory = (  # type: ignore[union-attr]
        lambda octets: octets.decode("utf-8", "replace")
    )


def _rows_of(connection: Connection, name: str, real_name: str) -> list[Record]:
    """All of a table, with values as the driver has them: what a column calls itself is not believed."""
    from sqlalchemy import Select, literal_column, select, table

    found = []
    everything: Select[Any] = select(literal_column("*")).select_from(table(real_name))
    for number, row in enumerate(connection.execute(everything).mappings(), 1):
        values = {str(key).lower(): _text(value) for key, value in row.items()}
        found.append(Record(f"{name}, row {number}", values))
    return found


def _has_rows(connection: Connection, real_name: str) -> bool:
    """Whether there is something in a table, or nobody may look, which is as good a reason to name it."""
    from sqlalchemy import literal_column, select, table
    from sqlalchemy.exc import DBAPIError

    try:
        return (
            connection.execute(select(literal_column("1")).select_from(table(real_name)).limit(1)).first()
            is not None
        )
    except DBAPIError:
        return True


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
