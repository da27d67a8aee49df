"""Many rows of a table in one go: what SQLAlchemy does for each row is done once for all of them.

Values are stored as SQLAlchemy stores them. A change of a hundred thousand rows takes half the time so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Boolean, Connection, Dialect, Table

from postmaster.directory.engines import is_postgresql

Store = Callable[[Any], Any]


def insert_rows(connection: Connection, table: Table, rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows that have a value for each column, in the order of the columns."""
    statement, stores = _prepared(connection.dialect, table)
    found = []
    for row in rows:
        values = list(row)
        for place, store in stores:
            if values[place] is not None:
                values[place] = store(values[place])
        found.append(tuple(values))
    if found:
        connection.exec_driver_sql(statement, found)


def take_ids(connection: Connection, table: Table, count: int) -> list[int]:
    """So many new ids, in rising order, of a table whose ids are counted.

    To be used at once: with SQLite they are taken by the rows that are inserted with them, and by nothing
    else only because one transaction at a time writes.
    """
    if is_postgresql(connection):
        query = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
        return list(connection.exec_driver_sql(query, (table.name, count)).scalars())
    query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    last = connection.exec_driver_sql(query, (table.name,)).scalar() or 0
    return list(range(last + 1, last + 1 + count))


@lru_cache(maxsize=64)
def _prepared(dialect: Dialect, table: Table) -> tuple[str, list[tuple[int, Store]]]:
    """The driver's own statement, and what it does not take as it is: places of values, and their form."""
    quote = dialect.identifier_preparer.quote
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    names = [quote(one.name) for one in table.columns]
    statement = (
        f"INSERT INTO {quote(table.name)} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
    )
    stores: list[tuple[int, Store]] = [
        (place, store)
        for place, one in enumerate(table.columns)
        if not isinstance(one.type, Boolean)
        and (store := one.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    ]
    return statement, stores
