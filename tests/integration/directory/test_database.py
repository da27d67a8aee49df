"""Opening the truth, the journal, init, and the migrations."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select

from postmaster.address import parse_address
from postmaster.directory import passwords, quick, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.engines import make_engine
from postmaster.directory.migrate import initialise, migrations_folder, upgrade
from postmaster.directory.schema import JOURNALLED, REVISION, account, domain, journal, journal_row, metadata
from postmaster.errors import DirectoryError
from postmaster.settings import DirectorySettings, Settings
from tests.tools.building import Builder, settings_under


def rows(directory: Directory) -> dict[str, list[Any]]:
    with directory.engine.connect() as connection:
        return {
            name: list(connection.execute(select(table).order_by(*table.primary_key)).all())
            for name, table in metadata.tables.items()
        }


def test_init_says_what_it_did_and_repeating_it_does_nothing(tmp_path: Path) -> None:
    settings = settings_under(tmp_path / "new")
    said = initialise(settings)
    assert [line for line in said if "made the directory" in line]
    assert sum("made the look-ups" in line for line in said) == 2
    again = initialise(settings)
    assert [line for line in again if "is not given to group" not in line] == []


def test_init_puts_rights_right(tmp_path: Path) -> None:
    settings = settings_under(tmp_path)
    initialise(settings)
    (tmp_path / "directory.db").chmod(0o644)
    settings.lookups.directory.chmod(0o777)
    said = initialise(settings)
    assert any("0600" in line for line in said)
    assert (tmp_path / "directory.db").stat().st_mode & 0o777 == 0o600
    assert settings.lookups.directory.stat().st_mode & 0o777 == 0o711


def test_a_missing_truth_is_told_with_the_command_to_run(tmp_path: Path) -> None:
    with (
        pytest.raises(DirectoryError, match="there is no directory") as caught,
        open_directory(settings_under(tmp_path)),
    ):
        pass
    assert caught.value.hint == "run: postmaster init"


@pytest.mark.parametrize(
    ("revision", "hint"), [("0000", "run: postmaster init"), ("9999", "install the newer")]
)
def test_a_truth_of_another_version_is_refused(settings: Settings, revision: str, hint: str) -> None:
    with open_directory(settings) as directory, directory.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    with pytest.raises(DirectoryError, match=f"version {revision}") as caught, open_directory(settings):
        pass
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)


def test_an_empty_or_foreign_file_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = settings_under(tmp_path)
    (tmp_path / "directory.db").touch()
    with pytest.raises(DirectoryError, match="not set up"), open_directory(settings):
        pass
    (tmp_path / "directory.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DirectoryError, match="damaged or not ours") as caught, open_directory(settings):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_names_no_truth_of_ours_is_refused(url: str) -> None:
    with pytest.raises(DirectoryError):
        make_engine(Settings(directory=DirectorySettings(url)))


def test_a_change_is_journalled_with_each_row_before_and_after(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    made = make.user("amy@example.org")
    with directory.change(reason="asked by phone") as change:
        users.update(change, parse_address("amy@example.org"), imap=False, name="Amy")
    with directory.read() as reading:
        entry = reading.execute(select(journal).order_by(journal.c.id.desc())).first()
        assert entry is not None
        assert (entry.actor, entry.command, entry.reason) == ("tester", "test", "asked by phone")
        (row,) = reading.execute(select(journal_row).where(journal_row.c.entry_id == entry.id)).all()
    assert (row.table_name, row.row_id) == ("account", made.id)
    before, after = json.loads(row.before), json.loads(row.after)
    assert {k for k in before if before[k] != after[k]} == {"imap", "name"}


def test_what_changes_nothing_is_not_journalled(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    make.alias("list@example.org", "amy@example.org")
    with directory.read() as reading:
        before = len(reading.execute(select(journal)).all())
    make.alias("list@example.org", "amy@example.org")
    make.switch("amy@example.org", imap=True)
    with directory.read() as reading:
        assert len(reading.execute(select(journal)).all()) == before


def test_many_rows_at_once_are_those_of_each_alone(directory: Directory) -> None:
    """As they are stored, with ids that go on from the last that was given away, though its row is gone."""
    moment = datetime(2026, 5, 4, 3, 2, 1, 7)
    given = [{"name": f"d{n}.example", "alias_of_id": None, "created_at": moment} for n in range(4)]
    with directory.change() as change:
        last = change.insert(domain, given[3])
        change.delete(domain, last)
        alone = change.insert(domain, given[0])
        many = change.insert_many(domain, given[1:3])
        after = change.insert(domain, given[3])
    assert [alone, *many, after] == list(range(last + 1, last + 5))
    with directory.read() as reading:
        stored = reading.exec_driver_sql("SELECT * FROM domain ORDER BY id").all()
        written = (
            reading.execute(select(journal_row.c.after).order_by(journal_row.c.position)).scalars().all()
        )
    expected = [
        (row_id, one["name"], None, stored[0][3])
        for row_id, one in zip([alone, *many, after], given, strict=True)
    ]
    assert [tuple(row) for row in stored] == expected
    assert [json.loads(state)["created_at"] for state in written if state] == [moment.isoformat()] * 5


def test_rows_with_a_column_too_few_or_too_many_are_not_written(directory: Directory) -> None:
    whole = {"name": "d.example", "alias_of_id": None, "created_at": datetime(2026, 5, 4)}
    for row in ({**whole, "other": 1}, {"name": "d.example", "alias_of_id": None}):
        with pytest.raises((AssertionError, KeyError)), directory.change() as change:
            change.insert_many(domain, [row])
    assert rows(directory)["domain"] == []


def test_an_exception_rolls_everything_back(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    before = rows(directory)

    def fail() -> None:
        with directory.change() as change:
            users.add(change, parse_address("amy@example.org"), password_hash="x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert rows(directory) == before


def test_every_row_can_be_told_from_the_journal_alone(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    make.user("bob@example.org")
    make.alias("list@example.org", "amy@example.org", "bob@example.org")
    make.remove("user", "bob@example.org")
    make.forward("amy@example.org", "amy@elsewhere.example", keep_copy=False)
    replayed: dict[tuple[str, int], dict[str, Any]] = {}
    with directory.read() as reading:
        for row in reading.execute(
            select(journal_row).order_by(journal_row.c.entry_id, journal_row.c.position)
        ):
            key = (row.table_name, row.row_id)
            assert replayed.get(key) == (json.loads(row.before) if row.before else None)
            if row.after is None:
                del replayed[key]
            else:
                replayed[key] = json.loads(row.after)
        for name, table in JOURNALLED.items():
            present = {row.id for row in reading.execute(select(table))}
            assert {row_id for kind, row_id in replayed if kind == name} == present


def test_a_password_reaches_the_truth_only_as_a_hash(
    directory: Directory, make: Builder, tmp_path: Path
) -> None:
    make.domain("example.org")
    make.user("amy@example.org", password_hash=passwords.hash_password("korrekt-pferd"))
    with directory.read() as reading:
        stored = reading.execute(select(account.c.password)).scalar_one()
    assert passwords.verify("korrekt-pferd", stored)
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert b"korrekt-pferd" not in path.read_bytes()


def test_migrations_and_tables_agree(directory: Directory) -> None:
    with directory.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_newest_migration_is_the_one_this_code_needs() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == REVISION


def test_migrations_walk_up_and_down_with_data_in_them(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    make.domain("example.net", alias_of="example.org")
    make.user("amy@example.org", quota=1 << 20)
    make.alias("list@example.org", "amy@example.org", "x@elsewhere.example")
    before = rows(directory)
    script = ScriptDirectory(str(migrations_folder()))
    revisions = [revision.revision for revision in script.walk_revisions()]
    for revision in [*revisions[1:], *reversed(revisions[:-1])]:
        upgrade(directory.engine, revision)
    assert rows(directory) == before
    upgrade(directory.engine, "base")
    assert set(inspect(directory.engine).get_table_names()) <= {"alembic_version", "sqlite_sequence"}
    upgrade(directory.engine)


def test_going_back_a_version_opens_nothing_that_was_closed(directory: Directory, make: Builder) -> None:
    make.domain("example.org")
    for name in ("amy", "bob", "carl", "dora"):
        make.user(f"{name}@example.org")
        make.app_password(f"{name}@example.org", name)
        make.grant(f"{name}@example.org", "@example.org")
    make.set("amy@example.org", locked_at=datetime(2026, 6, 1))
    make.set("bob@example.org", password="")
    make.until("carl@example.org", -1)
    make.until("dora@example.org", 3600)
    upgrade(directory.engine, "0001")
    with directory.read() as connection:
        rights = connection.execute(select(account.c.login, account.c.receive).order_by(account.c.id)).all()
    assert rights == [(0, 1), (0, 1), (0, 0), (1, 1)]
    upgrade(directory.engine)
    make.user("eve@example.org")


def test_completion_knows_names_and_never_fails(settings: Settings, make: Builder, tmp_path: Path) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    make.alias("all@example.org", "amy@example.org")
    make.forward("amy@example.org", "x@elsewhere.example")
    assert quick.names(settings, "domain", "ex") == ["example.org"]
    assert quick.names(settings, "user", "A") == ["amy@example.org"]
    assert quick.names(settings, "alias") == ["all@example.org"]
    assert quick.names(settings, "forward") == ["amy@example.org"]
    assert quick.names(settings, "address", "a") == ["all@example.org", "amy@example.org"]
    assert quick.names(settings_under(tmp_path / "missing"), "user") == []


@pytest.mark.sqlite_only
def test_completion_from_a_damaged_truth_has_nothing(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "directory.db").write_bytes(b"junk")
    assert quick.names(settings, "user") == []


@pytest.mark.sqlite_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stop being root")
def test_a_truth_that_may_not_be_opened_says_so(settings: Settings, tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    for parent in tmp_path.parents:
        if parent != Path("/") and parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            with open_directory(settings):
                pass
        except DirectoryError as error:
            status = 0 if "Permission denied" in str(error) and error.hint == "run it as root" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
