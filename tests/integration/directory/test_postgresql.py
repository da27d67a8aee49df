"""What is PostgreSQL's own: one writer at a time, plain errors, where the password comes from."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from postmaster.address import parse_address
from postmaster.cli.main import main
from postmaster.directory import domains, engines, follow, postgresql, quick, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.migrate import initialise
from postmaster.directory.publish import Published
from postmaster.directory.schema import account, journal
from postmaster.directory.snapshot import Snapshot, take
from postmaster.errors import DirectoryError
from postmaster.routing.check.lookups import check as check_lookups
from postmaster.settings import DirectorySettings, Settings, as_toml, load_settings
from tests.tools.building import HASH, Builder, D, open_builder, settings_under
from tests.tools.postgresql import Cluster, standby_of


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
    both = refusal(elsewhere(settings, "postgresql://amy@127.0.0.1:1,127.0.0.1:2/postmaster"))
    assert "port 1 failed" in both.message
    assert "port 2 failed" in both.message
    assert both.hint == closed.hint
    wrong = refusal(elsewhere(settings, "postgresql://amy:geheim#x@127.0.0.1/postmaster"))
    assert "not the URL of a PostgreSQL" in wrong.message
    assert "geheim" not in wrong.message + (wrong.hint or "")
    option = refusal(elsewhere(settings, cluster.url("postgres") + "?sslmode=banana"))
    assert "banana" in option.message
    assert "parameters" in (option.hint or "")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  the database system is starting up", "try again in a moment"),
        ("server closed the connection unexpectedly\n\tThis probably means", "is PostgreSQL running"),
        ("consuming input failed: SSL error: unexpected eof while reading", "is PostgreSQL running"),
        ("SSL error: certificate verify failed", "sslrootcert"),
        ("cannot execute LOCK TABLE during recovery", "standby"),
        ("something else", None),
    ],
)
def test_what_a_server_says_has_a_hint(said: str, hint: str | None) -> None:
    text = postgresql.complaint(psycopg.OperationalError(said))
    assert "\n" not in text
    assert not text.startswith("consuming")
    told = postgresql.hint(text, None)
    assert told is None if hint is None else hint in (told or "")


def test_the_first_host_that_is_away_is_passed_over(settings: Settings, cluster: Cluster) -> None:
    url = settings.directory.url.replace("@127.0.0.1", "@127.0.0.1:1,127.0.0.1")
    with open_builder(elsewhere(settings, url)) as make:
        make.domain("example.org")
    assert quick.all_domains(elsewhere(settings, url)) == ["example.org"]


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
    assert quick.names(apart, "user") == []


def test_completion_from_a_server_that_is_away_has_nothing(settings: Settings) -> None:
    assert quick.names(elsewhere(settings, "postgresql://amy@127.0.0.1:1/postmaster"), "user") == []
    assert quick.newest_entry(settings) == 0


def test_init_names_the_database_and_never_its_password(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.create("fresh")
    try:
        url = cluster.url("fresh").replace("postgres@", "postgres:geheim-44@")
        said = initialise(replace(settings_under(tmp_path), directory=DirectorySettings(url)))
        assert any("made the directory postgresql://postgres:***@127.0.0.1" in line for line in said)
        assert "geheim" not in " ".join(said)
        file = tmp_path / "postmaster.toml"
        file.write_text(
            f"[directory]\nurl = '{url}'\n[state]\ndirectory = '{tmp_path}'\n"
            f"[lookups]\ndirectory = '{tmp_path}/lookups'\n"
        )
        file.chmod(0o600)
        assert main(["--config", str(file), "init", "-o", "json"]) == 0
        told = capsys.readouterr().out
        assert "geheim" not in told
        assert '"postgresql://postgres:***@' in told
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


def test_a_standby_is_read_and_followed_and_says_that_it_takes_no_change(
    settings: Settings, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(replace(settings, lookups=replace(settings.lookups, source="database")))
    with open_builder(settings) as make:
        make.domain("example.org")
    with standby_of(cluster) as standby:
        url = settings.directory.url.replace(str(cluster.port), str(standby.port))
        (tmp_path / "other").mkdir()
        reading = replace(settings_under(tmp_path / "other"), directory=DirectorySettings(url))
        initialise(reading)  # files of its own alone: the schemas are the primary's
        with (
            pytest.raises(DirectoryError, match="recovery") as caught,
            open_directory(reading) as directory,
            directory.change() as change,
        ):
            domains.add(change, D("new.example"), None)
        assert "target_session_attrs=read-write" in (caught.value.hint or "")
        with open_builder(settings) as make:
            make.domain("followed.example")
        monkeypatch.setattr(follow, "POLL_STANDBY", 0.1)
        told: list[object] = []
        begun = time.monotonic()

        def wanted() -> bool:
            assert time.monotonic() - begun < 60, told
            return not told

        follow.follow(reading, told.append, wanted=wanted)
        assert isinstance(told[0], Published)
        with closing(sqlite3.connect(reading.lookups.directory / "postfix.db")) as lookups:
            found = lookups.execute("SELECT domain FROM virtual_mailbox_domain ORDER BY 1").fetchall()
        assert found == [("example.org",), ("followed.example",)]
        # All of them in one URL: a change finds the one that takes it.
        every = url.replace("127.0.0.1", f"127.0.0.1:1,127.0.0.1:{standby.port},127.0.0.1")
        every = every.replace(f"127.0.0.1:{standby.port}/", f"127.0.0.1:{cluster.port}/")
        with open_builder(elsewhere(settings, f"{every}?target_session_attrs=read-write")) as make:
            make.domain("other.example")
