"""Small SQLite files: made once, changed as a whole."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postmaster.sqlite import prepare, transaction

TABLES = "CREATE TABLE a (x INTEGER); CREATE TABLE b (y TEXT);"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as opened:
        yield opened


def test_tables_are_made_once(connection: sqlite3.Connection) -> None:
    assert prepare(connection, TABLES, 3) == 3
    connection.execute("INSERT INTO a VALUES (1)")
    assert prepare(connection, TABLES, 3) == 3
    assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]
    assert prepare(connection, "nonsense", 4) == 3, "another version is told, and left alone"


def test_tables_are_made_at_once_or_not_at_all(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        prepare(connection, TABLES + "nonsense", 1)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert prepare(connection, TABLES, 1) == 1


def test_several_may_make_them(tmp_path: Path) -> None:
    versions: list[int] = []

    def make() -> None:
        with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None, timeout=30)) as opened:
            versions.append(prepare(opened, TABLES, 7))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == [7] * 8


def test_a_change_that_fails_is_none(connection: sqlite3.Connection) -> None:
    prepare(connection, TABLES, 1)

    def change(number: int) -> None:
        with transaction(connection):
            connection.execute("INSERT INTO a VALUES (?)", (number,))
            connection.execute("INSERT INTO a VALUES (1 / ?, 1)" if number == 1 else "SELECT ?", (number,))

    with pytest.raises(sqlite3.OperationalError):
        change(1)
    change(2)
    assert connection.execute("SELECT x FROM a").fetchall() == [(2,)]
