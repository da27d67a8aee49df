"""Processes: sockets, daemons and what the log says of them; each fault found, and gone when it ends."""

from __future__ import annotations

import smtplib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from postmaster.health.finding import Severity
from postmaster.settings import Settings
from postmaster.setup.prove import tls_context
from tests.tools.mail import PATIENCE, Lab

from .conftest import faulty
from .faults import dovecot_stopped, dovecot_with, gone, postfix_stopped, postfix_with

PROCESSES = ["processes"]


def since_last(lab: Lab) -> Settings:
    """The log is read since the run before and no further back, so that what was found ends."""
    return replace(lab.settings, health=replace(lab.settings.health, log_minutes=0.0))


def test_dovecot_stopped(sick: Lab) -> None:
    others = ["processes/lmtp socket/lmtp-down", "processes/auth socket/auth-down"]
    fault = dovecot_stopped(sick)
    with faulty(since_last(sick), PROCESSES, "dovecot-down", "dovecot", fault, allowed=others):
        pass


def test_postfix_stopped(sick: Lab) -> None:
    with faulty(since_last(sick), PROCESSES, "postfix-down", "postfix", postfix_stopped(sick)):
        pass


@pytest.mark.parametrize(
    ("path", "code", "object"),
    [
        ("private/dovecot-lmtp", "lmtp-down", "lmtp socket"),
        ("private/auth", "auth-down", "auth socket"),
        ("private/anvil", "postfix-socket-missing", "postfix private/anvil"),
    ],
)
def test_a_socket_is_gone(sick: Lab, path: str, code: str, object: str) -> None:
    with faulty(since_last(sick), PROCESSES, code, object, gone(sick.root / "spool" / path)) as found:
        assert path in found.message


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat()
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before.st_mode & 0o777)


def test_postfix_may_not_use_a_socket(sick: Lab) -> None:
    path = sick.root / "spool" / "private" / "auth"
    with faulty(since_last(sick), PROCESSES, "socket-rights", "auth socket", mode(path, 0o400)):
        pass


def until_logged(lab: Lab, text: str, do: Callable[[], None]) -> None:
    """Do something again and again, until Postfix or Dovecot says so in the log."""
    log = lab.root / "log" / "mail.log"
    begun, ends = log.stat().st_size, time.monotonic() + PATIENCE
    while text.encode() not in log.read_bytes()[begun:] and time.monotonic() < ends:
        do()
        time.sleep(0.2)


def knock(path: Path) -> None:
    """Postfix begins a process for each connection, until it is known that it cannot."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_process_that_cannot_start_and_is_held_back(sick: Lab) -> None:
    """With the settings' own reach of the log: what happened between two runs is seen by the next one too."""
    entry = "flush unix n - n 1000? 0 nonexistent"
    settings = since_last(sick)

    @contextmanager
    def fault() -> Iterator[None]:
        with postfix_with(sick, services={"flush/unix": entry}):
            until_logged(sick, "throttling", partial(knock, sick.root / "spool" / "public" / "flush"))
            yield

    with faulty(settings, PROCESSES, "service-throttled", "postfix nonexistent", fault()) as found:
        assert "bad command startup" in found.message


@pytest.mark.full
def test_dovecot_holds_back_a_service_that_cannot_start(sick: Lab) -> None:
    text = "service pop3-login {\n  chroot = /nonexistent\n}"

    @contextmanager
    def fault() -> Iterator[None]:
        with dovecot_with(sick, text):
            for _ in range(3):
                with suppress(OSError), socket.create_connection(("127.0.0.1", sick.port("pop3")), 1) as one:
                    one.settimeout(0.5)
                    one.recv(100)
            yield

    with faulty(since_last(sick), PROCESSES, "service-throttled", "dovecot pop3-login", fault()):
        pass


@contextmanager
def no_mechanisms(lab: Lab) -> Iterator[None]:
    """A client asks a submission process that has nobody to check passwords with what it offers."""

    def ask() -> None:
        # One that was idle before knows the mechanisms still: it serves one client, and then ends.
        with (
            suppress(OSError, smtplib.SMTPException),
            smtplib.SMTP("127.0.0.1", lab.port("submission"), timeout=10) as client,
        ):
            client.starttls(context=tls_context())
            client.ehlo()

    with gone(lab.root / "spool" / "private" / "auth"), postfix_with(lab):
        until_logged(lab, "no SASL authentication mechanisms", ask)
        yield


def test_a_daemon_ends_with_a_fatal_error(sick: Lab) -> None:
    others = ["processes/auth socket/auth-down", "processes/postfix smtpd/*"]
    fault, warning = no_mechanisms(sick), Severity.warning
    with faulty(
        since_last(sick), PROCESSES, "log-fatal", "postfix smtpd", fault, severity=warning, allowed=others
    ) as found:
        assert "no SASL authentication mechanisms" in found.message


@pytest.mark.full
def test_a_server_that_starts_again_and_again(sick: Lab) -> None:
    settings = since_last(sick)
    settings = replace(settings, health=replace(settings.health, restarts_warning=0))

    @contextmanager
    def fault() -> Iterator[None]:
        with postfix_stopped(sick):
            pass
        yield

    warning = Severity.warning
    with faulty(settings, PROCESSES, "restarted-often", "postfix starts", fault(), severity=warning):
        pass
