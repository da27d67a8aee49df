"""What cannot be delivered comes back, and what cannot come back reaches the postmaster."""

from __future__ import annotations

from postmaster.lab.layout import POSTMASTER
from tests.tools.mail import Lab, password_hash
from tests.tools.sink import Sink


def test_a_message_that_cannot_be_delivered_comes_back(lab: Lab, domain: str, outside: Sink) -> None:
    amy = f"amy@{domain}"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
    with lab.submission(amy) as client:
        client.sendmail(amy, ["refused@elsewhere.test"], f"From: {amy}\r\nSubject: in vain\r\n\r\nHello.\r\n")
    (notice,) = lab.wait_for(amy, "Undelivered")
    text = notice.as_string()
    assert "refused@elsewhere.test" in text
    assert "5.1.1" in text
    assert notice["Return-Path"] == "<>"


def test_a_bounce_that_cannot_be_delivered_reaches_the_postmaster(
    lab: Lab, domain: str, outside: Sink
) -> None:
    with lab.change() as make:
        make.alias(f"list@{domain}", f"refused-{domain}@elsewhere.test")
    lab.send(f"list@{domain}", "twice in vain", sender=f"refused-sender-{domain}@outside.test")
    password = (lab.root / "postmaster.password").read_text().strip()
    notices = lab.wait_for(POSTMASTER, "Undelivered", password)
    assert any(f"refused-{domain}@elsewhere.test" in notice.as_string() for notice in notices)
