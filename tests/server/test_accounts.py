"""The life of an account on real servers: ends by date, app passwords, grants to send."""

from __future__ import annotations

import pytest

from tests.tools.mail import PASSWORD, Lab, password_hash
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
