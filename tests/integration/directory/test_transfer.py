"""A directory moves between SQLite and PostgreSQL: nothing is lost, and nothing half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import insert

from postmaster.directory import backup, engines, postgresql, schema, transfer
from postmaster.directory.database import open_directory
from postmaster.directory.migrate import initialise, upgrade
from postmaster.directory.publish import is_behind
from postmaster.errors import DirectoryError, ExistsError, PostmasterError, RuleError, UsageError
from postmaster.settings import DirectorySettings, Settings
from tests.tools.building import open_builder, settings_under
from tests.tools.moving import content, house
from tests.tools.postgresql import Cluster

_numbers = count(1)

#: What a directory may be asked to remember: anything but NUL, which PostgreSQL has no text with.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@pytest.fixture
def settings(on_postgresql: Settings) -> Settings:
    """A directory in PostgreSQL; the one in a file beside it is made where it is needed."""
    return on_postgresql


@pytest.fixture
def empty(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str], Settings]]:
    """Settings for a directory that is not set up, in `sqlite` or `postgresql`."""
    made: list[str] = []

    def one(database: str) -> Settings:
        name = f"copy{next(_numbers)}"
        under = settings_under(tmp_path / name)
        (tmp_path / name).mkdir()
        if database == "sqlite":
            return under
        cluster.create(name)
        made.append(name)
        return replace(under, directory=DirectorySettings(cluster.url(name)))

    yield one
    for name in made:
        cluster.drop(name)


@pytest.mark.parametrize("first", ["sqlite", "postgresql"])
@pytest.mark.parametrize("second", ["sqlite", "postgresql"])
def test_there_and_back_nothing_is_lost(empty: Callable[[str], Settings], first: str, second: str) -> None:
    own, other, back = house(empty(first)), empty(second), empty(first)
    there = transfer.copy(own, other)
    again = transfer.copy(other, back)
    assert there == again
    assert set(there.rows) == set(schema.metadata.tables)
    assert all(there.rows.values()), "the house has something in every table"
    assert content(back) == content(own)
    initialise(back)
    with open_builder(own) as make, open_builder(back) as twin:
        made = [one.user("new@example.org").id for one in (make, twin)]
    assert made[0] == made[1]  # and so above what is gone


@given(
    texts=st.lists(TEXT, min_size=1, max_size=6),
    numbers=st.lists(st.integers(0, 2**62), min_size=1, max_size=3),
    moments=st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=3),
    gaps=st.lists(st.integers(1, 10**12), min_size=8, max_size=8),
    flags=st.lists(st.booleans(), min_size=1, max_size=4),
)
@hypothesis_settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_row_says_comes_back_from_postgresql(
    empty: Callable[[str], Settings],
    cluster: Cluster,
    texts: list[str],
    numbers: list[int],
    moments: list[datetime],
    gaps: list[int],
    flags: list[bool],
) -> None:
    own, back = empty("sqlite"), empty("sqlite")
    name = f"any{next(_numbers)}"
    cluster.create(name, "template")
    other = replace(own, directory=DirectorySettings(cluster.url(name)))
    initialise(own)
    some = count()

    def pick(of: list[Any]) -> Any:
        return of[next(some) % len(of)]

    with open_directory(own, publish=False) as directory, directory.change() as change:
        write = change.connection.execute
        first, last = sorted(gaps[:2])
        write(
            insert(schema.domain),
            # A named one after the one that names it.
            [
                {"id": last + 1, "name": "b" + pick(texts), "alias_of_id": None, "created_at": pick(moments)},
                {"id": first, "name": "a", "alias_of_id": last + 1, "created_at": pick(moments)},
            ],
        )
        base = gaps[2]
        for n, one in enumerate(dict.fromkeys(texts)):
            row = {"domain_id": last + 1, "local_part": one, "created_at": pick(moments)}
            kind = "user" if one and pick(flags) else "alias"
            until = pick([None, *moments])
            write(insert(schema.address), {"id": base + n, "kind": kind, "until": until, **row})
            if kind == "user":
                switches = ("login", "imap", "pop3", "send", "receive", "keep_copy")
                account = {key: pick(flags) for key in switches}
                account |= {"mail_id": f"{n}{pick(texts)}", "name": pick(texts), "password": pick(texts)}
                account |= {"quota": pick([None, *numbers]), "locked_at": pick([None, *moments])}
                write(insert(schema.account), {"id": base + n, "forward_until": None, **account})
        entry = {"made_at": pick(moments), "actor": pick(texts), "command": pick(texts)}
        write(insert(schema.journal), {"id": gaps[3], **entry, "reason": pick([None, *texts])})
        row = {"entry_id": gaps[3], "table_name": pick(texts), "row_id": gaps[4], "has_hash": pick(flags)}
        states = {"before": pick([None, *texts]), "after": pick([None, *texts])}
        write(insert(schema.journal_row), {**row, "position": 0, **states})
    try:
        transfer.copy(own, other)
        transfer.copy(other, back)
        assert content(back) == content(own)
    finally:
        cluster.drop(name)


def test_a_target_with_rows_is_replaced_only_when_told_and_kept(
    settings: Settings, empty: Callable[[str], Settings]
) -> None:
    own = house(empty("sqlite"))
    with open_builder(settings) as make:
        make.domain("old.example")
        make.user("zoe@old.example")
    was = content(settings)
    with pytest.raises(ExistsError, match="holds a directory already"):
        transfer.copy(own, settings)
    assert content(settings) == was
    done = transfer.copy(own, settings, replace_rows=True)
    assert done.before is not None
    assert done.before.stat().st_mode & 0o777 == 0o600
    assert content(settings) != was
    kept = replace(settings, directory=DirectorySettings(f"sqlite:///{done.before}"))
    transfer.copy(kept, settings, replace_rows=True)
    assert content(settings) == was


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_no_directory_of_this_version_is_left_alone(
    empty: Callable[[str], Settings], cluster: Cluster, kind: str
) -> None:
    own, old, foreign = house(empty("sqlite")), empty(kind), empty(kind)
    initialise(old)
    engine = engines.make_engine(old)
    upgrade(engine, "0001")
    engine.dispose()
    for source, target in ((own, old), (old, own)):
        with pytest.raises(DirectoryError, match="of version 0001"):
            transfer.copy(source, target, replace_rows=True)
    engine = engines.make_engine(foreign, create=True)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("CREATE TABLE theirs (x INTEGER)")
    engine.dispose()
    with pytest.raises(DirectoryError, match="they are not a directory's"):
        transfer.copy(own, foreign, replace_rows=True)
    with pytest.raises(DirectoryError, match=r"not set up|they are not"):
        transfer.copy(foreign, own, replace_rows=True)


def test_one_database_under_two_names_is_known(
    settings: Settings, empty: Callable[[str], Settings], tmp_path: Path
) -> None:
    own = house(empty("sqlite"))
    assert own.directory.file is not None
    (tmp_path / "link.db").symlink_to(own.directory.file)
    (tmp_path / "hard.db").hardlink_to(own.directory.file)
    was = content(own), content(settings)
    for name in ("link.db", "hard.db"):
        with pytest.raises(RuleError, match="both are the same database"):
            transfer.copy(own, transfer.named(own, str(tmp_path / name)), replace_rows=True)
    other = settings.directory.url.replace("127.0.0.1", "localhost")
    with pytest.raises(RuleError, match="both are the same database"):
        transfer.copy(settings, transfer.named(settings, other), replace_rows=True)
    assert (content(own), content(settings)) == was


def test_what_does_not_read_as_it_was_written_is_not_kept(
    settings: Settings, empty: Callable[[str], Settings], cluster: Cluster
) -> None:
    own = house(empty("sqlite"))
    with psycopg.connect(**postgresql.connection_parameters(settings), autocommit=True) as server:
        server.execute(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN NEW.reason := NULL; RETURN NEW; END'"
        )
        server.execute("CREATE TRIGGER lose BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION lose()")
    was = content(settings)
    with pytest.raises(DirectoryError, match="the table journal does not read the same"):
        transfer.copy(own, settings)
    assert content(settings) == was


def test_text_that_postgresql_has_not_is_told_and_nothing_is_kept(
    settings: Settings, empty: Callable[[str], Settings]
) -> None:
    own = house(empty("sqlite"))
    assert own.directory.file is not None
    with closing(sqlite3.connect(own.directory.file)) as truth:
        truth.execute("UPDATE account SET name = ? WHERE id = 1", ("a\0b",))
        truth.commit()
    was = content(settings)
    with pytest.raises(DirectoryError, match="NUL") as caught:
        transfer.copy(own, settings)
    assert "\n" not in caught.value.message
    assert content(settings) == was


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_cut_short_leaves_what_was(empty: Callable[[str], Settings], kind: str) -> None:
    own, other = house(empty("sqlite")), house(empty(kind))
    was = content(other)
    heard: list[int] = []
    total = 2 * sum(transfer.copy(own, empty("sqlite"), progress=heard.append).rows.values())
    assert heard == sorted(heard)
    assert heard[-1] == total

    def stop(done: int) -> None:
        if done > total * 3 // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.copy(own, other, replace_rows=True, progress=stop)
    assert content(other) == was


def test_look_ups_go_on_where_they_were_when_the_truth_moves(
    settings: Settings, empty: Callable[[str], Settings]
) -> None:
    own = house(empty("sqlite"))
    other = transfer.named(own, settings.directory.url)
    transfer.copy(own, other)
    with open_directory(other, publish=False) as directory:
        assert not is_behind(other.lookups, directory.read, directory.engine)
    with open_builder(other) as make:
        make.user("new@example.org")
        assert make.directory.publish().entries == 0
    with closing(sqlite3.connect(own.lookups.directory / "postfix.db")) as lookups:
        known = {one for (one,) in lookups.execute("SELECT address FROM virtual_mailbox")}
    assert {"amy@example.org", "new@example.org"} <= known


def test_who_follows_and_who_queries_sees_the_copy(
    settings: Settings, empty: Callable[[str], Settings]
) -> None:
    own = house(empty("sqlite"))
    queried = replace(settings, lookups=replace(settings.lookups, source="database"))
    initialise(queried)
    with psycopg.connect(**postgresql.connection_parameters(settings), autocommit=True) as listening:
        listening.execute(f"LISTEN {postgresql.CHANNEL}")
        transfer.copy(own, settings, replace_rows=True)
        assert len(list(listening.notifies(timeout=5, stop_after=1))) == 1
        transfer.publish_copy(own, settings)
        found = listening.execute("SELECT login FROM dovecot.user_list").fetchall()
    assert {login for (login,) in found} == {f"{name}@example.org" for name in ("amy", "bob", "o'neil")}


def test_a_password_is_taken_from_no_argument_and_given_to_no_other_server(
    settings: Settings, tmp_path: Path
) -> None:
    secret = replace(settings, directory=DirectorySettings("postgresql://amy:geheim@h/d"))
    for url in ("postgresql://u:geheim@h/d", "postgresql://u@h/d?password=geheim"):
        with pytest.raises(UsageError, match="can be read by everybody") as caught:
            transfer.named(settings, url)
        assert "geheim" not in str(caught.value) + str(caught.value.hint)
    assert transfer.named(secret, ".") == secret
    assert transfer.named(secret, "postgresql://amy@h/d") == secret
    other = transfer.named(
        replace(settings, directory=DirectorySettings("postgresql://h/d", "f")), "postgresql://i/d"
    )
    assert other.directory.password_file == ""
    assert transfer.named(secret, "postgresql://i/d", "f").directory.password_file == "f"
    for wrong in ("nonsense", "", "mysql://h/d"):
        with pytest.raises(PostmasterError):
            transfer.look(transfer.named(settings, wrong))


def test_a_url_never_shows_a_password_wherever_it_stands() -> None:
    for url in ("postgresql://u:geheim@h/d", "postgresql://u@h/d?password=geheim&sslpassword=geheim"):
        shown = engines.address_of(Settings(directory=DirectorySettings(url)))
        assert "geheim" not in shown
        assert shown.startswith("postgresql://u")


def test_a_backup_of_a_truth_in_postgresql_is_a_file_and_goes_back(
    empty: Callable[[str], Settings], tmp_path: Path
) -> None:
    own = house(empty("postgresql"))
    was = content(own)
    made = backup.backup(own, tmp_path / "copy.db")
    assert (made.users, made.revision) == (3, schema.REVISION)
    assert made.file.stat().st_mode & 0o777 == 0o600
    with open_builder(own) as make:
        make.user("new@example.org")
    changed = content(own)
    done = backup.restore(own, made.file)
    assert content(own) == was
    assert done.before is not None
    backup.restore(own, done.before)
    assert content(own) == changed
    assert sorted(tmp_path.rglob(".*")) == []
