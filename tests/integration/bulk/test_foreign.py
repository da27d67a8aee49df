"""Other systems' directories, made by their documented schemas, hostile rows among them, are taken in."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from postmaster.bulk.foreign import dump
from tests.integration.cli.conftest import Cli
from tests.tools.documented import json_keys, key_paths

BLF = "$2y$05$" + "b" * 53
SHA = "$6$saltsalt$" + "a" * 86
MD5 = "$1$saltsalt$" + "a" * 22


def taken(cli: Cli, system: str, source: Path | str, *more: str, expect: int = 0) -> dict[str, Any]:
    """What the import says; and a second time nothing changes."""
    words = ("directory", "import", "--from", system, str(source), *more)
    first: dict[str, Any] = cli(*words, "-o", "json", expect=expect).json
    whole = cli("directory", "export", "--with-hashes").out
    again = cli(*words, "-o", "json", expect=expect).json
    assert (again["created"], again["changed"], again["entry"]) == (0, 0, None)
    assert cli("directory", "export", "--with-hashes").out == whole
    return first


def held(cli: Cli) -> dict[str, list[dict[str, Any]]]:
    return cli("directory", "export", "--with-hashes").json  # type: ignore[no-any-return]


POSTFIXADMIN = f"""-- MariaDB dump 10.19
CREATE TABLE `alias` (
  `address` varchar(255) NOT NULL, `goto` text NOT NULL, `domain` varchar(255) NOT NULL,
  `created` datetime NOT NULL, `modified` datetime NOT NULL, `active` tinyint(1) NOT NULL DEFAULT '1',
  PRIMARY KEY (`address`), KEY `domain` (`domain`)
) ENGINE=InnoDB COMMENT='Postfix Admin - Virtual Aliases';
INSERT INTO `alias` VALUES ('amy@example.org','amy@example.org','example.org','2020-01-01','2020-01-01',1),
('bob@example.org','x@elsewhere.test,bob@example.org','example.org','2020-01-01','2020-01-01',1),
('carl@example.org','carl@example.org,carl#example.org@autoreply.example.org','example.org','2020-01-01','2020-01-01',1),
('dora@example.org','only@elsewhere.test','example.org','2020-01-01','2020-01-01',1),
('team@example.org','amy@example.org,bob@example.org','example.org','2020-01-01','2020-01-01',1),
('@example.org','amy@example.org','example.org','2020-01-01','2020-01-01',1),
('off@example.org','amy@example.org','example.org','2020-01-01','2020-01-01',0),
('dead@example.org','nobody@gone.test,gone@team.example.org','example.org','2020-01-01','2020-01-01',1),
('bad\\'; DROP TABLE x@example.org','amy@example.org','example.org','2020-01-01','2020-01-01',1);
CREATE TABLE `alias_domain` (`alias_domain` varchar(255), `target_domain` varchar(255), `created` datetime,
  `modified` datetime, `active` tinyint(1));
INSERT INTO `alias_domain` VALUES ('example.net','example.org','2020-01-01','2020-01-01',1);
CREATE TABLE `domain` (`domain` varchar(255), `description` varchar(255),
  `aliases` int(10), `mailboxes` int(9),
  `maxquota` bigint(20), `quota` bigint(20), `transport` varchar(255), `backupmx` tinyint(1),
  `created` datetime, `modified` datetime, `active` tinyint(1), PRIMARY KEY (`domain`));
INSERT INTO `domain` VALUES ('ALL','',0,0,0,0,'',0,'2016-11-28','2016-11-28',1),
('example.org','it\\'s',0,0,1,0,'virtual',0,'2016-11-28','2016-11-28',1),
('example.net','',0,0,1,0,'virtual',0,'2016-11-28','2016-11-28',1),
('mx.test','',0,0,1,0,'virtual',1,'2016-11-28','2016-11-28',1);
CREATE TABLE `mailbox` (`username` varchar(255), `password` varchar(255), `name` varchar(255),
  `maildir` varchar(255), `quota` bigint(20), `local_part` varchar(255), `domain` varchar(99), `created` date,
  `modified` datetime, `active` tinyint(1), PRIMARY KEY (`username`));
INSERT INTO `mailbox` VALUES
('amy@example.org','{BLF}','Amy \\"A\\" Ash','example.org/amy/',1024000,'amy','example.org','2016','2016',1),
('bob@example.org','{{SHA512-CRYPT}}{SHA}','','example.org/bob/',0,'bob','example.org','2016','2016',1),
('carl@example.org','{MD5}','','../../etc/',-1,'carl','example.org','2016','2016',0),
('dora@example.org','{{PLAIN}}secret','','/elsewhere/dora',0,'dora','example.org','2016','2016',1);
INSERT INTO `vacation` VALUES ('carl@example.org','away');
CREATE TABLE `vacation` (`email` varchar(255), `subject` varchar(255));
INSERT INTO `vacation` VALUES ('carl@example.org','away');
"""


def check_postfixadmin(cli: Cli, done: dict[str, Any]) -> None:
    found = held(cli)
    assert [(one["domain"], one["alias_of"]) for one in found["domains"]] == [
        ("example.org", None),
        ("example.net", "example.org"),
    ]
    people = {one["address"].partition("@")[0]: one for one in found["users"]}
    assert people["amy"]["name"] == 'Amy "A" Ash'
    assert people["amy"]["quota_bytes"] == 1024000
    assert people["amy"]["password"] == "{BLF-CRYPT}" + BLF
    assert people["bob"]["password"] == "{SHA512-CRYPT}" + SHA
    assert (people["carl"]["login"], people["carl"]["receive"]) == (False, False)
    assert people["dora"]["password"] == ""
    forwards = {
        one["address"].partition("@")[0]: (one["targets"], one["keep_copy"]) for one in found["forwards"]
    }
    assert forwards == {"bob": (["x@elsewhere.test"], True), "dora": (["only@elsewhere.test"], False)}
    assert {one["address"]: one["targets"] for one in found["aliases"]} == {
        "@example.org": ["amy@example.org"],
        "dead@example.org": ["nobody@gone.test", "gone@team.example.org"],
        "team@example.org": ["amy@example.org", "bob@example.org"],
    }
    notes = "\n".join(done["notes"])
    assert "domain mx.test is a backup MX there" in notes
    assert "alias off@example.org is not active there" in notes
    assert "carl@example.org answers by itself there" in notes
    assert "carl@example.org has a weak hash (MD5-CRYPT)" in notes
    assert "dora@example.org comes without a password: hashes of scheme PLAIN are not stored" in notes
    assert "secret" not in str(done)
    assert [one["object"] for one in done["problems"] if one["kind"]] == ["bad'; DROP TABLE x@example.org"]
    commands = {one["address"].partition("@")[0]: one["command"] for one in done["moves"]}
    root = cli.file.parent / "d" / "mail"
    assert commands["amy"] == f"ln -s . {root}/example.org/amy/Maildir"
    assert commands["dora"] == (
        f"mkdir -p {root}/example.org/dora && mv /elsewhere/dora {root}/example.org/dora/Maildir"
    )
    assert "carl" not in commands


def test_postfixadmin_from_a_dump(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "dump.sql"
    file.write_text(POSTFIXADMIN)
    root = str(cli.file.parent / "d" / "mail")
    assert (
        "nothing is changed" in cli("directory", "import", "--from", "postfixadmin", str(file), expect=1).err
    )
    done = taken(cli, "postfixadmin", file, "--mail-root", root, "--keep-going", expect=3)
    check_postfixadmin(cli, done)


def test_postfixadmin_from_a_database_by_url_and_by_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "postfixadmin.db"
    tables = ("domain", "alias_domain", "mailbox", "alias", "vacation")
    with closing(sqlite3.connect(file)) as connection:
        for name, rows in dump.read(POSTFIXADMIN, tables).tables.items():
            columns = list(rows[0].values)
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO {name} VALUES ({marks})", [tuple(one.values.values()) for one in rows]
            )
        connection.commit()
    root = str(cli.file.parent / "d" / "mail")
    done = taken(cli, "postfixadmin", file, "--mail-root", root, "--keep-going", expect=3)
    check_postfixadmin(cli, done)
    url = f"sqlite:///{file}"
    again = cli(
        "directory", "import", "--from", "postfixadmin", url, "--keep-going", "-o", "json", expect=3
    ).json
    assert again["created"] == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("mysql://user:secret@127.0.0.1/x", "does not belong in a command line"),
        ("mysql://user@127.0.0.1/x", "the driver for mysql is not installed"),
        ("env:NO_SUCH_VARIABLE", "has no variable"),
        ("/no/such/file", "there is no /no/such/file"),
        ("nonsense://x", "is no database URL"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_in_one_line(cli: Cli, source: str, said: str) -> None:
    result = cli("directory", "import", "--from", "postfixadmin", source, expect=None)
    assert result.status in (1, 2)
    assert said in result.err
    assert result.err.count("\n") == 1
    assert "secret" not in result.err


def test_a_source_of_another_system_is_refused(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "x.sql"
    file.write_text("CREATE TABLE t (a int);\nINSERT INTO t VALUES (1);\n")
    refused = cli("directory", "import", "--from", "postfixadmin", str(file), expect=2)
    assert "the source has no table domain, mailbox, alias" in refused.err


def test_passwd_file(cli: Cli, tmp_path: Path) -> None:
    root = cli.file.parent / "d" / "mail"
    file = tmp_path / "users"
    file.write_text(
        f"# people\namy@example.org:{{BLF-CRYPT}}{BLF}:5000:5000:Amy,,:{root}/example.org/amy::"
        "userdb_quota_rule=*:storage=2G allow_nets=192.0.2.0/24\n"
        f"bob@example.org:{{SHA512-CRYPT}}{SHA}::::/var/other/bob::nologin\r\n"
        "carl@example.net:{SSHA}!bad\nroot:x:0:0\n\nnobody@\n"
    )
    done = taken(cli, "passwd-file", file, "--keep-going", expect=3)
    people = {one["address"]: one for one in held(cli)["users"]}
    assert people["amy@example.org"]["quota_bytes"] == 2 << 30
    assert people["amy@example.org"]["mail_id"] == "example.org/amy"
    assert not people["bob@example.org"]["login"]
    assert people["carl@example.net"]["password"] == ""
    assert [one["place"] for one in done["problems"]] == ["line 5", "line 7"]
    assert [one["address"] for one in done["moves"]] == ["bob@example.org"]
    assert key_paths(done) == json_keys("directory import")
    assert any("allow_nets" in note for note in done["notes"])


def test_aliases(cli: Cli, tmp_path: Path) -> None:
    cli("domain", "add", "example.org")
    cli("user", "add", "amy@example.org", "--generate")
    file = tmp_path / "aliases"
    file.write_text(
        "# See man 5 aliases\npostmaster: root\nroot:\tamy@example.org\n"
        'team: postmaster,\n  bob@elsewhere.test\nprog: "|/usr/bin/x a,b"\n'
        "list: :include:/etc/list, amy@example.org\n"
        "file: /var/mail/x\nlocal: someaccount\nbroken line\nTeam: again@elsewhere.test\n"
    )
    assert "--domain example.org" in cli("directory", "import", "--from", "aliases", str(file), expect=2).err
    done = taken(cli, "aliases", file, "--domain", "example.org", "--keep-going", expect=3)
    assert {one["address"].partition("@")[0]: one["targets"] for one in held(cli)["aliases"]} == {
        "list": ["amy@example.org"],
        "postmaster": ["root@example.org"],
        "root": ["amy@example.org"],
        "team": ["postmaster@example.org", "bob@elsewhere.test"],
    }
    assert [one["place"] for one in done["problems"]] == ["line 10", "line 11"]
    assert len(done["notes"]) == 4


def made(file: Path, **tables: list[dict[str, Any]]) -> Path:
    """An SQLite file with these rows."""
    with closing(sqlite3.connect(file)) as connection:
        for name, rows in tables.items():
            columns = list(dict.fromkeys(key for row in rows for key in row))
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            values = [tuple(row.get(key) for key in columns) for row in rows]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
        connection.commit()
    return file


def lists(cli: Cli, section: str) -> dict[str, list[str]]:
    return {one["address"]: one["targets"] for one in held(cli)[section]}


def test_docker_mailserver(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "postfix-accounts.cf").write_text(
        f"# comment\nAmy@example.org|{{SHA512-CRYPT}}{SHA}\nbob@example.net|{{SHA512-CRYPT}}{SHA}|"
        "userdb_mail=mbox:~/x\nno bar\n../../etc@example.org|x\n"
    )
    (folder / "postfix-virtual.cf").write_text(
        "team@example.org amy@example.org,bob@example.net\nteam@example.org x@elsewhere.test\n"
        "bob@example.net bob@example.net, y@elsewhere.test\nempty@example.org\n@example.net bob@example.net\n"
    )
    (folder / "dovecot-quotas.cf").write_text("amy@example.org:10M\ngone@example.org:1G\n")
    (folder / "postfix-send-access.cf").write_text("bob@example.net  REJECT\n")
    (folder / "postfix-regexp.cf").write_text("/^x/ amy@example.org\n")
    done = taken(cli, "docker-mailserver", folder, "--keep-going", expect=3)
    people = {one["address"]: one for one in held(cli)["users"]}
    assert people["amy@example.org"]["quota_bytes"] == 10 << 20
    assert (people["bob@example.net"]["send"], people["amy@example.org"]["send"]) == (False, True)
    assert lists(cli, "aliases") == {
        "@example.net": ["bob@example.net"],
        "team@example.org": ["amy@example.org", "bob@example.net", "x@elsewhere.test"],
    }
    assert lists(cli, "forwards") == {"bob@example.net": ["y@elsewhere.test"]}
    assert [one["place"] for one in done["problems"]] == [
        "postfix-accounts.cf line 4",
        "postfix-accounts.cf line 5",
        "postfix-virtual.cf line 4",
    ]
    notes = "\n".join(done["notes"])
    assert "1 lines of postfix-regexp.cf" in notes
    assert "gone@example.org, who is no account" in notes
    assert [one["folder"] for one in done["moves"]] == [
        "/var/mail/example.org/amy",
        "/var/mail/example.net/bob",
    ]


def test_mailinabox(cli: Cli, tmp_path: Path) -> None:
    file = made(
        tmp_path / "users.sqlite",
        users=[
            {"id": 1, "email": "amy@example.org", "password": "{SHA512-CRYPT}" + SHA, "privileges": "admin"},
            {"id": 2, "email": "bob@example.org", "password": "{CRYPT}ab", "quota": "2G", "privileges": ""},
        ],
        aliases=[
            {
                "source": "sales@example.org",
                "destination": "bob@example.org",
                "permitted_senders": "amy@example.org",
            },
            {"source": "@example.net", "destination": "@example.org"},
            {"source": "amy@example.org", "destination": "amy@example.org,x@elsewhere.test"},
            {"source": "bad address@example.org", "destination": "amy@example.org"},
        ],
        auto_aliases=[
            {"source": "abuse@example.org", "destination": "amy@example.org"},
            {"source": "sales@example.org", "destination": "amy@example.org"},
        ],
        mfa=[{"id": 1}],
    )
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
    }
    assert lists(cli, "forwards") == {"amy@example.org": ["x@elsewhere.test"]}
    assert [(one["user"], one["address"]) for one in whole["grants"]] == [
        ("amy@example.org", "sales@example.org")
    ]
    assert [one["object"] for one in done["problems"]] == ["bad address@example.org"]
    assert done["without_password"] == ["bob@example.org"]
    assert any("bob@example.org comes without a password" in note for note in done["notes"])


MAILU_PEOPLE: list[dict[str, Any]] = [
    {
        "email": "amy@example.org",
        "password": "{SHA512-CRYPT}" + SHA,
        "quota_bytes": 0,
        "displayed_name": "Amy",
        "enable_pop": False,
        "forward_enabled": True,
        "forward_keep": False,
        "forward_destination": ["x@elsewhere.test"],
    },
    {"email": "bob@example.org", "password": "$bcrypt-sha256$v=2,t=2b,r=12$abc$def", "enabled": False},
]
MAILU_ALIASES: list[dict[str, Any]] = [
    {"email": "team@example.org", "destination": ["amy@example.org", "bob@example.org"]},
    {"email": "%@example.org", "wildcard": True, "destination": ["amy@example.org"]},
    {"email": "x%@example.org", "wildcard": True, "destination": ["amy@example.org"]},
]


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
        "team@example.org": ["amy@example.org", "bob@example.org"],
    }
    assert [one["object"] for one in done["problems"]] == ["x%@example.org"]
    assert done["moves"][0]["folder"] == "/mail/amy@example.org"


def test_mailu_from_its_database(cli: Cli, tmp_path: Path) -> None:
    def flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: ",".join(v) if isinstance(v, list) else v for key, v in row.items()} for row in rows]

    people = [{"quota_bytes": 10**9, "enabled": 1, "enable_pop": 1, **row} for row in flat(MAILU_PEOPLE)]
    file = made(
        tmp_path / "main.db",
        domain=[{"name": "example.org"}],
        alternative=[{"name": "example.net", "domain_name": "example.org"}],
        user=people,
        alias=flat(MAILU_ALIASES),
        token=[{"id": 1}],
    )
    done = taken(cli, "mailu", file, "--keep-going", expect=3)
    check_mailu(cli, done)
    assert "1 rows of token have no counterpart here" in done["notes"]


def test_mailu_from_what_config_export_writes(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mailu.yml"
    whole = {
        "domain": [{"name": "example.org", "alternatives": ["example.net"]}],
        "user": MAILU_PEOPLE,
        "alias": MAILU_ALIASES,
    }
    file.write_text(json.dumps(whole, indent=1))
    check_mailu(cli, taken(cli, "mailu", file, "--keep-going", expect=3))
    file.write_text("user: [")
    assert "is no YAML" in cli("directory", "import", "--from", "mailu", str(file), expect=2).err


def test_vimbadmin(cli: Cli, tmp_path: Path) -> None:
    root = cli.file.parent / "d" / "mail"
    home = f"{root}/example.org/amy"
    file = made(
        tmp_path / "vimbadmin.db",
        domain=[
            {"id": 1, "domain": "example.org", "active": 1, "backupmx": 0},
            {"domain": "off.test", "active": 0},
        ],
        mailbox=[
            {
                "username": "amy@example.org",
                "password": BLF,
                "name": "Amy",
                "quota": 1000,
                "active": 1,
                "access_restriction": "IMAP,SMTP",
                "homedir": home,
                "maildir": f"maildir:{home}/mail:LAYOUT=fs",
            },
            {"username": "bob@example.org", "password": "x", "quota": 0, "active": 1, "delete_pending": 1},
            {"username": "eve@off.test", "password": "x", "quota": 0, "active": 1},
        ],
        alias=[
            {"address": "amy@example.org", "goto": "amy@example.org", "active": 1},
            {"address": "team@example.org", "goto": "amy@example.org,x@elsewhere.test", "active": 1},
        ],
        archive=[{"id": 1}],
    )
    done = taken(cli, "vimbadmin", file)
    (amy,) = held(cli)["users"]
    assert (amy["imap"], amy["pop3"], amy["send"], amy["quota_bytes"]) == (True, False, True, 1000)
    assert amy["mail_id"] == "example.org/amy"
    assert done["moves"][0]["command"] == f"ln -s mail {home}/Maildir"
    assert lists(cli, "aliases") == {"team@example.org": ["amy@example.org", "x@elsewhere.test"]}
    assert len(done["notes"]) == 3


def test_iredmail(cli: Cli, tmp_path: Path) -> None:
    root = cli.file.parent / "d" / "mail"
    mailbox = {
        "storagebasedirectory": str(root),
        "storagenode": "vmail1",
        "mailboxfolder": "Maildir",
        "active": 1,
    }
    rows = [
        ("amy@example.org", "amy@example.org"),
        ("bob@example.org", "x@elsewhere.test"),
        ("team@example.org", "amy@example.org"),
        ("team@example.org", "bob@example.org"),
        ("example.org", "amy@example.org"),
    ]
    file = made(
        tmp_path / "vmail.db",
        domain=[{"domain": "example.org", "active": 1}],
        alias_domain=[{"alias_domain": "example.net", "target_domain": "example.org", "active": 1}],
        mailbox=[
            {
                **mailbox,
                "username": "amy@example.org",
                "password": "{SSHA512}" + "A" * 96,
                "maildir": "example.org/a/m/y/amy-2020.01.01/",
                "quota": 1024,
                "enablepop3": 0,
                "expired": "9999-12-31 00:00:00",
            },
            {
                **mailbox,
                "username": "bob@example.org",
                "password": "{SSHA512}" + "A" * 96,
                "maildir": "example.org/b/",
                "quota": 0,
                "expired": "2031-01-02 03:04:05",
            },
        ],
        forwardings=[{"address": one, "forwarding": other, "active": 1} for one, other in rows],
        maillists=[{"address": "list@example.org"}],
    )
    done = taken(cli, "iredmail", file)
    amy, bob = held(cli)["users"]
    assert amy["mail_id"] == "vmail1/example.org/a/m/y/amy-2020.01.01"
    assert (amy["quota_bytes"], amy["pop3"], amy["until"]) == (1 << 30, False, None)
    assert bob["until"] == "2031-01-02T03:04:05Z"
    assert done["moves"] == []
    assert done["notes"] == ["1 rows of maillists have no counterpart here"]
    assert lists(cli, "aliases") == {
        "@example.org": ["amy@example.org"],
        "team@example.org": ["amy@example.org", "bob@example.org"],
    }
    assert lists(cli, "forwards") == {"bob@example.org": ["x@elsewhere.test"]}


def test_modoboa(cli: Cli, tmp_path: Path) -> None:
    file = made(
        tmp_path / "modoboa.db",
        core_user=[
            {
                "id": 1,
                "password": "{SHA512-CRYPT}" + SHA,
                "first_name": "Amy",
                "last_name": "Ash",
                "is_active": 1,
            },
            {"id": 2, "password": "pbkdf2_sha256$1$x$y", "is_active": 0},
        ],
        admin_domain=[
            {"id": 7, "name": "example.org", "enabled": 1, "type": "domain", "default_mailbox_quota": 5}
        ],
        admin_domainalias=[{"name": "example.net", "target_id": 7, "enabled": 1}],
        admin_mailbox=[
            {"id": 3, "address": "amy", "domain_id": 7, "user_id": 1, "quota": 9, "use_domain_quota": 1},
            {"id": 4, "address": "bob", "domain_id": 7, "user_id": 2, "quota": 9, "use_domain_quota": 0},
            {"id": 5, "address": "lost", "domain_id": 7, "user_id": 99, "quota": 0},
        ],
        admin_alias=[
            {"id": 1, "address": "amy@example.org", "enabled": 1, "internal": 1},
            {
                "id": 2,
                "address": "team@example.org",
                "enabled": 1,
                "internal": 0,
                "expire_at": "2040-01-01 00:00:00",
            },
        ],
        admin_aliasrecipient=[
            {"alias_id": 1, "address": "amy@example.org"},
            {"alias_id": 2, "address": "amy@example.org"},
        ],
        admin_senderaddress=[{"mailbox_id": 3, "address": "sales@example.org"}],
    )
    done = taken(cli, "modoboa", file, "--keep-going", expect=3)
    whole = held(cli)
    amy, bob = whole["users"]
    assert (amy["name"], amy["quota_bytes"], bob["quota_bytes"]) == ("Amy Ash", 5 << 20, 9 << 20)
    assert (bob["login"], bob["receive"], bob["password"]) == (False, False, "")
    assert [(one["address"], one["until"]) for one in whole["aliases"]] == [
        ("team@example.org", "2040-01-01T00:00:00Z")
    ]
    assert [one["address"] for one in whole["grants"]] == ["sales@example.org"]
    assert [one["object"] for one in done["problems"]] == ["lost@example.org"]
