"""A copy of the truth of one moment, and the way back, with the look-ups after it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory import backup, replaced
from postmaster.directory.database import open_directory
from postmaster.directory.migrate import initialise, upgrade
from postmaster.errors import DirectoryError, ExistsError, NotFoundError
from postmaster.settings import Settings, as_toml
from tests.tools.building import Builder, open_builder, settings_under

from .test_publish import content

WRITER = """
import sys
from pathlib import Path
from postmaster.directory import domains
from postmaster.directory.database import open_directory
from postmaster.address import parse_domain
from postmaster.settings import load_settings
settings = load_settings(Path(sys.argv[1]), {})
with open_directory(settings) as directory:
    number = 0
    while not Path(sys.argv[2]).exists():
        # Two rows that belong together: a copy has both or neither.
        with directory.change() as change:
            domains.add(change, parse_domain(f"a{number}.example"))
            domains.add(change, parse_domain(f"b{number}.example"))
        number += 1
print(number)
"""

pytestmark = pytest.mark.sqlite_only


def truth(settings: Settings) -> dict[str, list[Any]]:
    file = settings.directory.file
    assert file is not None
    with closing(sqlite3.connect(file)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


def put_back(settings: Settings, file: Path) -> backup.Restored:
    done = backup.restore(settings, file)
    with open_directory(settings, publish=False) as directory:
        directory.publish(rebuild=True)
    return done


@pytest.fixture
def house(make: Builder) -> Builder:
    make.domain("example.org")
    make.user("amy@example.org")
    return make


def test_what_was_is_again_in_the_truth_and_in_the_look_ups(
    settings: Settings, house: Builder, tmp_path: Path
) -> None:
    before, published = truth(settings), content(settings.lookups.directory)
    made = backup.backup(settings, tmp_path / "copy.db")
    assert (made.users, made.entry) == (1, 2)
    assert made.file.stat().st_mode & 0o777 == 0o600
    house.user("bob@example.org")
    house.remove("user", "amy@example.org")
    changed = truth(settings)
    done = put_back(settings, made.file)
    assert truth(settings) == before
    assert content(settings.lookups.directory) == published
    assert done.before is not None
    assert done.before.stat().st_mode & 0o777 == 0o600
    put_back(settings, done.before)
    assert truth(settings) == changed


def test_a_copy_is_of_one_moment_while_others_write(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text(as_toml(settings))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(tmp_path / "stop")], stdout=subprocess.PIPE, text=True
    )
    try:
        entries: list[int] = []
        while len(entries) < 12 or entries[-1] == entries[0]:
            made = backup.backup(settings, tmp_path / "copy.db", overwrite=True)
            entries.append(made.entry)
            with closing(sqlite3.connect(made.file)) as copy:
                names = {name for (name,) in copy.execute("SELECT name FROM domain")}
            assert {"b" + name[1:] for name in names if name[0] == "a"} == {
                name for name in names if name[0] == "b"
            }
            assert len(names) == 2 * made.entry
    finally:
        (tmp_path / "stop").touch()
        written = writer.communicate(timeout=60)[0]
    assert entries == sorted(entries)
    assert int(written) >= entries[-1]


def test_a_copy_never_takes_the_place_of_another_file_unless_told(
    settings: Settings, house: Builder, tmp_path: Path
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    with pytest.raises(ExistsError):
        backup.backup(settings, file)
    assert file.read_text() == "mine"
    assert sorted(tmp_path.glob(".*")) == []
    with pytest.raises(DirectoryError, match="cannot be used"):
        backup.backup(settings, tmp_path / "missing" / "copy.db")


@pytest.mark.parametrize("what", ["text", "empty", "cut", "foreign", "newer"])
def test_what_is_no_sound_copy_is_refused_and_nothing_happens(
    settings: Settings, house: Builder, tmp_path: Path, what: str
) -> None:
    file = backup.backup(settings, tmp_path / "copy.db").file
    data = file.read_bytes()
    if what == "newer":
        with closing(sqlite3.connect(file)) as copy:
            copy.execute("UPDATE alembic_version SET version_num = '9999'")
            copy.commit()
    else:
        others = {"text": b"no database" * 100, "empty": b"", "cut": data[: len(data) // 2]}
        file.write_bytes(others.get(what, b""))
        if what == "foreign":
            with closing(sqlite3.connect(file)) as copy:
                copy.execute("CREATE TABLE t (x)")
    before = truth(settings)
    with pytest.raises(DirectoryError) as caught:
        backup.restore(settings, file)
    assert "\n" not in str(caught.value)
    assert truth(settings) == before
    with pytest.raises(NotFoundError):
        backup.restore(settings, tmp_path / "none.db")


def test_a_copy_of_an_older_version_is_upgraded(settings: Settings, house: Builder, tmp_path: Path) -> None:
    other = settings_under(tmp_path / "other")
    initialise(other)
    with open_builder(other) as old:
        old.domain("old.example")
        old.user("zoe@old.example")
        upgrade(old.directory.engine, "0001")
    assert other.directory.file is not None
    done = put_back(settings, other.directory.file)
    assert (done.backup.revision, done.upgraded_to) == ("0001", "0002")
    with open_builder(settings) as again:
        again.user("new@old.example")


def test_a_restore_makes_a_truth_where_there_was_none(
    house: Builder, settings: Settings, tmp_path: Path
) -> None:
    file = backup.backup(settings, tmp_path / "copy.db").file
    expected = truth(settings)
    assert settings.directory.file is not None
    settings.directory.file.unlink()
    done = put_back(settings, file)
    assert done.before is None
    assert truth(settings) == expected
    assert settings.directory.file.stat().st_mode & 0o777 == 0o600


def test_what_a_restore_replaced_goes_in_time_but_for_the_newest(settings: Settings, house: Builder) -> None:
    folder = replaced.folder_of(settings)
    new = replaced.new_file(settings, "restore")
    old = [
        folder / f"before-{what}-20200101T00000000000{n}Z.db" for n, what in enumerate(("copy", "restore"))
    ]
    names = ("before-restore-20209999T000000000000Z.db", "mine.db", "before-move-20200101T000000000000Z.db")
    others = [folder / name for name in names]
    (folder / "before-copy-20200101T000000000009Z.db").symlink_to(folder / "mine.db")
    (folder / "before-copy-20200101T000000000008Z.db").mkdir()
    for file in (*old, *others):
        file.touch()
    present = set(folder.iterdir())
    assert replaced.forget(settings) == old[:1]  # the newest is as old
    assert set(folder.iterdir()) == present - {old[0]}
    new.touch()
    assert replaced.forget(settings, [old[1]]) == []
    kept_long = replace(settings, directory=replace(settings.directory, replaced_days=10**9))
    assert replaced.forget(kept_long) == []
    assert replaced.forget(settings) == old[1:]
    assert set(folder.iterdir()) == present - set(old) | {new}
    at_once = replace(settings, directory=replace(settings.directory, replaced_days=0))
    newer = replaced.new_file(settings, "copy")
    newer.touch()
    assert replaced.forget(at_once) == [new]
    assert newer.exists()
