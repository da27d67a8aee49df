"""The very queries that Postfix and Dovecot run, with keys from outside, against published files."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postmaster.directory import postgresql
from postmaster.directory.migrate import initialise
from postmaster.dovecot.configuration import Wish, files
from postmaster.postfix import maps
from postmaster.served import Database
from postmaster.settings import ServerSettings, Settings
from tests.tools.building import Builder, open_builder

HOSTILE = st.text(
    st.sampled_from("amy+'\"\\%;-@./()*_ |&é\x01\x1b\x7f[]{}$#0ABCD\u202e"), max_size=40
) | st.sampled_from(
    [
        "' OR '1'='1",
        "amy@example.org' UNION SELECT password FROM account --",
        "'; DROP TABLE address; --",
        "%s%u%d",
        "%%",
        "amy@example.org\\'",
        "[red]amy[/red]@example.org",
        "\x1b[2J@example.org",
    ]
)


def doubled(text: str) -> str:
    """How dict_sqlite quotes (sqlite3_mprintf's %q)."""
    return text.replace("'", "''")


def expand(query: str, key: str, quote: Callable[[str], str] = doubled) -> str | None:
    """What Postfix makes of a query and a key (db_common.c): None where it asks nothing."""
    local, at, domain = key.rpartition("@")
    if not at:
        local, domain = key, ""
    parts = {"s": key, "u": local if at else key, "d": domain}
    if ("%d" in query and not domain) or ("%u" in query and at and not local):
        return None
    return re.sub(r"%([sud])", lambda m: quote(parts[m[1]]), query)


def built(make: Builder) -> Builder:
    make.domain("example.org")
    make.domain("example.net", "example.org")
    for name in ("amy", "bob", "o'neil"):
        make.user(f"{name}@example.org")
    make.alias("team@example.org", "amy@example.org", "x@elsewhere.test")
    make.alias("@example.org", "amy@example.org")
    make.switch("bob@example.org", receive=False)
    make.app_password("amy@example.org", "phone")
    make.grant("bob@example.org", "team@example.org")
    return make


@pytest.fixture
def house(make: Builder) -> Builder:
    return built(make)


def queries(source: Path | Database = Path("/l/dovecot.db")) -> list[tuple[str, str, str]]:
    """(file, name, query with a harmless key) of everything that a server asks, of files or of PostgreSQL."""
    in_files = isinstance(source, Path)
    texts = {one.name: one.query if in_files else one.query_in_postgresql for one in maps.MAPS}
    found = [("postfix", name, str(expand(query, "amy+tag@example.org"))) for name, query in texts.items()]
    found += [
        ("postfix", name + " catch-all", query)
        for name, text in texts.items()
        if (query := expand(text, "@example.org")) is not None
    ]
    wish = Wish(
        version=(2, 3),
        config=Path("/etc/dovecot/dovecot.conf"),
        source=source,
        queue_directory=Path("/spool"),
        server=ServerSettings(),
        mail_root=Path("/mail"),
        mail_user="mail",
        mail_group="mail",
        mail_uid=8,
        certificate=Path("/c"),
        key=Path("/k"),
        postmaster="",
        hostname="",
    )
    for version in ((2, 3), (2, 4)):
        text = "".join(files(replace(wish, version=version)).values())
        for line in re.findall(r"^\s*(?:\w*query) = (SELECT .*)$", text, re.M):
            query = re.sub(r"%\{user \| lower\}|%u", "amy@example.org", line)
            query = re.sub(r"%\{protocol\}|%s", "imap", query)
            found.append(("dovecot", f"dovecot {version[1]}", query))
    return found


def test_every_query_of_the_servers_is_here() -> None:
    assert len(queries()) >= 8 + 1 + 8


@pytest.mark.sqlite_only
@pytest.mark.parametrize(("file", "name", "query"), queries())
def test_no_query_of_a_server_scans(
    house: Builder, settings: Settings, file: str, name: str, query: str
) -> None:
    with closing(sqlite3.connect(settings.lookups.directory / f"{file}.db")) as connection:
        connection.execute(query).fetchall()
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert plan
    # A constant row is no scan of a table.
    assert [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step] == []


@given(HOSTILE)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_hostile_key_is_a_key_and_nothing_more(house: Builder, settings: Settings, key: str) -> None:
    known = {"amy", "bob", "o'neil", "team"}
    key = key.lower()  # dict_sqlite folds keys
    with closing(sqlite3.connect(settings.lookups.directory / "postfix.db")) as connection:
        for one in maps.MAPS:
            query = expand(one.query, key)
            if query is None or "\0" in query:
                continue
            rows = connection.execute(query).fetchall()
            local, at, domain = key.rpartition("@")
            if domain not in ("example.org", "example.net") or (at and not local):
                assert rows == [] or (one is maps.CATCH_ALLS and key == "@example.org")
            elif one in (maps.MAILBOXES, maps.CLOSED_RECIPIENTS):
                assert rows == [] or local in known
            elif one in (maps.ALIASES, maps.SENDER_OWNERS):
                assert rows == [] or local.split("+", 1)[0] in known


Answer = Callable[[maps.Map, str], list[Any]]


@pytest.fixture
def answer(settings: Settings) -> Answer:
    def ask(one: maps.Map, key: str) -> list[Any]:
        query = expand(one.query, key)
        if query is None:
            return []
        with closing(sqlite3.connect(settings.lookups.directory / "postfix.db")) as connection:
            return [row[0] for row in connection.execute(query)]

    return ask


def test_extensions_go_along_to_targets_here_alone(house: Builder, answer: Answer) -> None:
    assert answer(maps.ALIASES, "team+a+b@example.org") == ["amy+a+b@example.org", "x@elsewhere.test"]
    assert answer(maps.ALIASES, "team@example.org") == ["amy@example.org", "x@elsewhere.test"]
    assert answer(maps.ALIASES, "team+@example.net") == ["team+@example.org"]
    assert answer(maps.ALIASES, "+team@example.org") == []


def test_a_quote_in_a_name_is_found(house: Builder, answer: Answer) -> None:
    assert answer(maps.MAILBOXES, "o'neil@example.org") == ["o'neil@example.org"]
    assert answer(maps.ALIASES, "o'neil+tag@example.org") == ["o'neil+tag@example.org"]


def test_a_catch_all_answers_for_the_domain_key_alone(house: Builder, answer: Answer) -> None:
    assert answer(maps.CATCH_ALLS, "@example.org") == ["amy@example.org"]
    assert answer(maps.CATCH_ALLS, "bob@example.org") == []
    assert answer(maps.CATCH_ALLS, "@example.net") == []


SERVER = Database((("127.0.0.1", 5432),), "mail", "postfix", "")


@pytest.fixture
def queried(on_postgresql: Settings) -> Iterator[tuple[Settings, psycopg.Connection]]:
    """The house published to files and to the schemas of one PostgreSQL, and a connection to that."""
    initialise(replace(on_postgresql, lookups=replace(on_postgresql.lookups, source="database")))
    initialise(on_postgresql)
    with open_builder(on_postgresql) as make:
        built(make)
    with psycopg.connect(**postgresql.connection_parameters(on_postgresql), autocommit=True) as server:
        yield on_postgresql, server


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """Steps of a plan that read a whole table or a whole index."""
    step = plan["Node Type"]
    if step == "Seq Scan" or (step.startswith(("Index", "Bitmap Index")) and "Index Cond" not in plan):
        yield f"{step} on {plan.get('Relation Name')} {plan.get('Index Name')}"
    for inner in plan.get("Plans", ()):
        yield from scans(inner)


def test_no_query_of_a_server_scans_in_postgresql(queried: tuple[Settings, psycopg.Connection]) -> None:
    _, server = queried
    # The house is so small that to read all of it is the cheapest plan: what is left has no other.
    for way in ("seqscan", "hashjoin", "mergejoin"):
        server.execute(f"SET enable_{way} = off".encode())
    asked = queries(SERVER)
    assert len(asked) == len(queries())
    found = {}
    for _, name, query in asked:
        server.execute(query.encode()).fetchall()
        row = server.execute(b"EXPLAIN (FORMAT JSON) " + query.encode()).fetchone()
        assert row is not None
        found[name, query] = list(scans(row[0][0]["Plan"]))
    assert {query: steps for query, steps in found.items() if steps} == {}
    row = server.execute("EXPLAIN (FORMAT JSON) SELECT count(*) FROM postfix.target").fetchone()
    assert row is not None
    assert list(scans(row[0][0]["Plan"])), "a scan is seen as one"


def test_dovecot_gets_the_same_rows_from_postgresql(queried: tuple[Settings, psycopg.Connection]) -> None:
    settings, server = queried
    path = settings.lookups.directory / "dovecot.db"
    pairs = [
        (ours, theirs)
        for (file, _, ours), (_, _, theirs) in zip(queries(), queries(SERVER), strict=True)
        if file == "dovecot"
    ]
    answered = 0
    with closing(sqlite3.connect(path)) as connection:
        for ours, theirs in pairs:
            for name in ("amy", "bob", "o''neil", "nobody"):
                told, known = (text.replace("amy@", f"{name}@") for text in (theirs, ours))
                rows = sorted(tuple(row) for row in server.execute(told.encode()).fetchall())
                assert rows == sorted(connection.execute(known).fetchall()), told
                answered += bool(rows)
    assert answered >= len(pairs)


@given(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["amy", "bob", "team", "o'neil", ""]),
        HOSTILE,
        st.sampled_from(["", "@example.org", "@example.net", "@elsewhere.test"]),
    )
)
@example("amy@example.org")
@example("o'neil+tag@example.org")
@example("team+a+b@example.net")
@example("@example.org")
@example("example.net")
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgresql_answers_every_key_as_the_file_does(
    queried: tuple[Settings, psycopg.Connection], key: str
) -> None:
    settings, server = queried
    key = key.lower()
    escaping = psycopg.pq.Escaping(server.pgconn)  # PQescapeStringConn, as dict_pgsql has it

    def quote(text: str) -> str:
        return bytes(escaping.escape_string(text.encode())).decode()

    with closing(sqlite3.connect(settings.lookups.directory / "postfix.db")) as connection:
        for one in maps.MAPS:
            ours, theirs = expand(one.query, key), expand(one.query_in_postgresql, key, quote)
            assert (ours is None) == (theirs is None)
            if ours is None or theirs is None or "\0" in key:
                continue
            rows = [row[0] for row in server.execute(theirs.encode()).fetchall()]
            assert sorted(rows) == sorted(row[0] for row in connection.execute(ours)), (one.name, key)
