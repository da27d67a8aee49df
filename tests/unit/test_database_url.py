"""URLs of a PostgreSQL: read as libpq reads them, shown without secrets, refused without being repeated."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postmaster.database_url import parse
from postmaster.errors import SettingsError
from postmaster.served import Database, database

psycopg = pytest.importorskip("psycopg")


def by_libpq(url: str) -> dict[str, str]:
    return {key: str(value) for key, value in psycopg.conninfo.conninfo_to_dict(url).items() if value}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://amy@db.example.org/mail",
        "postgres://amy@db.example.org:5433/mail",
        "postgresql://amy:p%40ss%2Fw%23rd@db1,db2:5433/mail?sslmode=verify-full",
        "postgresql://amy@db1:1,db2:2/mail?target_session_attrs=read-write",
        "postgresql://amy@[::1]:5433,[fe80::1]/mail",
        "postgresql://amy@%2Frun%2Fpostgresql/mail",
        "postgresql:///mail?host=/run/postgresql&port=5433",
        "postgresql:///mail?host=db1,db2&port=1,2&user=amy&password=geheim",
        "postgresql://db/mail?ssl=true&options=-c%20search_path%3Dx",
        "postgresql:///mail",
        "postgresql://amy@db",
    ],
)
def test_it_is_read_as_libpq_reads_it(url: str) -> None:
    found, known = parse(url), by_libpq(url)
    assert ",".join(host for host, _ in found.hosts) == known.pop("host", "")
    ports = [str(port or "") for _, port in found.hosts]
    assert (",".join(ports) if any(ports) else "") == known.pop("port", "")
    assert (found.user, found.password) == (known.pop("user", ""), known.pop("password", ""))
    assert found.name == known.pop("dbname", "")
    assert dict(found.options) == known
    assert parse(found.shown).hosts == found.hosts


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://amy:geheim#x@db/mail",
        "postgresql://amy:geheim/x@db/mail",
        "postgresql://amy:geheim?x@db/mail",
        "postgresql://amy:geheim@[::1/mail",
        "postgresql://amy:geheim@db:99999/mail",
        "postgresql://amy:geheim@db:0/mail",
        "postgresql://amy:geheim@db,/mail",
        "postgresql://amy:geheim@db/mail?port=1,2",
        "postgresql://amy:geheim@db/mail?nothing",
        "postgresql://amy:geheim@db/ma\nil",
        "mysql://amy:geheim@db/mail",
        "",
    ],
)
def test_what_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(url)
    assert "geheim" not in caught.value.message + (caught.value.hint or "")


@given(st.text(st.sampled_from("postgresql://@:,?&=%[]#a1/.\0\n é"), max_size=60))
@example("postgresql://%")
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"postgresql://{text}"):
        try:
            found = parse(url)
        except SettingsError:
            continue
        again = parse(found.shown)
        assert (again.hosts, again.name, again.user) == (found.hosts, found.name, found.user)


SECRET = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=20)


@given(SECRET, SECRET)
def test_no_password_is_shown_wherever_it_stands(one: str, other: str) -> None:
    from urllib.parse import quote

    safe = [quote(text, safe="") for text in (one, other)]
    for url in (
        f"postgresql://u:{safe[0]}@h/d?sslpassword={safe[1]}",
        f"postgresql://h/d?password={safe[0]}&sslpassword={safe[1]}",
    ):
        found = parse(url)
        assert found.has_password
        assert found.password == one
        assert dict(found.options)["sslpassword"] == other
        assert not parse(found.shown.replace(":***@", "@")).has_password


def test_servers_get_the_options_and_no_secret_of_whom_a_url_is_for() -> None:
    own = "postgresql://root:geheim@db1,db2:5433/mail?sslmode=verify-full&sslrootcert=/ca.pem"
    mine = f"{own}&sslkey=/key.pem&sslcert=/cert.pem&sslpassword=geheim&options=-c%20x"
    found = database("", "postfix", mine)
    assert "geheim" not in repr(found)
    assert found.hosts == (("db1", 5432), ("db2", 5433))
    assert (found.user, found.password, found.is_secret) == ("postfix", "", False)
    options = dict(found.options)
    assert options.keys() == {"connect_timeout", "tcp_user_timeout", "sslmode", "sslrootcert"}
    given = database(f"{own}&connect_timeout=3", "postfix", "")
    assert (given.user, given.password, given.is_secret) == ("root", "geheim", True)
    assert dict(given.options)["connect_timeout"] == "3"
    socket = database("postgresql:///mail", "postfix", "")
    assert socket.hosts == (("/var/run/postgresql", 5432),)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:////x.db",
        "postgresql://h",
        "postgresql://u:a%20b@h/d",
        "postgresql://h/d?sslrootcert=/a%20b",
    ],
)
def test_what_servers_files_cannot_hold_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        database(url, "postfix", "")


def test_the_two_servers_files_say_how_to_reach_it() -> None:
    from pathlib import Path

    from postmaster.postfix import maps

    found = Database((("db1", 5432), ("/run/pg", 5432)), "mail", "postfix", "x", (("sslmode", "require"),))
    text = maps.MAILBOXES.text(found)
    assert "hosts = inet:db1:5432 unix:/run/pg\n" in text
    assert "dbname = dbname=mail sslmode=require\n" in text
    assert "password = x\n" in text
    assert "dbpath = /l/postfix.db\n" in maps.MAILBOXES.text(Path("/l/postfix.db"))
