"""Small SQLite files by the standard library alone, for what is not the directory's.

A connection is in autocommit (`isolation_level=None`); a file has one version, in `user_version`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


def prepare(connection: sqlite3.Connection, tables: str, version: int) -> int:
    """Make the tables in a file that has none, at once or not at all. Gives the version of what is there."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != 0:
        return found
    with transaction(connection):
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:  # nobody else was quicker
            for statement in tables.split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
            found = version
    return found


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the body or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself where the disk is full
            connection.execute("ROLLBACK")
        raise
