"""What is PostgreSQL's own: one writer at a time, plain errors, where the password comes from."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from postmaster.address import parse_address
from postmaster.directory import domains, engines, postgresql, quick, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.migrate import initialise
from postmaster.directory.schema import account, journal
from postmaster.directory.snapshot import Snapshot, take
from postmaster.errors import DirectoryError
from postmaster.routing.check.lookups import check as check_lookups
from postmaster.settings import DirectorySettings, Settings, as_toml, load_settings
from tests.tools.building import HASH, Builder, D, open_builder, settings_under
from tests.tools.postgresql import Cluster


@pytest.fixture
def settings(on_postgresql: Settings) -> Settings:
    return on_postgresql


def elsewhere(settings: Settings, url: str, password_file: str = "") -> Settings:
    return replace(settings, directory=DirectorySettings(url, password_file))


def refusal(settings: Settings) -> DirectoryError:
    with pytest.raises(DirectoryError) as caught, open_directory(settings):
        pass
    assert "\n" not in caught.value.message
    return caught.value


def test_changes_at_once_wait_for_one_another(settings: Settings, tmp_path: Path) -> None:
    with open_builder(settings) as make:
        make.domain("example.org")
    file = tmp_path / "postmaster.toml"
    file.write_text(as_toml(settings))
    start = [sys.executable, "-m", "postmaster", "--config", str(file), "user", "add", "--hash-stdin"]
    running = [
        subprocess.Popen(
            [*start, f"amy{n}@example.org"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(6)
    ]
    said = [process.communicate(HASH, timeout=100)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 6, said
    with open_directory(settings) as directory, directory.read() as reading:
        assert len(reading.execute(select(account)).all()) == 6
        assert len(reading.execute(select(journal)).all()) == 7


def test_a_change_sees_what_the_one_before_it_did(settings: Settings) -> None:
    """Its snapshot is taken after the lock: two changes that decide on the same row cannot both win."""
    began = threading.Event()
    told: list[str] = []

    def second() -> None:
        began.wait(30)
        with open_directory(settings, publish=False) as directory:
            try:
                with directory.change() as change:
                    domains.add(change, D("example.org"), None)
            except Exception as error:
                told.append(type(error).__name__)

    thread = threading.Thread(target=second)
    thread.start()
    with open_directory(settings) as directory, directory.change() as change:
        domains.add(change, D("example.org"), None)
        began.set()
        thread.join(1.0)
        assert thread.is_alive()  # it waits for us
    thread.join(60)
    assert told == ["ExistsError"]


def test_readers_do_not_wait_for_a_change(settings: Settings) -> None:
    with open_directory(settings) as directory, directory.change() as change:
        domains.add(change, D("example.org"), None)
        with open_directory(settings, publish=False) as other, other.read() as reading:
            assert reading.execute(select(journal)).all() == []


def test_who_follows_the_journal_is_told_of_each_change(settings: Settings) -> None:
    with psycopg.connect(**postgresql.connection_parameters(settings), autocommit=True) as listening:
        listening.execute(f"LISTEN {postgresql.CHANNEL}")
        with open_builder(settings) as make:
            make.domain("example.org")
        assert len(list(listening.notifies(timeout=5, stop_after=1))) == 1


def test_a_lock_that_stays_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_TIMEOUT", 0.2)
    with psycopg.connect(**postgresql.connection_parameters(settings)) as other:
        other.execute("LOCK TABLE journal IN SHARE ROW EXCLUSIVE MODE")
        with (
            pytest.raises(DirectoryError, match="kept the directory locked"),
            open_directory(settings) as directory,
            directory.change() as change,
        ):
            users.show(change.connection, parse_address("amy@example.org"))


def test_each_way_of_not_being_reached_has_its_line(settings: Settings, cluster: Cluster) -> None:
    closed = refusal(elsewhere(settings, "postgresql://amy@127.0.0.1:1/postmaster"))
    assert "refused" in closed.message
    assert closed.hint == "is PostgreSQL running there?"
    missing = refusal(elsewhere(settings, cluster.url("nowhere")))
    assert 'database "nowhere" does not exist' in missing.message
    assert (missing.hint or "").startswith("make it: createdb")
    unknown = refusal(elsewhere(settings, cluster.url("postgres", "nobody_here")))
    assert "nobody_here" in unknown.message
    assert "is not set up" in refusal(elsewhere(settings, cluster.url("postgres"))).message
    assert "names no database" in refusal(elsewhere(settings, "postgresql://h")).message


def test_a_password_is_refused_where_others_may_read_it(
    settings: Settings, tmp_path: Path, cluster: Cluster
) -> None:
    file = tmp_path / "postmaster.toml"
    file.write_text(
        f'[directory]\nurl = "postgresql://postgres:geheim-42@127.0.0.1:{cluster.port}/postgres"\n'
    )
    file.chmod(0o644)
    told = refusal(load_settings(file, {}))
    assert "others may read it" in told.message
    assert "geheim" not in str(told) + str(told.hint)
    assert "geheim" not in engines.address_of(load_settings(file, {}))
    file.chmod(0o600)
    assert postgresql.connection_parameters(load_settings(file, {}))["password"] == "geheim-42"


def test_a_password_comes_from_a_file_of_its_own(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("geheim-43\n")
    file.chmod(0o600)
    apart = elsewhere(settings, settings.directory.url, password_file=str(file))
    assert postgresql.connection_parameters(apart)["password"] == "geheim-43"
    file.chmod(0o640)
    assert "others may read" in refusal(apart).message
    file.unlink()
    assert "cannot be read: No such file" in refusal(apart).message


def test_completion_from_a_server_that_is_away_has_nothing(settings: Settings) -> None:
    assert quick.names(elsewhere(settings, "postgresql://amy@127.0.0.1:1/postmaster"), "user") == []
    assert quick.newest_entry(settings) == 0


def test_init_names_the_database_and_never_its_password(cluster: Cluster, tmp_path: Path) -> None:
    cluster.create("fresh")
    try:
        url = cluster.url("fresh").replace("postgres@", "postgres:geheim-44@")
        said = initialise(replace(settings_under(tmp_path), directory=DirectorySettings(url)))
        assert any("made the directory postgresql://postgres:***@127.0.0.1" in line for line in said)
        assert "geheim" not in " ".join(said)
    finally:
        cluster.drop("fresh")


def test_schemas_are_checked_as_files_are_and_a_later_one_is_none_that_is_behind(settings: Settings) -> None:
    queried = replace(settings, lookups=replace(settings.lookups, source="database"))
    initialise(queried)
    server = postgresql.connection_parameters(settings)

    def found(directory: Directory, moment: Snapshot) -> list[tuple[str, str]]:
        return sorted((one.code, one.object) for one in check_lookups(moment, directory))

    with open_directory(queried) as directory:
        make = Builder(directory)
        make.domain("example.org")
        make.user("amy@example.org")
        with directory.read() as reading:
            moment = take(reading)
        assert found(directory, moment) == []
        with psycopg.connect(**server) as other:
            other.execute("UPDATE dovecot.account SET mail_id = 'x'")
            other.execute("DELETE FROM postfix.address")
        differ = [("lookups_differ", "schema dovecot"), ("lookups_differ", "schema postfix")]
        assert found(directory, moment) == differ
        make.user("bob@example.org")
        assert found(directory, moment) == []  # published from a later moment than was read
        with directory.read() as reading:
            moment = take(reading)
        with psycopg.connect(**server) as other:
            other.execute("UPDATE dovecot.published SET entry = entry - 1")
            other.execute("DROP SCHEMA postfix CASCADE")
        assert found(directory, moment) == [
            ("lookups_behind", "schema dovecot"),
            ("lookups_missing", "schema postfix"),
        ]
