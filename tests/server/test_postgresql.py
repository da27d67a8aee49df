"""Servers beside a truth in PostgreSQL: they query its views, or keep files that outlive it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from postmaster.directory import lookups
from postmaster.health.checks.directory import run as check_directory
from postmaster.health.finding import Context
from postmaster.lab import lifecycle
from postmaster.lab.layout import POSTMASTER
from postmaster.settings import DirectorySettings, LookupsSettings, Settings, StateSettings, as_toml
from tests.conftest import MARK
from tests.server.conftest import start_lab
from tests.tools.mail import Lab, password_hash
from tests.tools.postgresql import Cluster, running_cluster

DATABASE = "mail"


@pytest.fixture(scope="module")
def cluster(no_process_left_over: None) -> Iterator[Cluster]:
    with running_cluster(MARK) as made:
        for role in ("postfix", "dovecot"):
            made.execute(f"CREATE ROLE {role} LOGIN")
        yield made


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Cluster]:
    cluster.create(DATABASE)
    yield cluster
    cluster.drop(DATABASE)


@pytest.fixture(scope="module")
def house(place: Callable[[], Path]) -> Iterator[Lab]:
    """A lab whose directory moves."""
    started = start_lab(place())
    yield started
    lifecycle.remove(started.root)


def move(lab: Lab, cluster: Cluster, source: str, *, postfix_url: str = "", dovecot_url: str = "") -> None:
    """Give the lab an empty directory in PostgreSQL."""
    settings = lab.settings
    served = replace(settings.lookups, source=source, postfix_url=postfix_url, dovecot_url=dovecot_url)
    moved = replace(settings, directory=DirectorySettings(cluster.url(DATABASE)), lookups=served)
    lab.status.settings_file.write_text(as_toml(moved))
    lab.postmaster("init")
    with lab.change() as make:
        make.domain("lab.test")
        make.user(POSTMASTER, password_hash=password_hash())


def health_of(lab: Lab, settings: Settings | None = None) -> dict[str, str]:
    """Object -> code of what health says of what servers read."""
    rows = check_directory(Context(settings or lab.settings, time.monotonic() + 60))
    wanted = ("schema postfix", "schema dovecot", "lookups", "tables")
    return {row.object: row.code for row in rows if row.object in wanted}


@pytest.mark.timeout(300)
def test_servers_query_the_views(house: Lab, empty: Cluster) -> None:
    # The first host is away, for both servers. Each has its own role.
    places = f"127.0.0.1:1,127.0.0.1:{empty.port}/{DATABASE}?sslmode=prefer"
    postfix, dovecot = (f"postgresql://{role}@{places}" for role in ("postfix", "dovecot"))
    move(house, empty, "database", postfix_url=postfix, dovecot_url=dovecot)
    house.postmaster("setup", "apply", "--yes")
    assert "proxy:pgsql:" in (house.root / "postfix" / "main.cf").read_text()
    assert "sslmode=prefer" in (house.root / "postfix" / "postmaster" / "mailboxes.cf").read_text()
    house.postmaster("domain", "add", "pg.test")
    with house.change() as make:
        make.user("amy@pg.test", password_hash=password_hash())
        make.alias("team@pg.test", "amy@pg.test")
    house.send("team+news@pg.test", "by the views")
    assert len(house.wait_for("amy@pg.test", "by the views")) == 1
    assert house.rcpt("nobody@pg.test")[0] == 550
    explained = json.loads(house.postmaster("address", "explain", "team+news@pg.test", "-o", "json").stdout)
    assert "alias" in [hop["rule"] for hop in explained["hops"]]
    house.postmaster("user", "set", "amy@pg.test", "--no-receive")
    assert house.rcpt("amy@pg.test")[0] == 550
    assert "0 findings" in house.postmaster("setup", "check").stderr
    faults = json.loads(house.postmaster("directory", "check", "-o", "json", expect=4).stdout)
    # A folder may be left of the directory that the lab had before.
    known = {"missing_postmaster", "missing_abuse", "dead_end", "mail_folder_without_user"}
    assert {row["code"] for row in faults} <= known
    assert health_of(house) == {"schema postfix": "ok", "schema dovecot": "ok", "tables": "ok"}
    empty.execute("REVOKE SELECT ON postfix.catch_all FROM postfix", DATABASE)
    empty.execute("UPDATE dovecot.published SET entry = entry - 1", DATABASE)
    found = health_of(house)
    assert found == {
        "schema postfix": "lookups-rights",
        "schema dovecot": "lookups-behind",
        "tables": "ok",
    }
    house.postmaster("init")
    assert set(health_of(house).values()) == {"ok"}
    empty.execute("DROP SCHEMA dovecot CASCADE", DATABASE)
    assert health_of(house)["schema dovecot"] == "lookups-missing"
    house.postmaster("init")
    assert set(health_of(house).values()) == {"ok"}
    away = replace(house.settings, directory=DirectorySettings("postgresql://postgres@127.0.0.1:1/mail"))
    assert health_of(house, away)["lookups"] == "lookups-missing"


def test_a_role_reads_its_own_views_and_nothing_else(house: Lab, empty: Cluster) -> None:
    move(house, empty, "database")

    def refused(role: str, query: str) -> bool:
        with psycopg.connect(empty.url(DATABASE, role)) as connection:
            try:
                connection.execute(query.encode())
            except psycopg.errors.InsufficientPrivilege:
                return True
        return False

    assert not refused("postfix", "SELECT * FROM postfix.virtual_mailbox")
    assert not refused("dovecot", "SELECT * FROM dovecot.passdb")
    # Of everything that there is, but for what every database shows everybody.
    for role, schema in (("postfix", lookups.POSTFIX), ("dovecot", lookups.DOVECOT)):
        own = {f"{role}.{view}" for view in re.findall(r"CREATE VIEW (\w+)", schema.schema)}
        allowed = {
            name
            for name, table, column in empty.execute(
                "SELECT c.oid::regclass::text, has_table_privilege(r.oid, c.oid, 'SELECT'),"
                f" has_any_column_privilege(r.oid, c.oid, 'SELECT') FROM pg_class c, pg_roles r"
                f" WHERE r.rolname = '{role}' AND c.relkind IN ('r', 'v', 'm', 'p')"
                " AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
                DATABASE,
            )
            if table or column
        }
        assert allowed == own
        for way in (
            "COPY public.account TO STDOUT",
            "SET ROLE postgres",
            f"CREATE TABLE {role}.theirs (x INT)",
            "CREATE FUNCTION public.theirs() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT rolpassword FROM pg_authid",
            f"SELECT count(*) FROM {'dovecot' if role == 'postfix' else 'postfix'}.published",
        ):
            assert refused(role, way), way
    # Samples of what is in a column are for those alone who may read it.
    empty.execute("ANALYZE", DATABASE)
    with psycopg.connect(empty.url(DATABASE, "postfix")) as connection:
        sampled = connection.execute("SELECT schemaname FROM pg_stats WHERE attname = 'password'").fetchall()
    assert sampled == []
    assert refused("postfix", "UPDATE postfix.virtual_mailbox_domain SET domain = 'x'")


def test_files_go_on_answering_while_postgresql_is_away(house: Lab, empty: Cluster, tmp_path: Path) -> None:
    move(house, empty, "files")
    house.postmaster("setup", "apply", "--yes")
    house.postmaster("domain", "add", "files.test")
    with house.change() as make:
        make.user("amy@files.test", password_hash=password_hash())
    house.send("amy@files.test", "before")
    house.wait_for("amy@files.test", "before")
    follower = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "postmaster",
            "--config",
            str(house.status.settings_file),
            "publish",
            "--follow",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        listening = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        while not empty.execute(listening):
            assert follower.poll() is None
            time.sleep(0.1)
        empty.stop()
        try:
            house.send("amy@files.test", "meanwhile")
            house.wait_for("amy@files.test", "meanwhile")
            refused = house.postmaster("user", "list", expect=1)
            assert "the directory cannot be used" in refused.stderr
        finally:
            empty.start()
        # From another host, whose look-ups are not these.
        other = replace(
            house.settings,
            state=StateSettings(tmp_path / "other"),
            lookups=LookupsSettings(tmp_path / "other" / "lookups"),
        )
        file = tmp_path / "other.toml"
        file.write_text(as_toml(other))
        there = [sys.executable, "-m", "postmaster", "--config", str(file)]
        subprocess.run([*there, "init"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*there, "user", "add", "bob@files.test", "--hash-stdin"],
            input=password_hash(),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        begun = time.monotonic()
        while house.rcpt("bob@files.test")[0] != 250:
            assert time.monotonic() - begun < 60, "the follower did not publish it"
            assert follower.poll() is None
            time.sleep(0.2)
    finally:
        follower.terminate()
        said = follower.communicate(timeout=30)[1]
    assert "the look-ups go on answering" in said
