"""A directory that PostfixAdmin itself has written comes in as it is there, from each of its databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IN_CI, MARK
from tests.integration.bulk.importing import held, lists, taken
from tests.integration.cli.conftest import Cli, bare, cli, house
from tests.tools.mariadb import Mariadb, missing_for_mariadb, running_mariadb
from tests.tools.postfixadmin import PostfixAdmin, make_postfixadmin, missing_for_postfixadmin
from tests.tools.postgresql import Cluster, missing_for_postgresql, run_as_postgres, running_cluster

__all__ = ["bare", "cli", "house"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
PASSWORD = "Correct-Horse-99"
#: Value of `encrypt` -> the scheme that the hash has here, none where it is not taken.
SCHEMES = {
    "php_crypt:SHA512": "SHA512-CRYPT",
    "php_crypt:BLOWFISH": "BLF-CRYPT",
    "php_crypt:MD5": "MD5-CRYPT",
    "md5crypt": "MD5-CRYPT",
    "sha512.b64": "SHA512-CRYPT",
    "dovecot:SSHA512": "SSHA512",
    "dovecot:PBKDF2": "PBKDF2",
    "dovecot:ARGON2ID": "ARGON2ID",
    "cleartext": "",
    "md5": "",
}


@pytest.fixture(scope="module")
def mariadb(no_process_left_over: None) -> Iterator[Mariadb]:
    with running_mariadb(MARK) as made:
        yield made


@pytest.fixture(scope="module")
def postgresql(no_process_left_over: None) -> Iterator[Cluster]:
    with running_cluster(MARK) as made:
        yield made


@pytest.fixture(autouse=True, scope="module")
def all_there() -> None:
    reason = missing_for_postfixadmin() or missing_for_mariadb() or missing_for_postgresql()
    if reason is not None and IN_CI:
        pytest.fail(f"CI must read what PostfixAdmin writes: {reason}")
    if reason is not None:
        pytest.skip(reason)


def write(admin: PostfixAdmin) -> None:
    """What an administrator types."""
    unlimited = ("--aliases", "0", "--mailboxes", "0", "--maxquota", "0", "--quota", "0")
    password = ("--password", PASSWORD, "--password2", PASSWORD)
    admin("domain", "add", "example.org", "--description", "it's; --", *unlimited)
    admin("domain", "add", "example.net", *unlimited)
    admin("aliasdomain", "add", "example.net", "--target-domain", "example.org")
    admin("mailbox", "add", "amy@example.org", *password, "--name", "Amy O'Ash", "--quota", "10")
    admin("mailbox", "add", "bob@example.org", *password, "--name", "", "--quota", "0", "--active", "0")
    for number, encrypt in enumerate(SCHEMES):
        admin.setting(encrypt=encrypt)
        admin("mailbox", "add", f"user{number}@example.org", *password, "--name", "", "--quota", "0")
    admin("alias", "add", "team@example.org", "--goto", "amy@example.org,x@elsewhere.test")
    admin("alias", "update", "amy@example.org", "--goto", "y@elsewhere.test", "--goto-mailbox", "1")
    admin("alias", "update", "user0@example.org", "--goto", "z@elsewhere.test", "--goto-mailbox", "0")
    admin("alias", "add", "@example.org", "--goto", "bob@example.org")


def check(cli: Cli, source: Path | str) -> None:
    done = taken(cli, "postfixadmin", source)
    found = held(cli)
    assert {one["domain"]: one["alias_of"] for one in found["domains"]} == {
        "example.net": "example.org",
        "example.org": None,
    }
    people = {one["address"].partition("@")[0]: one for one in found["users"]}
    assert (people["amy"]["name"], people["amy"]["quota_bytes"]) == ("Amy O'Ash", 10240000)
    assert (people["bob"]["login"], people["bob"]["receive"], people["amy"]["login"]) == (False, False, True)
    taken_as = [
        people[f"user{number}"]["password"].partition("}")[0].lstrip("{") for number in range(len(SCHEMES))
    ]
    assert dict(zip(SCHEMES, taken_as, strict=True)) == SCHEMES
    assert PASSWORD not in str(done) + str(found)
    aliases = lists(cli, "aliases")
    assert aliases["team@example.org"] == ["amy@example.org", "x@elsewhere.test"]
    assert aliases["@example.org"] == ["bob@example.org"]
    assert "abuse@example.org" in aliases  # PostfixAdmin makes them with every domain
    assert "abuse@example.net" not in aliases
    assert {one["address"]: (one["targets"], one["keep_copy"]) for one in found["forwards"]} == {
        "amy@example.org": (["y@elsewhere.test"], True),
        "user0@example.org": (["z@elsewhere.test"], False),
    }
    assert not done["problems"]
    assert {one["folder"] for one in done["moves"]} >= {"/var/vmail/example.org/amy"}


def check_again(cli: Cli, folder: Path, dump: str) -> None:
    """A dump says the same as the database did."""
    file = folder / "dump.sql"
    file.write_text(dump)
    done = cli("directory", "import", "--from", "postfixadmin", str(file), "-o", "json").json
    assert (done["created"], done["changed"], done["problems"]) == (0, 0, [])
    assert done["unchanged"] > len(SCHEMES)


#: `database_prefix`: what the names of its tables begin with.
PREFIXES = pytest.mark.parametrize("prefix", ["", "pfa_"])


@PREFIXES
def test_in_sqlite(cli: Cli, tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "postfixadmin.db"
    file.touch()
    write(make_postfixadmin(tmp_path, type="sqlite", name=str(file), prefix=prefix))
    check(cli, file)


@PREFIXES
def test_in_mariadb_and_its_dump(
    cli: Cli, tmp_path: Path, mariadb: Mariadb, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    name = f"{prefix}postfixadmin"
    mariadb.create(name)
    mariadb.execute(f"GRANT ALL ON {name}.* TO admin@localhost IDENTIFIED BY 'secret'")
    login = {"user": "admin", "password": "secret", "socket": str(mariadb.socket), "host": "localhost"}
    write(make_postfixadmin(tmp_path, type="mysqli", name=name, prefix=prefix, **login))
    monkeypatch.setenv("POSTFIXADMIN", mariadb.url(name))
    check(cli, "env:POSTFIXADMIN")
    check_again(cli, tmp_path, mariadb.dump(name))


@PREFIXES
def test_in_postgresql_and_its_dump(cli: Cli, tmp_path: Path, postgresql: Cluster, prefix: str) -> None:
    name = f"{prefix}postfixadmin"
    postgresql.create(name)
    where = {"host": "127.0.0.1", "port": str(postgresql.port), "user": "postgres", "password": "x"}
    write(make_postfixadmin(tmp_path, type="pgsql", name=name, prefix=prefix, **where))
    check(cli, postgresql.url(name))
    options = ("-h", "127.0.0.1", "-p", postgresql.port, "-U", "postgres")
    check_again(cli, tmp_path, run_as_postgres("pg_dump", *options, name))
