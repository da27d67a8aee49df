"""SQLite tables are read here as Postfix reads them; what has rules of its own is left to postmap."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postmaster.errors import ServerError
from postmaster.postfix.tables import Tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "data.db")) as database:
        database.execute("CREATE TABLE t (k TEXT, v TEXT)")
        rows = [
            ("amy@x.test", "one"),
            ("amy@x.test", "two"),
            ("o'neil@x.test", "three"),
            ("null@x.test", None),
        ]
        database.executemany("INSERT INTO t VALUES (?, ?)", [*rows, ("@x.test", "all")])
        database.commit()
    return tmp_path


def table(folder: Path, *lines: str) -> str:
    file = folder / "map.cf"
    file.write_text("\n".join([f"dbpath = {folder}/data.db", *lines]) + "\n")
    return f"proxy:sqlite:{file}"


def test_answers_are_joined_and_keys_escaped(folder: Path) -> None:
    name = table(folder, "# note", "query = SELECT v FROM t", "  WHERE k = '%s'")
    tables = Tables(folder, running=False)
    assert tables.find(name, "AMY@x.test") == "one,two"
    assert tables.find(name, "o'neil@x.test") == "three"
    assert [tables.find(name, key) for key in ("null@x.test", "nobody@x.test", "", "' OR '1")] == [None] * 4
    tables.close()


def test_a_key_without_a_part_asks_nothing(folder: Path) -> None:
    name = table(folder, "query = SELECT v FROM t WHERE k = '%u@%d'")
    tables = Tables(folder, running=False)
    assert tables.find(name, "amy@x.test") == "one,two"
    assert tables.find(name, "@x.test") is None
    assert tables.find(name, "x.test") is None
    tables.close()


@given(st.text(max_size=40))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_key_has_an_answer(folder: Path, key: str) -> None:
    name = table(folder, "query = SELECT v FROM t WHERE k = '%s' OR k = '%u@%d'")
    tables = Tables(folder, running=False)
    assert tables.find(name, key) in (None, "one,two", "three", "all")
    tables.close()


def test_a_database_that_is_not_there_is_named(folder: Path) -> None:
    name = table(folder, "query = SELECT v FROM none WHERE k = '%s'")
    tables = Tables(folder, running=False)
    with pytest.raises(ServerError, match=r"map\.cf cannot be read: no such table"):
        tables.find(name, "x")
    tables.close()


_ASK = """
import os, sys
from pathlib import Path
from postmaster.errors import RightsError
from postmaster.postfix.tables import Tables
os.setgid(65534)
os.setuid(65534)
try:
    Tables(Path("/"), running=False).find(sys.argv[1], "x")
except RightsError as error:
    print(error.message)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_read_is_told_so() -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "data.db").touch(0o640)
        name = table(folder, "query = SELECT v FROM t WHERE k = '%s'")
        Path(name.partition("sqlite:")[2]).chmod(0o644)
        done = subprocess.run([sys.executable, "-c", _ASK, name], capture_output=True, text=True, check=True)
    assert done.stdout == f"this user may not read {folder}/data.db, which Postfix asks\n"
