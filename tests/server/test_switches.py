"""A right that is withdrawn is gone at the very next login, and in a session that is open."""

from __future__ import annotations

import smtplib

import pytest

from tests.tools.mail import PASSWORD, Lab, password_hash
from tests.tools.sink import Sink

ALL = ("imap", "imaps", "pop3", "pop3s", "submission", "submissions")


@pytest.fixture
def amy(lab: Lab, domain: str) -> str:
    address = f"amy@{domain}"
    with lab.change() as make:
        make.user(address, password_hash=password_hash())
    return address


@pytest.mark.parametrize(
    ("switch", "closed"),
    [
        ("login", ALL),
        ("imap", ("imap", "imaps")),
        ("pop3", ("pop3", "pop3s")),
        ("send", ("submission", "submissions")),
    ],
)
def test_a_switch_takes_effect_at_the_next_login(
    lab: Lab, amy: str, switch: str, closed: tuple[str, ...]
) -> None:
    assert [name for name in ALL if not lab.may_login(name, amy)] == []
    lab.postmaster("user", "set", amy, f"--no-{switch}")
    for name in closed:
        assert not lab.may_login(name, amy), name
    for name in set(ALL) - set(closed):
        assert lab.may_login(name, amy), name
    lab.postmaster("user", "set", amy, f"--{switch}")
    # A good login first clears what the refused ones cost, so the order is of no matter here.
    assert [name for name in ALL if not lab.may_login(name, amy)] == []


@pytest.mark.parametrize("name", ["imap", "pop3", "submission"])
def test_a_new_password_takes_effect_at_the_next_login(lab: Lab, amy: str, name: str) -> None:
    assert lab.may_login(name, amy)
    new = "another battery staple"
    lab.postmaster("user", "password", amy, "--password-stdin", stdin=f"{new}\n")
    assert not lab.may_login(name, amy, PASSWORD)
    assert lab.may_login(name, amy, new)


def test_a_removed_user_does_not_log_in(lab: Lab, amy: str) -> None:
    assert lab.may_login("imap", amy)
    lab.postmaster("user", "remove", amy, "--yes")
    assert not lab.may_login("imap", amy)


@pytest.mark.parametrize("withdraw", ["--no-send", "--no-login"])
def test_no_send_stops_an_open_session(lab: Lab, amy: str, outside: Sink, withdraw: str) -> None:
    with lab.submission(amy) as client:
        client.mail(amy)
        assert client.rcpt("friend@elsewhere.test")[0] == 250
        lab.postmaster("user", "set", amy, withdraw)
        code, text = client.rcpt("other@elsewhere.test")
        assert code == 554
        assert b"may not send" in text
        client.rset()
        client.mail(amy)
        assert client.rcpt("friend@elsewhere.test")[0] == 554
        # Nor as a bounce, nor to someone here.
        client.rset()
        client.mail("")
        assert client.rcpt("friend@elsewhere.test")[0] == 554
        client.rset()
        client.mail(amy)
        assert client.rcpt(amy)[0] == 554


def test_a_removed_user_stops_sending_in_an_open_session(lab: Lab, amy: str, outside: Sink) -> None:
    with lab.submission(amy) as client:
        client.mail(amy)
        assert client.rcpt("friend@elsewhere.test")[0] == 250
        lab.postmaster("user", "remove", amy, "--yes")
        client.rset()
        client.mail(amy)
        assert client.rcpt("friend@elsewhere.test")[0] in (553, 554)


def test_sending_as_someone_else_is_refused(lab: Lab, amy: str, domain: str, outside: Sink) -> None:
    with lab.change() as make:
        make.user(f"bob@{domain}", password_hash=password_hash())
        make.domain(f"alias-{domain}", domain)
        make.alias(f"team@{domain}", amy)
    own = {amy, f"amy@alias-{domain}", f"amy+tag@{domain}"}
    others = {f"bob@{domain}", f"team@{domain}", f"nobody@{domain}", "amy@elsewhere.test"}
    with lab.submission(amy) as client:
        for sender in sorted(own | others):
            client.rset()
            client.mail(sender)
            code, _ = client.rcpt("friend@elsewhere.test")
            assert code == (250 if sender in own else 553), sender


def test_a_missing_date_and_message_id_are_added(lab: Lab, amy: str, outside: Sink) -> None:
    with lab.submission(amy, name="submissions") as client:
        client.sendmail(amy, ["friend@elsewhere.test"], f"From: {amy}\r\nSubject: bare\r\n\r\nHello.\r\n")
    content = outside.wait_for("friend@elsewhere.test").content
    head = content.partition(b"\r\n\r\n")[0].lower()
    assert b"\ndate: " in head
    assert b"\nmessage-id: <" in head


def test_nothing_is_added_to_a_strangers_message(lab: Lab, amy: str) -> None:
    with lab.smtp() as client:
        client.sendmail(
            "stranger@outside.test", [amy], "From: stranger@outside.test\r\nSubject: bare\r\n\r\n.\r\n"
        )
    (message,) = lab.wait_for(amy, "bare")
    assert message["Message-ID"] is None


def test_there_is_no_login_without_tls_and_none_on_port_25(lab: Lab) -> None:
    with lab.smtp() as client:
        assert not client.has_extn("auth")
        assert client.has_extn("starttls")
    with smtplib.SMTP("127.0.0.1", lab.port("submission"), timeout=30) as client:
        client.ehlo()
        assert not client.has_extn("auth")
