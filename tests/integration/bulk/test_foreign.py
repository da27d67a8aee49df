"""Other systems' own files, hostile lines among them, are taken in; what cannot be read is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmaster.directory import passwords
from tests.integration.bulk.importing import BLF, SHA, held, lists, taken
from tests.integration.cli.conftest import Cli
from tests.tools.documented import json_keys, key_paths


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("mysql://user:secret@127.0.0.1/x", "does not belong in a command line"),
        ("mysql+mysqldb://user@127.0.0.1/x", "the driver for mysql is not installed: MySQLdb"),
        ("mysql://user@127.0.0.1:1/x", "Can't connect to MySQL server on '127.0.0.1'"),
        ("postgresql://user@127.0.0.1:1/x", "cannot be read: connection failed"),
        ("env:NO_SUCH_VARIABLE", "has no variable"),
        ("/no/such/file", "there is no /no/such/file"),
        ("nonsense://x", "is no database URL"),
        ("sqlite:////no/such/file.db", "there is no /no/such/file.db"),
        ("/dev/null", "the source has no table domain"),
        ("/etc", "/etc cannot be read: Is a directory"),
        ("", "cannot be read: Is a directory"),
        ("env:", "has no variable"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_in_one_line(cli: Cli, source: str, said: str) -> None:
    result = cli("directory", "import", "--from", "postfixadmin", source, expect=None)
    assert result.status in (1, 2)
    assert said in result.err
    assert result.err.count("\n") == 1
    assert "secret" not in result.err


def test_a_source_is_not_made_by_being_named(cli: Cli, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    cli("directory", "import", "--from", "mailinabox", url, expect=1)
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_is_damaged_is_refused(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    refused = cli("directory", "import", "--from", "mailinabox", str(file), expect=2).err
    assert "cannot be read: file is not a database" in refused
    assert refused.count("\n") == 1


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


def test_a_password_in_clear_text_is_hashed_and_its_user_named(cli: Cli, tmp_path: Path) -> None:
    secret, file = "correct horse battery", tmp_path / "users"
    file.write_text(
        f"amy@example.org:{{PLAIN}}{secret}::::/srv/amy\nbob@example.org:{{cleartext}}{secret}::::/srv/bob\n"
        f"carl@example.org:{{PLAIN}}short::::/srv/carl\ndora@example.org:{{PLAIN}}*::::/srv/dora\n"
    )
    words = ("directory", "import", "--from", "passwd-file", str(file))
    looked = cli(*words, "--dry-run", "-o", "json")
    assert (looked.json["created"], looked.json["hashed"]) == (5, 0)
    done = taken(cli, "passwd-file", file)
    assert done["hashed"] == 2
    assert done["without_password"] == ["carl@example.org", "dora@example.org"]
    people = {one["address"].partition("@")[0]: one["password"] for one in held(cli)["users"]}
    assert all(passwords.verify(secret, people[name]) for name in ("amy", "bob"))
    assert people["amy"] != people["bob"]
    assert [one for one in done["notes"] if "password" in one] == [
        "amy@example.org has a password in clear text there, and only a hash of it here",
        "bob@example.org has a password in clear text there, and only a hash of it here",
        "carl@example.org comes without a password: the password is shorter than 8 characters",
        "dora@example.org has no password there",
    ]
    said = cli(*words)
    files = [one.read_bytes() for one in (cli.file.parent / "d").rglob("*") if one.is_file()]
    shown = str(done) + looked.out + looked.err + said.out + said.err
    assert secret not in shown
    assert not any(secret.encode() in text for text in files)


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


def test_extra_fields_of_a_passwd_file(cli: Cli, tmp_path: Path) -> None:
    """Sizes as Dovecot reads them: a storage without a unit is in KiB (Dovecot 2.3, Quota Rules)."""
    fields = {
        "a": "userdb_quota_rule=*:storage=1024",
        "b": "userdb_quota_rule=*:bytes=10M",
        "c": "userdb_quota_storage_size=1g nologin=y",
        "d": "userdb_quota_rule=*:storage=0 userdb_mail=mbox:~/mail",
        "e": "userdb_quota_rule=Trash:storage=+10%",
    }
    file = tmp_path / "users"
    file.write_text("".join(f"{name}@example.org:{{SSHA}}x::::::{extra}\n" for name, extra in fields.items()))
    done = taken(cli, "passwd-file", file)
    people = {one["address"][0]: one for one in held(cli)["users"]}
    assert [people[name]["quota_bytes"] for name in fields] == [1 << 20, 10 << 20, 1 << 30, None, None]
    assert [people[name]["login"] for name in fields] == [True, True, False, True, True]
    said = "\n".join(done["notes"])
    assert "d@example.org: the field 'userdb_mail=mbox:~/mail' has no counterpart" in said
    assert "e@example.org: the field 'userdb_quota_rule=Trash:storage=+10%' has no counterpart" in said


def test_docker_mailserver(cli: Cli, tmp_path: Path) -> None:
    """Lines as its scripts write them (database/db.sh, restrict-access), and by hand."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "postfix-accounts.cf").write_text(
        f"   # comment\nAmy@example.org|{{SHA512-CRYPT}}{SHA}\nbob@example.net|{{SHA512-CRYPT}}{SHA}|"
        "userdb_mail=mbox:~/x userdb_quota_rule=*:bytes=1G\nno bar\n../../etc@example.org|x\n"
        f"carl@example.org|{{SHA512-CRYPT}}{SHA}|nologin userdb_quota_rule=*:bytes=1G\r\n"
    )
    (folder / "postfix-virtual.cf").write_text(
        "team@example.org amy@example.org,bob@example.net\nteam@example.org x@elsewhere.test\n"
        "bob@example.net bob@example.net, y@elsewhere.test\nempty@example.org\n@example.net bob@example.net\n"
        "long@example.org\tamy@example.org,\n    z@elsewhere.test\nroot amy@example.org\n"
        "@example.com @example.org\n"
    )
    (folder / "dovecot-quotas.cf").write_text(
        "amy@example.org:10M\ngone@example.org:1G\ncarl@example.org:0\nno colon\n"
    )
    (folder / "postfix-send-access.cf").write_text(
        "bob@example.net \t\t REJECT\ncarl@example.org \t\t DISCARD\n"
    )
    (folder / "postfix-receive-access.cf").write_text("carl@example.org \t\t REJECT\n")
    (folder / "postfix-regexp.cf").write_text("/^x/ amy@example.org\n")
    (folder / "amy@example.org.dovecot.sieve").write_text("keep;\n")
    (folder / "dovecot-masters.cf").write_text("")
    done = taken(cli, "docker-mailserver", folder, "--keep-going", expect=3)
    whole = held(cli)
    assert {one["domain"]: one["alias_of"] for one in whole["domains"]} == {
        "example.com": "example.org",
        "example.net": None,
        "example.org": None,
    }
    people = {one["address"][:3]: one for one in whole["users"]}
    assert {name: one["quota_bytes"] for name, one in people.items()} == {
        "amy": 10 << 20,
        "bob": 1 << 30,
        "car": None,
    }
    assert [(one["send"], one["receive"], one["login"]) for one in people.values()] == [
        (False, True, True),
        (True, True, True),
        (True, False, False),
    ]
    assert lists(cli, "aliases") == {
        "@example.net": ["bob@example.net"],
        "long@example.org": ["amy@example.org", "z@elsewhere.test"],
        "team@example.org": ["amy@example.org", "bob@example.net"],
    }
    assert lists(cli, "forwards") == {"bob@example.net": ["y@elsewhere.test"]}
    assert [one["place"] for one in done["problems"]] == [
        "dovecot-quotas.cf line 4",
        "postfix-accounts.cf line 4",
        "postfix-accounts.cf line 5",
        "postfix-virtual.cf line 4",
    ]
    notes = "\n".join(done["notes"])
    assert (
        "not read, as there is no counterpart here: amy@example.org.dovecot.sieve, postfix-regexp.cf" in notes
    )
    assert "gone@example.org, who is no account" in notes
    assert "postfix-virtual.cf line 2 names team@example.org again, which does nothing there" in notes
    assert "root is a name of the machine's own there" in notes
    assert "DISCARD' has no counterpart" in notes
    assert {one["folder"] for one in done["moves"]} == {
        "/var/mail/example.org/amy",
        "/var/mail/example.net/bob",
        "/var/mail/example.org/carl",
    }
