"""Where the rows of a system come from: a database by its URL, an SQLite file, or a dump.

A URL with a password in it is not taken from the command line, where everybody on the machine can read it:
`env:NAME` names the variable of the environment that has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from postmaster.bulk.foreign import dump
from postmaster.bulk.foreign.dump import Record, Rows
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.errors import NotFoundError, UsageError

_SQLITE = b"SQLite format 3\0"
_EXTRA = {"mysql": "mysqlclient or PyMySQL (mysql+pymysql://…)", "postgresql": "psycopg"}


def read(source: str, wanted: Collection[str], *, needed: Collection[str]) -> Rows:
    """The rows of these tables, of which some must be there. Raises NotFoundError, UsageError."""
    if source.startswith("env:"):
        name = source.removeprefix("env:")
        url = os.environ.get(name)
        if not url:
            raise UsageError(f"the environment has no variable {name}", hint=f"export {name}=mysql://…")
        rows = _of_database(url, wanted)
    elif re.match(r"[a-z0-9]+(?:\+[a-z0-9]+)?://", source):
        if re.match(r"[^/]+//[^/@]*:[^/@]+@", source):
            raise UsageError(
                "a database's password does not belong in a command line",
                hint="put the URL into a variable and name it: env:NAME",
            )
        rows = _of_database(source, wanted)
    else:
        rows = of_file(Path(source), wanted)
    missing = [name for name in needed if name not in rows.tables]
    if missing:
        raise UsageError(
            f"the source has no table {', '.join(missing)}", hint="is it of the system that --from names?"
        )
    return rows


def of_file(file: Path, wanted: Collection[str]) -> Rows:
    """An SQLite database, or a dump. Raises NotFoundError, UsageError."""
    data = content(file, len(_SQLITE))
    if data.startswith(_SQLITE):
        return _of_database(f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true", wanted)
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


def _of_database(url: str, wanted: Collection[str]) -> Rows:
    from sqlalchemy import MetaData, Table, create_engine, inspect, select
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except ArgumentError:
        raise UsageError("that is no database URL", hint="for example mysql://user@host/name") from None
    except (ImportError, SQLAlchemyError) as error:
        name = getattr(error, "name", None) or url.partition(":")[0]
        kind = url.partition(":")[0].partition("+")[0]
        raise UsageError(
            f"the driver for {kind} is not installed: {name}",
            hint=f"install {_EXTRA.get(kind, 'its driver')}, or give a dump of the database instead",
        ) from None
    rows = Rows()
    try:
        with engine.connect() as connection:
            there = {name.lower(): name for name in inspect(connection).get_table_names()}
            for name in wanted:
                if name not in there:
                    continue
                table = Table(there[name], MetaData(), autoload_with=connection)
                found = rows.tables[name] = []
                for number, row in enumerate(connection.execute(select(table)).mappings(), 1):
                    values = {str(key).lower(): _text(value) for key, value in row.items()}
                    found.append(Record(f"{name}, row {number}", values))
    except (SQLAlchemyError, ValueError) as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0][:300]
        shown = parsed.render_as_string(hide_password=True)
        raise UsageError(f"the database {shown} cannot be read: {said}") from None
    finally:
        engine.dispose()
    return rows


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
