"""The life of an account on real servers: ends, app passwords, grants, other names, removal, copies."""

from __future__ import annotations

import imaplib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from postmaster.postfix import control
from postmaster.process import run
from tests.tools.mail import PASSWORD, PATIENCE, Lab, password_hash
from tests.tools.sink import Sink

ALL = ("imap", "imaps", "pop3", "pop3s", "submission", "submissions")
SECRET = "abcd-efgh-ijkm-npqr-stuv-wxyz-2345"


@pytest.fixture
def amy(lab: Lab, domain: str) -> str:
    address = f"amy@{domain}"
    with lab.change() as make:
        make.user(address, password_hash=password_hash())
    return address


def test_an_address_that_has_ended_gets_550_and_lets_nobody_in(lab: Lab, domain: str, amy: str) -> None:
    with lab.change() as make:
        make.alias(f"@{domain}", amy)
        make.user(f"bob@{domain}", password_hash=password_hash())
        make.alias(f"old@{domain}", amy)
        make.until(f"bob@{domain}", 3600)
        make.until(f"old@{domain}", 3600)
    assert lab.rcpt(f"bob@{domain}")[0] == lab.rcpt(f"old+tag@{domain}")[0] == 250
    assert lab.may_login("imap", f"bob@{domain}")
    with lab.change() as make:
        make.until(f"bob@{domain}", 0)
        make.until(f"old@{domain}", 0)
    assert lab.rcpt(f"bob@{domain}")[0] == lab.rcpt(f"old+tag@{domain}")[0] == 550
    assert [name for name in ALL if lab.may_login(name, f"bob@{domain}")] == []


def test_an_app_password_opens_what_it_is_for_and_the_own_password_still_does(lab: Lab, amy: str) -> None:
    with lab.change() as make:
        make.app_password(amy, "phone", SECRET)
    assert [name for name in ALL if not lab.may_login(name, amy, SECRET)] == []
    assert [name for name in ALL if not lab.may_login(name, amy, PASSWORD)] == []
    assert not lab.may_login("imap", amy, SECRET.upper())


def test_a_grant_lets_another_login_send_as_an_address(
    lab: Lab, domain: str, amy: str, outside: Sink
) -> None:
    with lab.change() as make:
        make.user(f"bob@{domain}", password_hash=password_hash())
        make.user(f"carl@{domain}", password_hash=password_hash())
        make.grant(f"bob@{domain}", amy)
        make.grant(f"carl@{domain}", f"@{domain}")
    for login, sender, expected in (
        ("amy", f"amy+tag@{domain}", 250),
        ("bob", amy, 250),
        ("bob", f"amy+tag@{domain}", 250),
        ("bob", f"carl@{domain}", 553),
        ("carl", f"nobody@{domain}", 250),
        ("carl", amy, 250),
        ("amy", f"carl@{domain}", 553),
    ):
        with lab.submission(f"{login}@{domain}") as client:
            client.mail(sender)
            assert client.rcpt("friend@elsewhere.test")[0] == expected, (login, sender)


def test_app_passwords_are_made_used_listed_and_revoked(lab: Lab, amy: str) -> None:
    def ask(*words: str) -> Any:
        return json.loads(lab.postmaster("user", "app-password", *words, "-o", "json").stdout)

    made = ask("add", amy, "old phone", "--for", "imap")
    sender = ask("add", amy, "scanner", "--for", "send")
    assert len(made["password"].replace("-", "")) * 5 >= 128
    assert [name for name in ALL if lab.may_login(name, amy, made["password"])] == ["imap", "imaps"]
    assert [name for name in ALL if lab.may_login(name, amy, sender["password"])] == [
        *("submission", "submissions")
    ]
    with lab.submission(amy, sender["password"]) as client:
        client.sendmail(amy, [amy], "Subject: by the scanner\r\n\r\nHello.\r\n")
    lab.wait_for(amy, "by the scanner")
    used = {one["name"]: one["last_used_at"] for one in ask("list", amy)}
    assert used["old phone"] is not None
    assert used["scanner"] is None
    shown = json.loads(lab.postmaster("user", "show", amy, "-o", "json").stdout)
    assert shown["last_login"] >= used["old phone"]
    assert (shown["usage_messages"], shown["usage_bytes"]) == (1, 1024)
    rows = json.loads(lab.postmaster("user", "list", "--usage", "-o", "json").stdout)
    assert [one["usage_messages"] for one in rows if one["address"] == amy] == [1]
    assert ask("revoke", amy, "old phone")["revoked"] == ["old phone"]
    assert not lab.may_login("imap", amy, made["password"])
    assert lab.may_login("submission", amy, sender["password"])
    everything = b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())
    assert made["password"].encode() not in everything
    assert sender["password"].encode() not in everything


def test_a_renamed_user_logs_in_by_the_new_name_and_gets_what_waited_for_the_old(
    lab: Lab, domain: str, amy: str
) -> None:
    new = f"amy.ash@{domain}"
    lab.send(amy, "before")
    lab.wait_for(amy, "before")
    config = str(lab.settings.postfix.config_directory)
    # What waits for the old address: its transport is away for a while.
    run(["postconf", "-c", config, "-e", "defer_transports=lmtp"])
    control.reload(lab.settings.postfix.config_directory)
    try:
        lab.send(amy, "waits")
        lab.send(f"amy+tag@{domain}", "waits too")
        lab.send(amy, "on hold")
        there = ("queue", "list", f"recipient-domain={domain}", "-o", "json")
        ends = time.monotonic() + PATIENCE
        while len(found := json.loads(lab.postmaster(*there).stdout)) < 3:
            assert time.monotonic() < ends, found
            time.sleep(0.1)
        lab.postmaster("queue", "hold", f"recipient={amy} and subject='on hold'", "--yes")
    finally:
        run(["postconf", "-c", config, "-#", "defer_transports"])
        control.reload(lab.settings.postfix.config_directory)
    with suppress(imaplib.IMAP4.abort), lab.imap(amy) as session:
        done = json.loads(lab.postmaster("user", "rename", amy, new, "-o", "json").stdout)
        with pytest.raises((session.abort, OSError)):
            [session.noop() for _ in range(2)]
    assert (done["alias"], done["requeued"], done["on_hold"]) == (amy, 2, 1)
    assert not lab.may_login("imap", amy)
    lab.wait_for(new, "before")
    # What was requeued waits for pickup, which comes each minute, or with the next message from here.
    run(["sendmail", "-C", config, new], stdin="Subject: local\n\nHello.\n")
    lab.wait_for(new, "waits")
    lab.wait_for(new, "waits too")
    lab.send(amy, "after")
    lab.wait_for(new, "after")


def test_a_renamed_domain_takes_mail_by_both_names(lab: Lab, domain: str, amy: str) -> None:
    lab.postmaster("domain", "rename", domain, f"new-{domain}", "--yes")
    lab.send(amy, "by the old name")
    lab.send(f"amy@new-{domain}", "by the new name")
    lab.wait_for(f"amy@new-{domain}", "by the old name")
    lab.wait_for(f"amy@new-{domain}", "by the new name")
    lab.postmaster("domain", "rename", f"new-{domain}", domain, "--no-alias", "--yes")
    assert lab.may_login("imap", amy)


def test_a_removed_user_comes_back_with_the_mail(lab: Lab, domain: str, amy: str) -> None:
    lab.send(amy, "kept for later")
    lab.wait_for(amy, "kept for later")
    gone = json.loads(lab.postmaster("user", "remove", amy, "--yes", "-o", "json").stdout)
    assert "/.trash/" in gone["mail_folder"]
    assert not lab.may_login("imap", amy)
    assert lab.rcpt(amy)[0] == 550
    lab.postmaster("user", "restore", amy, "--restore-password")
    assert lab.rcpt(amy)[0] == 250
    lab.wait_for(amy, "kept for later")
    lab.postmaster("user", "remove", amy, "--yes")
    lab.postmaster("user", "restore", amy)
    assert lab.rcpt(amy)[0] == 250
    assert not lab.may_login("imap", amy)


def test_running_servers_see_a_restored_directory_at_once(
    lab: Lab, amy: str, domain: str, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    lab.postmaster("directory", "backup", copy)
    lab.postmaster("user", "password", amy, "--password-stdin", stdin="another battery staple\n")
    with lab.change() as make:
        make.user(f"late@{domain}")
    assert not lab.may_login("imap", amy)
    assert lab.rcpt(f"late@{domain}")[0] == 250
    lab.postmaster("directory", "restore", copy, "--yes")
    assert lab.may_login("imap", amy)
    assert lab.may_login("submission", amy)
    assert lab.rcpt(f"late@{domain}")[0] == 550
