"""A real directory, in SQLite under a temporary folder and in a PostgreSQL of the tests' own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory.database import Directory, open_directory
from postmaster.directory.engines import make_engine
from postmaster.directory.migrate import initialise, upgrade
from postmaster.settings import DirectorySettings, Settings
from tests.conftest import MARK
from tests.tools.building import Builder, settings_under
from tests.tools.postgresql import Cluster, running_cluster

_numbers = count(1)


@pytest.fixture(scope="session")
def cluster(no_process_left_over: None) -> Iterator[Cluster]:
    """A running PostgreSQL with a migrated database `template`."""
    with running_cluster(MARK) as made:
        made.create("template")
        engine = make_engine(Settings(directory=DirectorySettings(made.url("template"))))
        upgrade(engine)
        engine.dispose()
        yield made


@pytest.fixture
def on_postgresql(cluster: Cluster, tmp_path: Path) -> Iterator[Settings]:
    """Settings for a truth of this test's own in PostgreSQL, set up."""
    name = f"t{next(_numbers)}"
    cluster.create(name, "template")
    made = replace(settings_under(tmp_path), directory=DirectorySettings(cluster.url(name)))
    initialise(made)
    yield made
    cluster.drop(name)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Settings:
    made = settings_under(tmp_path)
    initialise(made)
    return made


@pytest.fixture
def settings(on_sqlite: Settings) -> Settings:
    return on_sqlite


@pytest.fixture
def directory(settings: Settings) -> Iterator[Directory]:
    with open_directory(settings, command="test", actor="tester") as opened:
        yield opened


@pytest.fixture
def make(directory: Directory) -> Builder:
    return Builder(directory)


@pytest.fixture
def ask(settings: Settings) -> Callable[..., list[Any]]:
    """Ask a published file as a server would: rows, or the single values of one column."""

    def answer(file: str, query: str, *values: Any) -> list[Any]:
        path = settings.lookups.directory / f"{file}.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, values).fetchall()
        return [row[0] if len(row) == 1 else row for row in rows]

    return answer
