"""Publishing: the same end whichever way, nothing lost, rights and side files kept."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postmaster.directory import lookups, probe
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.migrate import initialise
from postmaster.directory.probe import probe_account
from postmaster.directory.publish import publish
from postmaster.errors import DirectoryError, PartialError, PostmasterError
from postmaster.settings import LookupsSettings, Settings
from tests.tools.building import Builder, settings_under


def missing_side_files(settings: Settings) -> list[Path]:
    """Side files that some other program took away: the servers' next open would fail."""
    paths = [file.path(settings.lookups) for file in lookups.FILES]
    return [side for path in paths for side in lookups.side_files(path) if not side.exists()]


def content(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of both files, by table."""
    rows = {}
    for file in lookups.FILES:
        with closing(sqlite3.connect(folder / file.name)) as connection:
            for table in file.tables:
                rows[f"{file.name}:{table}"] = sorted(
                    connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr
                )
    return rows


def assert_as_if_new(directory: Directory, folder: Path) -> None:
    """What was published step by step equals what a new host would be given."""
    shutil.rmtree(folder, ignore_errors=True)
    other = LookupsSettings(folder)
    lookups.prepare_folder(other)
    publish(other, directory.read, directory.engine)
    assert content(directory.settings.lookups.directory) == content(folder)


NAMES = st.sampled_from(["amy", "bob", "carl", "dora", "list", "team", ""])
DOMAINS = st.sampled_from(["a.example", "b.example", "c.example"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["domain", "twin", "user", "alias", "forward", "switch", "remove"]),
        NAMES,
        DOMAINS,
        st.lists(st.tuples(NAMES.filter(bool), DOMAINS), min_size=1, max_size=3),
        st.sampled_from(["login", "send", "receive", "imap"]),
        st.booleans(),
    ),
    max_size=25,
)


def take(make: Builder, step: Any) -> None:
    what, name, domain, others, switch, on = step
    where, targets = f"{name}@{domain}", [f"{n}@{d}" for n, d in others]
    if what == "domain":
        make.domain(domain)
    elif what == "twin":
        make.domain(domain, alias_of=others[0][1])
    elif what == "user" and name:
        make.user(where)
    elif what == "alias":
        make.alias(where, *targets)
    elif what == "forward" and name:
        make.forward(where, *targets, keep_copy=on)
    elif what == "switch" and name:
        make.switch(where, **{switch: on})
    elif what == "remove":
        for kind, given_name in (("forward", where), ("user", where), ("alias", where), ("domain", domain)):
            if kind in ("alias", "domain") or name:
                with suppress(PostmasterError):
                    make.remove(kind, given_name)
                    return


@given(steps=STEPS)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_step_by_step_ends_where_a_new_file_begins(tmp_path_factory: Any, steps: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("law")
    settings = settings_under(folder)
    initialise(settings)
    with open_directory(settings) as directory:
        make = Builder(directory)
        for step in [("domain", "", "a.example", [("", "")], "", True), *steps]:
            with suppress(PostmasterError):
                take(make, step)
        assert_as_if_new(directory, folder / "new")
        with directory.read() as reading:
            assert reading.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    shutil.rmtree(folder)


def test_what_could_not_be_published_is_kept_and_follows_with_the_next_command(
    settings: Settings, directory: Directory, make: Builder, tmp_path: Path
) -> None:
    make.domain("example.org")
    aside = tmp_path / "aside"
    settings.lookups.directory.rename(aside)
    with pytest.raises(PartialError, match="the change is kept") as caught:
        make.user("amy@example.org")
    assert caught.value.exit_status == 3
    assert caught.value.hint == "run: postmaster publish"
    aside.rename(settings.lookups.directory)
    with open_directory(settings) as again:
        assert_as_if_new(again, tmp_path / "new")


def test_two_changes_behind_are_published_at_once_and_repeating_does_nothing(
    settings: Settings, directory: Directory, make: Builder, tmp_path: Path
) -> None:
    make.domain("example.org")
    old = tmp_path / "old"
    publish_folder = LookupsSettings(old)
    lookups.prepare_folder(publish_folder)
    publish(publish_folder, directory.read, directory.engine)
    make.user("amy@example.org")
    make.remove("user", "amy@example.org")
    make.user("amy@example.org")
    done = publish(publish_folder, directory.read, directory.engine)
    assert (done.entries, len(done.files), done.rebuilt) == (3, 2, ())
    assert content(old) == content(settings.lookups.directory)
    assert publish(publish_folder, directory.read, directory.engine).files == ()


@pytest.mark.sqlite_only
def test_a_truth_restored_from_a_backup_is_published_anew(
    settings: Settings, make: Builder, tmp_path: Path
) -> None:
    truth = tmp_path / "directory.db"
    make.domain("example.org")
    backup = tmp_path / "backup.db"
    shutil.copy(truth, backup)
    make.user("amy@example.org")
    make.user("bob@example.org")
    shutil.copy(backup, truth)
    with open_directory(settings) as restored:
        assert content(settings.lookups.directory)["dovecot.db:account"] == []
        # As many entries as before, yet others: the number alone would not tell.
        again = Builder(restored)
        again.user("carl@example.org")
        again.user("dora@example.org")
        assert_as_if_new(restored, tmp_path / "new")


def test_a_damaged_file_is_told_of_and_rebuilt(
    settings: Settings, directory: Directory, make: Builder, tmp_path: Path
) -> None:
    make.domain("example.org")
    make.user("amy@example.org")
    path = settings.lookups.directory / "postfix.db"
    for side in lookups.side_files(path):
        side.unlink()
    path.write_bytes(b"SQLite format 3\x00" + random.Random(1).randbytes(8192))
    with pytest.raises((PartialError, DirectoryError), match=r"postfix\.db"):
        make.user("bob@example.org")
    done = directory.publish(rebuild=True)
    assert path in done.rebuilt
    assert_as_if_new(directory, tmp_path / "new")


def test_files_have_the_rights_that_keep_servers_apart(settings: Settings, make: Builder) -> None:
    make.domain("example.org")
    folder = settings.lookups.directory
    assert folder.stat().st_mode & 0o777 == 0o711
    if settings.directory.file is not None:
        assert settings.directory.file.stat().st_mode & 0o777 == 0o600
    for file in lookups.FILES:
        group = lookups.group_id(file.group(settings.lookups))
        for path in (folder / file.name, *lookups.side_files(folder / file.name)):
            assert path.stat().st_mode & 0o777 == 0o640, path
            assert path.stat().st_uid == os.geteuid()
            if group is not None:
                assert path.stat().st_gid == group


def test_wrong_rights_are_put_right_by_the_next_change(settings: Settings, make: Builder) -> None:
    make.domain("example.org")
    path = settings.lookups.directory / "dovecot.db"
    path.chmod(0o666)
    make.user("amy@example.org")
    assert path.stat().st_mode & 0o777 == 0o640


PROGRAM = """
import sys
from pathlib import Path
from postmaster.settings import load_settings
from postmaster.directory.database import open_directory
from postmaster.directory import domains
from postmaster.address import parse_domain
with open_directory(load_settings(Path(sys.argv[1]))) as directory:
    if len(sys.argv) > 2:
        with directory.change() as change:
            domains.add(change, parse_domain(sys.argv[2]))
"""


def run_alone(settings: Settings, tmp_path: Path, *arguments: str) -> None:
    """Use the directory in a process of its own, which ends."""
    from postmaster.settings import as_toml

    file = tmp_path / "postmaster.toml"
    file.write_text(as_toml(settings))
    subprocess.run([sys.executable, "-c", PROGRAM, str(file), *arguments], check=True)


@pytest.fixture
def apart(tmp_path: Path) -> Settings:
    """Settings whose files no connection of this process holds."""
    folder = tmp_path / "apart"
    folder.mkdir()
    made = settings_under(folder)
    from postmaster.settings import as_toml

    (tmp_path / "init.toml").write_text(as_toml(made))
    program = (
        "import sys; from pathlib import Path; from postmaster.settings import load_settings; "
        "from postmaster.directory.migrate import initialise; initialise(load_settings(Path(sys.argv[1])))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "init.toml")], check=True)
    return made


def test_side_files_stay_after_the_process_that_wrote_ends(apart: Settings, tmp_path: Path) -> None:
    run_alone(apart, tmp_path, "example.org")
    assert missing_side_files(apart) == []


def test_side_files_that_another_program_took_away_are_put_back_by_any_command(
    apart: Settings, tmp_path: Path
) -> None:
    run_alone(apart, tmp_path, "example.org")
    for file in lookups.FILES:
        # As an administrator's shell would: the last to close removes them.
        with closing(sqlite3.connect(apart.lookups.directory / file.name)) as connection:
            connection.execute("SELECT * FROM published").fetchall()
    assert len(missing_side_files(apart)) == 4
    run_alone(apart, tmp_path)
    assert missing_side_files(apart) == []


LOOK = """
import sys
from pathlib import Path
from postmaster.settings import load_settings
from postmaster.directory import lookups, probe
settings = load_settings(Path(sys.argv[1]))
for file in lookups.FILES:
    assert lookups.published_entry(file.path(settings.lookups)) is not None
"""


def test_looking_at_a_file_leaves_its_side_files_alone(apart: Settings, tmp_path: Path) -> None:
    run_alone(apart, tmp_path, "example.org")
    subprocess.run([sys.executable, "-c", LOOK, str(tmp_path / "postmaster.toml")], check=True)
    assert missing_side_files(apart) == []


def test_a_missing_file_is_made_again(settings: Settings, make: Builder, tmp_path: Path) -> None:
    make.domain("example.org")
    path = settings.lookups.directory / "postfix.db"
    for one in (path, *lookups.side_files(path)):
        one.unlink()
    with open_directory(settings) as directory:
        assert_as_if_new(directory, tmp_path / "new")


def test_a_probe_is_in_the_look_ups_alone_and_gone_afterwards(
    settings: Settings, directory: Directory, make: Builder, ask: Any
) -> None:
    make.domain("example.org")
    with probe_account(settings) as probed:
        assert ask("dovecot", "SELECT login FROM user_list") == [probed.address]
        assert ask("postfix", "SELECT address FROM virtual_mailbox") == [probed.address]
        make.user("amy@example.org")
        directory.publish(rebuild=True)
        assert probed.address in ask("dovecot", "SELECT login FROM user_list")
    assert ask("dovecot", "SELECT login FROM user_list") == ["amy@example.org"]
    assert ask("postfix", "SELECT domain FROM virtual_mailbox_domain") == ["example.org"]


def test_a_probe_left_behind_by_a_crash_is_taken_away_by_publishing(
    settings: Settings, make: Builder, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    probing = probe_account(settings)
    probing.__enter__()
    make.domain("example.org")
    assert len(ask("postfix", "SELECT domain FROM virtual_mailbox_domain")) == 2
    monkeypatch.setattr(probe, "LIFETIME", 0.0)
    make.domain("example.net")
    assert ask("postfix", "SELECT domain FROM virtual_mailbox_domain") == ["example.org", "example.net"]
    assert ask("dovecot", "SELECT login FROM user_list") == []
    probing.__exit__(None, None, None)
