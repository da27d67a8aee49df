"""A real directory in SQLite under a temporary folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory.database import Directory, open_directory
from postmaster.directory.migrate import initialise
from postmaster.settings import Settings
from tests.tools.building import Builder, settings_under


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_under(tmp_path)
    initialise(made)
    return made


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
