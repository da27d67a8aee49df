"""Passwords that real servers refused and took, found in what they logged: Dovecot 2.3's and 2.4's words."""

from __future__ import annotations

import imaplib
import json
import poplib
import smtplib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from postmaster.dovecot import events
from postmaster.setup.prove import tls_context
from tests.tools.mail import PASSWORD, PATIENCE, Lab, password_hash

WRONG = "not this one"


def try_imap(lab: Lab, source: str, login: str, password: str) -> bool:
    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return socket.create_connection(("127.0.0.1", self.port), 30, (source, 0))

    client = Client("127.0.0.1", lab.port("imap"))
    try:
        client.starttls(tls_context())
        client.login(login, password)
    except imaplib.IMAP4.error:
        return False
    finally:
        client.logout()
    return True


def try_pop3(lab: Lab, source: str, login: str, password: str) -> bool:
    class Client(poplib.POP3):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return socket.create_connection(("127.0.0.1", self.port), 30, (source, 0))

    client = Client("127.0.0.1", lab.port("pop3"))
    try:
        client.stls(tls_context())
        client.user(login)
        client.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        client.quit()
    return True


def try_submission(lab: Lab, source: str, login: str, password: str) -> bool:
    with smtplib.SMTP(
        "127.0.0.1", lab.port("submission"), "client.test", timeout=30, source_address=(source, 0)
    ) as client:
        client.starttls(context=tls_context())
        client.ehlo()
        client.user, client.password = login, password
        try:
            client.auth("PLAIN", client.auth_plain)  # once; login() would try other mechanisms too
        except smtplib.SMTPAuthenticationError:
            return False
        if password == PASSWORD:  # Postfix names a login that was let in with its message only
            client.sendmail(login, [login], f"From: {login}\r\nSubject: mine\r\n\r\nHello.\r\n")
    return True


def after(lab: Lab, began: float, *words: str, expect: int | None = 0) -> Any:
    since = f"{time.time() - began + 1:.0f}s"
    done = lab.postmaster("log", *words, "--since", since, "-o", "json", expect=expect)
    return json.loads(done.stdout)


def until(look: Callable[[], bool]) -> None:
    """A session's last line is written after the client has gone."""
    ends = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < ends
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("attempt", "source", "name"),
    [
        (try_imap, "127.79.0.1", "127.79.0.1"),
        (try_submission, "127.79.0.3", "unknown[127.79.0.3]"),
    ],
)
def test_a_refused_password_is_counted_and_one_that_then_fits_is_suspicious(
    lab: Lab, domain: str, attempt: Callable[[Lab, str, str, str], bool], source: str, name: str
) -> None:
    amy, began = f"amy@{domain}", time.time()
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
    assert not attempt(lab, source, amy, WRONG)

    def is_counted() -> bool:
        made = after(lab, began, "report", "--top", "0")
        return {"name": name, "count": 1} in made["failed_clients"]

    until(is_counted)
    refused = {
        one["name"]: one["count"] for one in after(lab, began, "report", "--top", "0")["failed_logins"]
    }
    assert refused.get(amy, 1) == 1  # Postfix says the login since 3.8 only
    assert not [
        one for one in after(lab, began, "suspicious", "--guesses", "1", expect=None) if one["login"] == amy
    ]
    assert attempt(lab, source, amy, PASSWORD)

    def found() -> list[dict[str, Any]]:
        every = after(lab, began, "suspicious", "--guesses", "1", expect=None)
        return [one for one in every if one["login"] == amy]

    until(lambda: bool(found()))
    (one,) = found()
    assert (one["kind"], one["count"], one["addresses"]) == ("guessed", 1, [source])
    assert one["command"] == f"postmaster user set {amy} --no-login --no-send"


def test_dovecots_lines_about_logins_are_all_understood(lab: Lab, domain: str) -> None:
    amy, source = f"amy@{domain}", "127.79.0.9"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
    assert try_imap(lab, source, amy, PASSWORD)
    assert not try_pop3(lab, source, f"nobody@{domain}", WRONG)
    log = lab.root / "log" / "dovecot.log"

    def told() -> list[events.Event]:
        lines = log.read_text().splitlines()
        return [events.parse(line[line.index("-login: ") - 4 :]) for line in lines if f"rip={source}" in line]

    until(lambda: len(told()) >= 2)
    login, end = told()[:2]
    assert isinstance(login, events.Login)
    assert (login.user, login.address, login.method) == (amy, source, "PLAIN")
    assert isinstance(end, events.LoginEnd)
    assert (end.user, end.address, end.failures) == (f"nobody@{domain}", source, 1)
