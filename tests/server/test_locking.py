"""A stolen account: what is open is closed, what waits is held, what comes in stays in the house."""

from __future__ import annotations

import imaplib
import json
import os
import pwd
import smtplib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory.database import open_directory
from tests.tools.building import A
from tests.tools.mail import PASSWORD, PATIENCE, Lab, password_hash

ALL = ("imap", "imaps", "pop3", "pop3s", "submission", "submissions")
SECRET = "abcd-efgh-ijkm-npqr-stuv-wxyz-2346"
SCRIPT = """\
# redirect "not-this@elsewhere.test";
require ["copy", "variables"];
if header :contains "subject" "redirect" { redirect :copy "thief@elsewhere.test"; }
redirect text:
second@elsewhere.test
.
;
"""


def queued(lab: Lab, login: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        lab.postmaster("queue", "list", f"sasl={login}", "-o", "json").stdout
    )
    return found


def wait_until_queued(lab: Lab, login: str, count: int) -> list[dict[str, Any]]:
    ends = time.monotonic() + PATIENCE
    while True:
        found = queued(lab, login)
        if len(found) == count and all(one["queue_name"] in ("deferred", "hold") for one in found):
            return found
        assert time.monotonic() < ends, found
        time.sleep(0.1)


def is_over(client: imaplib.IMAP4) -> bool:
    """Whether the server has ended a session."""
    try:
        return [client.noop()[0] for _ in range(2)] == ["BYE", "BYE"]
    except (imaplib.IMAP4.abort, OSError):
        return True


@pytest.fixture
def amy(lab: Lab, domain: str) -> str:
    with lab.change() as make:
        for name in ("amy", "bob"):
            make.user(f"{name}@{domain}", password_hash=password_hash())
    return f"amy@{domain}"


def test_a_lock_ends_what_is_open_and_holds_what_waits_and_nobody_elses(
    lab: Lab, domain: str, amy: str
) -> None:
    bob = f"bob@{domain}"
    with lab.change() as make:
        make.app_password(amy, "phone", SECRET)
        make.forward(amy, "amy@elsewhere.test", bob, keep_copy=False)
    for login in (amy, bob):
        with lab.submission(login) as client:
            for number in range(3):
                client.sendmail(login, [f"x{number}@elsewhere.test"], f"Subject: s{number}\r\n\r\nHello.\r\n")
    wait_until_queued(lab, amy, 3)
    wait_until_queued(lab, bob, 3)
    # His session is left first: a session that broke spoils the next answer of another one in Python's ssl.
    with suppress(imaplib.IMAP4.abort), lab.imap(amy) as hers, lab.imap(bob) as his:
        hers.select("INBOX")
        with lab.submission(amy) as open_session, lab.submission(amy) as in_data:
            open_session.mail(amy)
            assert open_session.rcpt("friend@elsewhere.test")[0] == 250
            in_data.mail(amy)
            in_data.rcpt("friend@elsewhere.test")
            in_data.putcmd("DATA")
            assert in_data.getreply()[0] == 354
            in_data.send(b"Subject: under way\r\n\r\nThe first half, ")
            done = json.loads(lab.postmaster("user", "lock", amy, "--yes", "-o", "json").stdout)
            assert is_over(hers)
            assert his.noop()[0] == "OK"
            in_data.send(b"and the second.\r\n.\r\n")
            assert in_data.getreply()[0] == 554
            assert open_session.rcpt("other@elsewhere.test")[0] == 554
            open_session.rset()
            assert open_session.mail("")[0] == 250
            assert open_session.rcpt("friend@elsewhere.test")[0] == 554
        assert [name for name in ALL if lab.may_login(name, amy)] == []
        assert [name for name in ALL if lab.may_login(name, amy, SECRET)] == []
        assert [name for name in ALL if not lab.may_login(name, bob)] == []
        assert {one["queue_name"] for one in queued(lab, amy)} == {"hold"}
        assert len(queued(lab, amy)) == 3
        assert {one["queue_name"] for one in queued(lab, bob)} == {"deferred"}
    assert done["sessions_ended"] >= 1
    assert (done["held"], done["not_held"], done["failed"]) == (3, [], [])
    assert (done["forwards_off"], done["app_passwords_off"]) == (["amy@elsewhere.test"], ["phone"])
    sent = done["sent"]
    assert (sent["messages"], sent["recipients"]) == (3, 3)
    assert sent["domains"] == [{"domain": "elsewhere.test", "recipients": 3}]
    assert sent["clients"][0]["address"].startswith("127.")
    # Again is no harm, and finds nothing more.
    again = json.loads(lab.postmaster("user", "lock", amy, "--yes", "-o", "json").stdout)
    assert (again["entry"], again["held"], again["sessions_ended"]) == (None, 0, 0)
    refused = lab.postmaster("user", "unlock", amy, "--password-stdin", stdin=f"{PASSWORD}\n", expect=2)
    assert "that is the password that the account was locked with" in refused.stderr
    assert not lab.may_login("imap", amy)
    new = "another battery staple"
    opened = lab.postmaster("user", "unlock", amy, "--password-stdin", "-o", "json", stdin=f"{new}\n")
    assert json.loads(opened.stdout)["app_passwords_revoked"] == ["phone"]
    assert not lab.may_login("imap", amy, PASSWORD)
    assert not lab.may_login("imap", amy, SECRET)
    assert [name for name in ALL if not lab.may_login(name, amy, new)] == []
    assert {one["queue_name"] for one in queued(lab, amy)} == {"hold"}


def test_what_a_locked_user_redirects_by_sieve_is_named_and_stays_here(lab: Lab, domain: str) -> None:
    carl = f"carl@{domain}"
    with lab.change() as make:
        make.user(carl, password_hash=password_hash())
    lab.send(carl, "first")
    lab.wait_for(carl, "first")
    home, account = lab.home(carl), pwd.getpwnam(lab.settings.mail.user)
    (home / "sieve").mkdir()
    (home / "sieve" / "steal.sieve").write_text(SCRIPT)
    (home / "sieve" / "other.sieve").write_text("keep;")
    (home / "sieve" / "trap.sieve").symlink_to("/etc/passwd")
    (home / ".dovecot.sieve").symlink_to("sieve/steal.sieve")
    for path in (home / "sieve", *(home / "sieve").iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    done = json.loads(lab.postmaster("user", "lock", carl, "--yes", "-o", "json").stdout)
    assert done["failed"] == []
    (script,) = done["scripts"]
    assert (script["name"], script["active"]) == ("steal", True)
    assert script["redirects"] == ["thief@elsewhere.test", "second@elsewhere.test"]
    lab.send(carl, "redirect me")
    new = "another battery staple"
    ends = time.monotonic() + PATIENCE
    while (
        time.monotonic() < ends
        and len(list((home / "Maildir").rglob("*:2,*"))) + len(list((home / "Maildir" / "new").iterdir())) < 2
    ):
        time.sleep(0.1)
    lab.postmaster("user", "unlock", carl, "--password-stdin", stdin=f"{new}\n")
    lab.wait_for(carl, "redirect me", new)
    assert "thief@elsewhere.test" not in lab.log()


def test_a_lock_without_servers_still_locks_and_names_what_could_not_be_done(
    lab: Lab, amy: str, tmp_path: Path
) -> None:
    text = lab.status.settings_file.read_text()
    broken = tmp_path / "postmaster.toml"
    broken.write_text(text.replace(str(lab.settings.postfix.config_directory), str(tmp_path / "none")))
    from postmaster.settings import load_settings

    with open_directory(load_settings(broken, {})) as directory:
        from postmaster.lifecycle import lock

        done = lock.lock(directory, A(amy), since=0)
    assert [text.partition(":")[0] for text in done.failed] == ["holding queued mail"]
    assert not lab.may_login("imap", amy)
    with suppress(smtplib.SMTPException):
        assert not lab.may_login("submission", amy)
