"""Directories of other systems in their own tables are taken in from every database that they use.

The tables are those that each system makes (tests/tools/neighbours.py), with hostile rows among the usual
ones; they are read as an SQLite file, by URL from running servers, and from the dumps of the databases' own
programs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tests.conftest import IN_CI, MARK
from tests.integration.bulk.importing import BLF, MD5, SHA, held, lists, may_send, taken
from tests.integration.cli.conftest import Cli
from tests.tools.mariadb import Mariadb, missing_for_mariadb, running_mariadb
from tests.tools.neighbours import Tables, fill, sqlite_dump, sqlite_file
from tests.tools.postgresql import Cluster, run_as_postgres

SSHA512 = "{SSHA512}" + "A" * 96
_numbers = count(1)


@pytest.fixture(scope="session")
def mariadb(no_process_left_over: None) -> Iterator[Mariadb]:
    reason = missing_for_mariadb()
    if reason is not None and IN_CI:
        pytest.fail(f"CI must read from a MariaDB: {reason}")
    if reason is not None:
        pytest.skip(reason)
    with running_mariadb(MARK) as made:
        yield made


@dataclass
class Case:
    """A system's rows below a mail root, what the import of them must lead to, and its exit status."""

    rows: Callable[[str], Tables]
    check: Callable[[Cli, dict[str, Any]], None]
    more: Callable[[str], tuple[str, ...]] = field(default=lambda root: ())
    expect: int = 3


def root_of(cli: Cli) -> str:
    return str(cli.file.parent / "d" / "mail")


def postfixadmin(root: str) -> Tables:
    domain = {"description": "it's", "transport": "virtual"}
    box = {"domain": "example.org"}
    return {
        "admin": [{"username": "boss@example.org", "password": BLF, "superadmin": True}],
        "domain": [
            {**domain, "domain": "ALL"},
            {**domain, "domain": "example.org"},
            {**domain, "domain": "example.net"},
            {**domain, "domain": "mx.test", "backupmx": True},
            {**domain, "domain": "off.test", "active": False},
            {**domain, "domain": "relay.test", "transport": "smtp:[192.0.2.1]"},
            {**domain, "domain": "own.test"},
            {**domain, "domain": "bad domain; --"},
        ],
        "alias_domain": [
            {"alias_domain": "example.net", "target_domain": "example.org"},
            {"alias_domain": "own.test", "target_domain": "example.org"},
            {"alias_domain": "off.test", "target_domain": "example.org", "active": False},
        ],
        "mailbox": [
            {
                **box,
                "username": "amy@example.org",
                "password": BLF,
                "name": 'Amy "A" O\'Ash \\ 🐝',
                "maildir": "example.org/amy/",
                "quota": 1024000,
                "password_expiry": datetime(2027, 11, 24),
            },
            {**box, "username": "bob@example.org", "password": f"{{SHA512-CRYPT}}{SHA}", "maildir": "a/bob/"},
            {
                **box,
                "username": "carl@example.org",
                "password": MD5,
                "maildir": "../../etc/",
                "quota": -1,
                "active": False,
            },
            {
                **box,
                "username": "dora@example.org",
                "password": "{PLAIN}secret",
                "maildir": "/elsewhere/dora",
            },
            {**box, "username": "eve@mx.test", "password": BLF, "maildir": "x/"},
            {**box, "username": "fay@own.test", "password": "0123456789abc", "maildir": "own.test/fay/"},
        ],
        "alias": [
            {"address": "amy@example.org", "goto": "amy@example.org"},
            {"address": "bob@example.org", "goto": "x@elsewhere.test,bob@example.org"},
            {
                "address": "carl@example.org",
                "goto": "carl@example.org,carl#example.org@autoreply.example.org",
            },
            {"address": "dora@example.org", "goto": "only@elsewhere.test"},
            {"address": "team@example.org", "goto": "amy@example.org,\r\nbob@example.org"},
            {"address": "@example.org", "goto": "amy@example.org"},
            {"address": "abuse@example.net", "goto": "amy@example.org"},  # made with every domain
            {"address": "off@example.org", "goto": "amy@example.org", "active": False},
            {"address": "bad'; DROP TABLE x@example.org", "goto": "amy@example.org"},
            {"address": "self@example.org", "goto": "self@example.org"},
        ],
        "vacation": [{"email": "carl@example.org", "body": "away;\n'); --"}],
    }


def check_postfixadmin(cli: Cli, done: dict[str, Any]) -> None:
    found = held(cli)
    assert {one["domain"]: one["alias_of"] for one in found["domains"]} == {
        "example.net": "example.org",
        "example.org": None,
        "own.test": None,
        "relay.test": None,
    }
    people = {one["address"].partition("@")[0]: one for one in found["users"]}
    assert people["amy"]["name"] == 'Amy "A" O\'Ash \\ 🐝'
    assert people["amy"]["quota_bytes"] == 1024000
    assert people["amy"]["password"] == "{BLF-CRYPT}" + BLF
    assert people["bob"]["password"] == "{SHA512-CRYPT}" + SHA
    assert (people["carl"]["login"], people["carl"]["receive"]) == (False, False)
    assert people["dora"]["password"] == ""
    forwards = {
        one["address"].partition("@")[0]: (one["targets"], one["keep_copy"]) for one in found["forwards"]
    }
    assert forwards == {"bob": (["x@elsewhere.test"], True), "dora": (["only@elsewhere.test"], False)}
    assert lists(cli, "aliases") == {
        "@example.org": ["amy@example.org"],
        "team@example.org": ["amy@example.org", "bob@example.org"],
    }
    notes = "\n".join(done["notes"])
    for said in (
        "not read, as there is no counterpart here: admin, vacation",
        "domain mx.test is a backup MX there",
        "domain off.test is not active there",
        "domain relay.test has the transport 'smtp:[192.0.2.1]' there",
        "own.test leads to example.org as a whole there, and stays a domain",
        "alias abuse@example.net is left out, as its domain is an alias domain",
        "alias off@example.org is not active there",
        "carl@example.org answers by itself there",
        "carl@example.org has a weak hash (MD5-CRYPT)",
        "dora@example.org comes without a password: the password is shorter than 8 characters",
        "fay@own.test comes without a password: the hash does not say which scheme it is of",
        "passwords have a day on which they expire there",
    ):
        assert said in notes
    assert "secret" not in str(done)
    assert sorted(one["object"] for one in done["problems"] if one["kind"]) == [
        "bad domain; --",
        "bad'; DROP TABLE x@example.org",
        "self@example.org",
    ]
    commands = {one["address"].partition("@")[0]: one["command"] for one in done["moves"]}
    root = root_of(cli)
    assert commands["amy"] == f"ln -s . {root}/example.org/amy/Maildir"
    assert commands["dora"] == (
        f"mkdir -p {root}/example.org/dora && mv /elsewhere/dora {root}/example.org/dora/Maildir"
    )
    assert "carl" not in commands


def vimbadmin(root: str) -> Tables:
    home = f"{root}/example.org/amy"
    box = {"active": True, "access_restriction": "ALL"}
    return {
        "admin": [{"username": "boss@example.org", "password": BLF}],
        "domain": [
            {"domain": "example.org", "transport": "virtual"},
            {"domain": "example.net", "transport": "virtual"},
            {"domain": "off.test", "active": False},
        ],
        "mailbox": [
            {
                **box,
                "username": "amy@example.org",
                "password": BLF,
                "name": "Amy",
                "quota": 1000,
                "access_restriction": "IMAP,SMTP",
                "homedir": home,
                "maildir": f"maildir:{home}/mail:LAYOUT=fs",
            },
            {**box, "username": "bob@example.org", "password": "x", "delete_pending": True},
            {**box, "username": "eve@off.test", "password": "x"},
            # As `md5`, which was the default of early versions, writes it.
            {**box, "username": "carl@example.org", "password": "817ebc64fa60d6b582578f76916057bb"},
            {**box, "username": "dora@example.org", "password": MD5, "access_restriction": "SIEVE"},
            {**box, "username": "no address", "password": BLF},
        ],
        "alias": [
            {"address": "amy@example.org", "goto": "amy@example.org"},
            {"address": "team@example.org", "goto": "amy@example.org,x@elsewhere.test"},
            {"address": "@example.net", "goto": "@example.org"},
        ],
        "archive": [{"username": "old@example.org"}],
    }


def check_vimbadmin(cli: Cli, done: dict[str, Any]) -> None:
    found = held(cli)
    assert {one["domain"]: one["alias_of"] for one in found["domains"]} == {
        "example.net": "example.org",
        "example.org": None,
    }
    amy, carl, dora = found["users"]
    assert (amy["imap"], amy["pop3"], amy["send"], amy["quota_bytes"]) == (True, False, True, 1000)
    assert amy["mail_id"] == "example.org/amy"
    assert (carl["password"], dora["password"]) == ("", "{MD5-CRYPT}" + MD5)
    assert (dora["imap"], dora["pop3"], dora["send"]) == (False, False, False)
    home = f"{root_of(cli)}/example.org/amy"
    assert done["moves"][0]["command"] == f"ln -s mail {home}/Maildir"
    assert lists(cli, "aliases") == {"team@example.org": ["amy@example.org", "x@elsewhere.test"]}
    notes = "\n".join(done["notes"])
    for said in (
        "not read, as there is no counterpart here: admin, archive",
        "domain off.test is not active there",
        "bob@example.org is about to be deleted there",
        "carl@example.org comes without a password: the hash does not say which scheme",
        "dora@example.org has a weak hash",
        "dora@example.org: access to 'SIEVE' has no counterpart here",
    ):
        assert said in notes
    assert [one["object"] for one in done["problems"]] == ["no address"]


def iredmail(root: str) -> Tables:
    box = {
        "storagebasedirectory": root,
        "storagenode": "vmail1",
        "mailboxformat": "maildir",
        "mailboxfolder": "Maildir",
        "password": SSHA512,
    }
    rows = [
        ("amy@example.org", "amy@example.org", "is_forwarding"),
        ("bob@example.org", "x@elsewhere.test", "is_forwarding"),
        ("ash@example.org", "amy@example.org", "is_alias"),
        ("team@example.org", "amy@example.org", "is_list"),
        ("team@example.org", "bob@example.org", "is_list"),
        ("off@example.org", "bob@example.org", "is_list"),
        ("list@example.org", "bob@example.org", "is_maillist"),
        ("example.org", "amy@example.org", "is_forwarding"),
        ("a b@example.org", "amy@example.org", "is_alias"),
    ]
    return {
        "admin": [{"username": "postmaster@example.org", "password": SSHA512}],
        "domain": [{"domain": "example.org", "transport": "dovecot"}],
        "alias_domain": [{"alias_domain": "example.net", "target_domain": "example.org"}],
        "mailbox": [
            {
                **box,
                "username": "amy@example.org",
                "maildir": "example.org/a/m/y/amy-2020.01.01/",
                "quota": 1024,
                "enablepop3": 0,
                "enablepop3secured": 0,
                "enableimap": 0,  # but over TLS
                "isglobaladmin": 1,
            },
            {
                **box,
                "username": "bob@example.org",
                "maildir": "example.org/b/",
                "expired": datetime(2031, 1, 2, 3, 4, 5),
                "enabledeliver": 0,
                "allow_nets": "192.0.2.0/24",
            },
        ],
        "alias": [
            {"address": "team@example.org", "accesspolicy": "membersonly", "expired": datetime(2040, 1, 1)},
            {"address": "off@example.org", "active": 0},
        ],
        "forwardings": [{"address": one, "forwarding": other, kind: 1} for one, other, kind in rows],
        "maillists": [{"address": "list@example.org"}],
    }


def check_iredmail(cli: Cli, done: dict[str, Any]) -> None:
    whole = held(cli)
    assert [one["alias_of"] for one in whole["domains"]] == [None, "example.org"]
    amy, bob = whole["users"]
    assert amy["mail_id"] == "vmail1/example.org/a/m/y/amy-2020.01.01"
    assert (amy["quota_bytes"], amy["imap"], amy["pop3"], amy["until"]) == (1 << 30, True, False, None)
    assert amy["password"] == SSHA512
    assert (bob["until"], bob["receive"], bob["login"]) == ("2031-01-02T03:04:05Z", False, True)
    assert done["moves"] == []
    assert sorted(done["notes"]) == [
        "alias off@example.org is not active there, and is left out",
        "alias team@example.org takes mail of 'membersonly' alone there, here of all",
        "amy@example.org is an administrator there, and administrators here are the system's",
        "bob@example.org may log in from '192.0.2.0/24' alone there, here from everywhere",
        "list@example.org to bob@example.org is not active or a mailing list there, and is left out",
        "not read, as there is no counterpart here: admin, maillists",
    ]
    assert lists(cli, "aliases") == {
        "@example.org": ["amy@example.org"],
        "ash@example.org": ["amy@example.org"],
        "team@example.org": ["amy@example.org", "bob@example.org"],
    }
    assert [one["until"] for one in whole["aliases"] if one["until"]] == ["2040-01-01T00:00:00Z"]
    assert lists(cli, "forwards") == {"bob@example.org": ["x@elsewhere.test"]}
    assert [one["object"] for one in done["problems"]] == ["a b@example.org"]


MAILU_PEOPLE: list[dict[str, Any]] = [
    {
        "email": "amy@example.org",
        "password": "{SHA512-CRYPT}" + SHA,
        "quota_bytes": 0,
        "displayed_name": "Amy",
        "enable_pop": False,
        "allow_spoofing": True,
        "forward_enabled": True,
        "forward_keep": False,
        "forward_destination": ["x@elsewhere.test"],
    },
    {"email": "bob@example.org", "password": "$bcrypt-sha256$v=2,t=2b,r=12$abc$def", "enabled": False},
]
MAILU_ALIASES: list[dict[str, Any]] = [
    {"email": "team@example.org", "destination": ["amy@example.org", "bob@example.org", "z@elsewhere.test"]},
    {"email": "%@example.org", "wildcard": True, "destination": ["amy@example.org"]},
    {"email": "x%@example.org", "wildcard": True, "destination": ["amy@example.org"]},
    {"email": "bob@example.org", "destination": ["z@elsewhere.test"]},
]


def mailu(root: str) -> Tables:
    def flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: ",".join(v) if isinstance(v, list) else v for key, v in row.items()} for row in rows]

    return {
        "domain": [{"name": "example.org"}],
        "alternative": [{"name": "example.net", "domain_name": "example.org"}],
        "user": [{"quota_bytes": 10**9, **row} for row in flat(MAILU_PEOPLE)],
        "alias": flat(MAILU_ALIASES),
        "token": [{"user_email": "amy@example.org", "password": "$5$rounds=1000$x"}],
    }


def check_mailu(cli: Cli, done: dict[str, Any]) -> None:
    whole = held(cli)
    assert [one["alias_of"] for one in whole["domains"]] == [None, "example.org"]
    amy, bob = whole["users"]
    assert (amy["quota_bytes"], amy["name"], amy["pop3"], amy["login"]) == (None, "Amy", False, True)
    assert (bob["quota_bytes"], bob["login"], bob["password"]) == (10**9, False, "")
    assert [(one["targets"], one["keep_copy"]) for one in whole["forwards"]] == [
        (["x@elsewhere.test"], False)
    ]
    assert lists(cli, "aliases") == {
        "@example.org": ["amy@example.org"],
        "team@example.org": ["amy@example.org", "bob@example.org", "z@elsewhere.test"],
    }
    assert may_send(cli) == [(f"{one}@example.org", "team@example.org") for one in ("amy", "bob")]
    assert [one["object"] for one in done["problems"]] == ["x%@example.org"]
    assert done["moves"][0]["folder"] == "/mail/amy@example.org"
    notes = "\n".join(done["notes"])
    assert "not read, as there is no counterpart here: token" in notes
    assert "amy@example.org may send as anybody there" in notes
    assert "alias bob@example.org does nothing there" in notes
    assert "bob@example.org comes without a password" in notes


def modoboa(root: str) -> Tables:
    """As Modoboa writes it: what it makes by itself are the rows that are `internal`."""
    boxes = ("amy", "bob", "carl", "dora")
    own = [{"id": n, "address": f"{name}@example.org", "internal": True} for n, name in enumerate(boxes, 1)]
    own[1]["enabled"] = False  # a user who is not active
    own[3]["enabled"] = False  # a forward that keeps no copy
    more: list[dict[str, Any]] = [
        {"address": "@example.net", "internal": True, "domain_id": None},
        {"address": "amy@example.org"},
        {"address": "dora@example.org"},
        {"address": "team@example.org", "expire_at": datetime(2040, 1, 1)},
        {"address": "off@example.org", "enabled": False},
        {"address": "eve@off.test"},
        {"address": "@example.org"},
    ]
    return {
        "core_user": [
            {
                "username": "amy@example.org",
                "password": "{SHA512-CRYPT}$6$rounds=70000" + SHA.removeprefix("$6"),
                "first_name": "Amy",
                "last_name": "Ash",
            },
            {"username": "bob@example.org", "password": "pbkdf2_sha256$1$x$y", "is_active": False},
            {"username": "carl@example.org", "password": "{SSHA}" + "YWJj" * 8},
            {"username": "dora@example.org", "password": "{MD5}bd347294ce11cf3839ca8dc32f59d481"},
            {"username": "admin", "password": "x", "is_superuser": True},
        ],
        "admin_domain": [
            {"id": 7, "name": "example.org", "type": "domain", "default_mailbox_quota": 5},
            {"id": 8, "name": "off.test", "type": "domain", "enabled": False},
        ],
        "admin_domainalias": [
            {"name": "example.net", "target_id": 7},
            {"name": "example.com", "target_id": 8},
        ],
        "admin_mailbox": [
            {"address": "amy", "domain_id": 7, "user_id": 1, "quota": 5, "use_domain_quota": True},
            {"address": "bob", "domain_id": 7, "user_id": 2, "quota": 9, "message_limit": 10},
            {"address": "carl", "domain_id": 7, "user_id": 3, "is_send_only": True},
            {"address": "dora", "domain_id": 7, "user_id": 4},
            {"address": "lost", "domain_id": 7, "user_id": 99},
        ],
        "admin_alias": own + [{"id": n, **row} for n, row in enumerate(more, 5)],
        "modoboa_admin_aliasrecipient": [
            *({"alias_id": n, "address": f"{name}@example.org"} for n, name in enumerate(boxes, 1)),
            {"alias_id": 5, "address": "@example.org"},
            {"alias_id": 6, "address": "x@elsewhere.test"},
            {"alias_id": 7, "address": "y@elsewhere.test"},
            {"alias_id": 8, "address": "amy@example.org"},
            {"alias_id": 8, "address": "z@elsewhere.test"},
            {"alias_id": 9, "address": "amy@example.org"},
            {"alias_id": 10, "address": "amy@example.org"},
            {"alias_id": 11, "address": "amy@example.org"},
        ],
        "admin_senderaddress": [{"mailbox_id": 1, "address": "sales@example.org"}],
        "core_log": [{"message": "a line", "level": "info"}],
    }


def check_modoboa(cli: Cli, done: dict[str, Any]) -> None:
    whole = held(cli)
    assert [(one["domain"], one["alias_of"]) for one in whole["domains"]] == [
        ("example.org", None),
        ("example.net", "example.org"),
    ]
    amy, bob, carl, dora = whole["users"]
    assert (amy["name"], amy["quota_bytes"], bob["quota_bytes"]) == ("Amy Ash", 5 << 20, 9 << 20)
    assert amy["password"].startswith("{SHA512-CRYPT}$6$rounds=70000$")
    assert (bob["login"], bob["receive"], bob["password"]) == (False, False, "")
    assert (carl["login"], carl["receive"], carl["send"]) == (True, False, True)
    assert carl["password"] == "{SSHA}" + "YWJj" * 8
    assert dora["password"] == ""
    assert [(one["address"], one["until"]) for one in whole["aliases"]] == [
        ("@example.org", None),
        ("team@example.org", "2040-01-01T00:00:00Z"),
    ]
    assert [(one["address"], one["targets"], one["keep_copy"]) for one in whole["forwards"]] == [
        ("amy@example.org", ["x@elsewhere.test"], True),
        ("dora@example.org", ["y@elsewhere.test"], False),
    ]
    assert may_send(cli) == [(amy["address"], f"{one}@example.org") for one in ("sales", "team")]
    assert [one["object"] for one in done["problems"]] == ["lost@example.org"]
    notes = "\n".join(done["notes"])
    for said in (
        "not read, as there is no counterpart here: core_log",
        "account admin has no mailbox there",
        "alias domain example.com or its domain is not enabled there",
        "alias off@example.org is not enabled there",
        "bob@example.org may send 10 messages a day there",
        "carl@example.org has a weak hash (SSHA)",
        "dora@example.org comes without a password: hashes of scheme MD5 are not stored",
    ):
        assert said in notes


CASES = {
    "postfixadmin": Case(postfixadmin, check_postfixadmin, lambda root: ("--mail-root", root)),
    "vimbadmin": Case(vimbadmin, check_vimbadmin),
    "iredmail": Case(iredmail, check_iredmail),
    "mailu": Case(mailu, check_mailu),
    "modoboa": Case(modoboa, check_modoboa),
}


def run(cli: Cli, system: str, source: Path | str) -> None:
    case, root = CASES[system], root_of(cli)
    case.check(cli, taken(cli, system, source, "--keep-going", *case.more(root), expect=case.expect))


@pytest.mark.parametrize("system", CASES)
def test_from_a_file_of_sqlite(cli: Cli, tmp_path: Path, system: str) -> None:
    file = sqlite_file(tmp_path / "x.db", system, CASES[system].rows(root_of(cli)))
    before = file.read_bytes()
    run(cli, system, file)
    assert file.read_bytes() == before


def test_a_value_that_is_none_of_its_column_spoils_its_own_row_alone(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "CREATE TABLE domain (domain varchar(255), active tinyint(1), created datetime, quota int(11));"
            "CREATE TABLE mailbox (username varchar(255), active tinyint(1), quota bigint(20), created text);"
            "CREATE TABLE alias (address varchar(255), goto text, active boolean);"
            "INSERT INTO domain VALUES ('example.org', 1, 'no date', 'no number');"
            "INSERT INTO mailbox VALUES ('amy@example.org', 'yes', 'much', '0000-00-00 00:00:00');"
            "INSERT INTO mailbox VALUES (CAST(x'fffe' AS TEXT) || '@example.org', 1, 0, '');"
            "INSERT INTO mailbox VALUES (x'00ff', 1, 0, NULL);"
            "INSERT INTO alias VALUES (NULL, NULL, NULL);"
        )
    done = taken(cli, "postfixadmin", file, "--keep-going", expect=3)
    assert [one["address"] for one in held(cli)["users"]] == ["amy@example.org"]
    assert len(done["problems"]) == 2


@pytest.mark.full
@pytest.mark.parametrize("system", CASES)
def test_from_a_dump_of_sqlite(cli: Cli, tmp_path: Path, system: str) -> None:
    run(cli, system, sqlite_dump(sqlite_file(tmp_path / "x.db", system, CASES[system].rows(root_of(cli)))))


PREFIX = "pfa_"


def prefixed(cli: Cli, source: Path | str) -> None:
    """As the same without one, but for what the tables are called in what is said."""
    more = CASES["postfixadmin"].more(root_of(cli))
    done = taken(cli, "postfixadmin", source, "--keep-going", *more, expect=3)
    assert f"the names of the tables begin with {PREFIX} there" in done["notes"]
    assert any(f"not read, as there is no counterpart here: {PREFIX}admin, " in one for one in done["notes"])
    done["notes"] = [one.replace(PREFIX, "") for one in done["notes"]]
    check_postfixadmin(cli, done)


def test_tables_of_postfixadmin_whose_names_begin_otherwise(cli: Cli, tmp_path: Path) -> None:
    file = sqlite_file(tmp_path / "x.db", "postfixadmin", postfixadmin(root_of(cli)), PREFIX)
    with closing(sqlite3.connect(file)) as connection:  # another application's
        connection.execute("CREATE TABLE domain (id INTEGER)")
        connection.execute("CREATE TABLE my_alias (id INTEGER)")
    prefixed(cli, file)
    again = ("directory", "import", "--from", "postfixadmin", str(sqlite_dump(file)), "--keep-going")
    told = cli(*again, "-o", "json", expect=3).json
    assert (told["created"], told["changed"]) == (0, 0)
    assert told["unchanged"] > 9


def test_two_sets_of_tables_are_refused_unless_one_has_the_usual_names(cli: Cli, tmp_path: Path) -> None:
    file, rows = tmp_path / "x.db", postfixadmin(root_of(cli))
    for prefix in ("b_", "a_"):
        sqlite_file(file, "postfixadmin", rows, prefix)
    refused = cli("directory", "import", "--from", "postfixadmin", str(file), expect=2).err
    assert "several times the tables of such a system, as a_, b_" in refused
    sqlite_file(file, "postfixadmin", rows)
    done = taken(cli, "postfixadmin", file, "--keep-going", expect=3)
    assert {one["place"].partition(",")[0] for one in done["problems"]} == {"domain", "alias"}


@pytest.fixture
def in_postgresql(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Makes a system's database in PostgreSQL; the name it has there."""
    made = []

    def make(system: str, rows: Tables, prefix: str = "") -> str:
        made.append(f"n{next(_numbers)}")
        cluster.create(made[-1])
        engine = create_engine(cluster.url(made[-1]))
        fill(engine, system, rows, prefix)
        engine.dispose()
        return made[-1]

    yield make
    for name in made:
        cluster.drop(name)


@pytest.mark.parametrize(
    "system", [one if one == "postfixadmin" else pytest.param(one, marks=pytest.mark.full) for one in CASES]
)
def test_from_a_running_postgresql(
    cli: Cli, cluster: Cluster, in_postgresql: Callable[[str, Tables], str], system: str
) -> None:
    name = in_postgresql(system, CASES[system].rows(root_of(cli)))
    run(cli, system, cluster.url(name))


def test_from_a_running_postgresql_with_other_names_of_tables(
    cli: Cli, cluster: Cluster, in_postgresql: Callable[..., str]
) -> None:
    prefixed(cli, cluster.url(in_postgresql("postfixadmin", postfixadmin(root_of(cli)), PREFIX)))


def test_a_role_that_may_read_some_tables_is_enough(
    cli: Cli, cluster: Cluster, in_postgresql: Callable[[str, Tables], str]
) -> None:
    name = in_postgresql("postfixadmin", postfixadmin(root_of(cli)))
    cluster.execute(f"CREATE ROLE r_{name} LOGIN", name)
    cluster.execute(f"GRANT SELECT ON domain, alias_domain, mailbox, alias TO r_{name}", name)
    try:
        run(cli, "postfixadmin", cluster.url(name, f"r_{name}"))
        cluster.execute(f"REVOKE SELECT ON mailbox FROM r_{name}", name)
        words = ("directory", "import", "--from", "postfixadmin", cluster.url(name, f"r_{name}"))
        refused = cli(*words, expect=2).err
        assert "cannot be read: permission denied for table mailbox" in refused
        assert refused.count("\n") == 1
    finally:
        cluster.execute(f"DROP OWNED BY r_{name}", name)
        cluster.execute(f"DROP ROLE r_{name}", name)


@pytest.mark.full
@pytest.mark.parametrize("options", [(), ("--inserts",), ("--column-inserts", "--create")], ids=" ".join)
@pytest.mark.parametrize("system", CASES)
def test_from_what_pg_dump_writes(
    cli: Cli,
    cluster: Cluster,
    in_postgresql: Callable[[str, Tables], str],
    tmp_path: Path,
    system: str,
    options: tuple[str, ...],
) -> None:
    name = in_postgresql(system, CASES[system].rows(root_of(cli)))
    file = tmp_path / "dump.sql"
    where = ("-h", "127.0.0.1", "-p", cluster.port, "-U", "postgres")
    file.write_text(run_as_postgres("pg_dump", *where, *options, name))
    run(cli, system, file)


def in_mariadb(mariadb: Mariadb, system: str, rows: Tables) -> str:
    name = f"n{next(_numbers)}"
    mariadb.create(name)
    engine = create_engine(mariadb.socket_url(name))
    fill(engine, system, rows)
    engine.dispose()
    return name


@pytest.mark.full
@pytest.mark.parametrize("system", CASES)
def test_from_a_running_mariadb(
    cli: Cli, mariadb: Mariadb, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    name = in_mariadb(mariadb, system, CASES[system].rows(root_of(cli)))
    monkeypatch.setenv("NEIGHBOUR", mariadb.url(name))
    run(cli, system, "env:NEIGHBOUR")


@pytest.mark.full
def test_a_mariadb_that_refuses_is_told_without_the_password(
    cli: Cli, mariadb: Mariadb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEIGHBOUR", mariadb.url("mysql").replace("secret", "hunter2"))
    refused = cli("directory", "import", "--from", "iredmail", "env:NEIGHBOUR", expect=2).err
    assert "Access denied for user 'reader'" in refused
    assert refused.count("\n") == 1
    assert "hunter2" not in refused


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [(), ("--complete-insert", "--skip-extended-insert"), ("--hex-blob", "--skip-opt")],
    ids=" ".join,
)
@pytest.mark.parametrize("system", CASES)
def test_from_what_mariadb_dump_writes(
    cli: Cli, mariadb: Mariadb, tmp_path: Path, system: str, options: tuple[str, ...]
) -> None:
    file = tmp_path / "dump.sql"
    file.write_text(mariadb.dump(in_mariadb(mariadb, system, CASES[system].rows(root_of(cli))), *options))
    run(cli, system, file)


@pytest.mark.full
def test_a_dump_of_two_databases_with_the_same_tables_is_refused(
    cli: Cli, mariadb: Mariadb, tmp_path: Path
) -> None:
    names = [in_mariadb(mariadb, "vimbadmin", vimbadmin("/srv/vmail")) for _ in range(2)]
    file = tmp_path / "dump.sql"
    file.write_text(mariadb.dump(names[0], "--databases", names[1]))
    refused = cli("directory", "import", "--from", "vimbadmin", str(file), "--keep-going", expect=2).err
    assert "is there twice" in refused


def test_mailu_from_what_config_export_writes(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mailu.yml"
    amy, bob = MAILU_PEOPLE
    whole = {
        "domain": [{"name": "example.org", "alternatives": ["example.net"]}],
        "user": [{**amy, "tokens": [{"comment": "phone", "password": "$5$x"}]}, bob],
        "alias": MAILU_ALIASES,
    }
    file.write_text(json.dumps(whole, indent=1))
    check_mailu(cli, taken(cli, "mailu", file, "--keep-going", expect=3))
    file.write_text("user: [")
    assert "is no YAML" in cli("directory", "import", "--from", "mailu", str(file), expect=2).err


def test_mailu_without_its_secrets_says_how_they_come(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mailu.yml"
    amy = {"email": "amy@example.org", "password": "<hidden>"}
    file.write_text(json.dumps({"domain": [{"name": "example.org"}], "user": [amy]}))
    done = taken(cli, "mailu", file)
    assert done["without_password"] == ["amy@example.org"]
    assert "the passwords are hidden in the file: write it with config-export --secrets" in done["notes"]


def test_mailinabox(cli: Cli, tmp_path: Path) -> None:
    rows: Tables = {
        "users": [
            {
                "email": "amy@example.org",
                "password": "{SHA512-CRYPT}" + SHA,
                "privileges": "admin",
                "quota": "0",
            },
            {"email": "bob@example.org", "password": "{CRYPT}ab", "quota": "2G"},
        ],
        "aliases": [
            {
                "source": "sales@example.org",
                "destination": "bob@example.org",
                "permitted_senders": "amy@example.org,gone@example.org",
            },
            {"source": "@example.net", "destination": "@example.org"},
            {"source": "amy@example.org", "destination": "amy@example.org,x@elsewhere.test"},
            {"source": "bad address@example.org", "destination": "amy@example.org"},
            {
                "source": "team@example.org",
                "destination": "bob@example.org\namy@example.org,y@elsewhere.test",
            },
            {"source": "only@example.org", "destination": "", "permitted_senders": "bob@example.org"},
        ],
        "auto_aliases": [
            {"source": "abuse@example.org", "destination": "amy@example.org"},
            {"source": "sales@example.org", "destination": "amy@example.org"},
            {"source": "abuse@example.net", "destination": "amy@example.org"},
        ],
        "mfa": [{"type": "totp", "secret": "x", "user_id": 1}],
    }
    file = sqlite_file(tmp_path / "users.sqlite", "mailinabox", rows)
    done = taken(cli, "mailinabox", file, "--keep-going", expect=3)
    whole = held(cli)
    assert {one["domain"]: one["alias_of"] for one in whole["domains"]} == {
        "example.org": None,
        "example.net": "example.org",
    }
    assert {one["address"]: one["quota_bytes"] for one in whole["users"]} == {
        "amy@example.org": None,
        "bob@example.org": 2 << 30,
    }
    assert lists(cli, "aliases") == {
        "abuse@example.org": ["amy@example.org"],
        "sales@example.org": ["bob@example.org"],
        "team@example.org": ["bob@example.org", "amy@example.org", "y@elsewhere.test"],
    }
    assert lists(cli, "forwards") == {"amy@example.org": ["x@elsewhere.test"]}
    assert may_send(cli) == [
        ("amy@example.org", "abuse@example.org"),
        ("amy@example.org", "sales@example.org"),
        ("amy@example.org", "team@example.org"),
        ("bob@example.org", "only@example.org"),
        ("bob@example.org", "team@example.org"),
    ]
    assert [one["object"] for one in done["problems"]] == ["bad address@example.org"]
    assert done["without_password"] == ["bob@example.org"]
    notes = "\n".join(done["notes"])
    assert "bob@example.org comes without a password" in notes
    assert "gone@example.org may send as sales@example.org there, and is no user" in notes
    assert "not read, as there is no counterpart here: mfa" in notes
