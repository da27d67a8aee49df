"""Every form of a log line gives the same event; foreign lines give nothing; nothing makes it fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from postmaster.dovecot import events as dovecot
from postmaster.postfix.events import Connect, Removed
from postmaster.postfix.forms import moment_of, plain
from postmaster.postfix.stamps import Clock
from postmaster.trace.lines import parse
from tests.tools.forms import ENTRY, lines_of_any_form

NOW = 1_780_000_000.0
CLOCK = Clock(NOW)


@pytest.mark.parametrize(
    ("tag", "instance", "program"),
    [
        ("postfix/smtpd", "postfix", "smtpd"),
        ("postfix/submission/smtpd", "postfix", "smtpd"),
        ("postfix-out/smtpd", "postfix-out", "smtpd"),
        ("a/b/c/smtpd", "a", "smtpd"),
    ],
)
def test_a_tag_of_any_number_of_parts(tag: str, instance: str, program: str) -> None:
    line = parse(f"2026-05-28T20:26:40Z mail {tag}[17]: connect from c[192.0.2.1]", CLOCK)
    assert line is not None
    assert (line.instance, line.program, line.pid, line.host) == (instance, program, "17", "mail")
    assert line.event == Connect("c", "192.0.2.1")


@pytest.mark.parametrize(
    "raw",
    [
        b"2026-05-28T20:26:39.500000+00:00 mail postfix/qmgr[17]: 4B7Z2K5NHbz8gQ: removed\n",
        b"<22>1 2026-05-28T20:26:39.5Z mail postfix/qmgr 17 - - 4B7Z2K5NHbz8gQ: removed\n",
        b'<22>1 2026-05-28T20:26:39.5Z mail postfix/qmgr 17 ID47 [x@1 a="b\\]c"][y] 4B7Z2K5NHbz8gQ: removed\n',
        b"<22>2026-05-28T20:26:39.5Z mail postfix/qmgr[17]: 4B7Z2K5NHbz8gQ: removed\n",
        b"2026-05-28T20:26:39.5Z mail postfix/qmgr[17]: 4B7Z2K5NHbz8gQ: removed\r\n",
        json.dumps(ENTRY).encode() + b"\n",
        json.dumps({**ENTRY, "MESSAGE": list(b"4B7Z2K5NHbz8gQ: removed")}).encode() + b"\n",
    ],
)
def test_every_form_gives_the_same_line(raw: bytes) -> None:
    text = plain(raw).decode()
    assert text.endswith("\n")
    assert moment_of(raw, CLOCK) == 1779999999.5
    line = parse(text[:-1], CLOCK)
    assert line is not None
    assert (line.time, line.host, line.program, line.pid) == (1779999999.5, "mail", "qmgr", "17")
    assert line.event == Removed("4B7Z2K5NHbz8gQ")


@pytest.mark.parametrize(
    "raw",
    [
        "May 28 20:26:39 mail dovecot: imap-login: Login: user=<amy>, method=PLAIN, rip=192.0.2.1",
        "May 28 20:26:39 mail dovecot[12]: imap-login: Login: user=<amy>, method=PLAIN, rip=192.0.2.1",
        "May 28 20:26:39 imap-login: Info: Login: user=<amy>, method=PLAIN, rip=192.0.2.1",
    ],
)
def test_dovecot_in_syslog_and_in_its_own_file(raw: str) -> None:
    line = parse(raw, CLOCK)
    assert line is not None
    assert isinstance(line.event, dovecot.Login)
    assert line.event.user == "amy"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "no log at all",
        "May 28 20:26:39 mail kernel: eth0 is down",
        "May 28 20:26:39 mail opendkim[12]: 4B7Z2K5NHbz8gQ: DKIM-Signature field added",
        "May 28 20:26:39 mail other/thing[12]: 4B7Z2K5NHbz8gQ: removed",
        "Foo 28 20:26:39 mail postfix/qmgr[12]: 4B7Z2K5NHbz8gQ: removed",
    ],
)
def test_foreign_lines_give_nothing(raw: str) -> None:
    assert parse(raw, CLOCK) is None


@given(lines_of_any_form())
def test_any_bytes_are_lines(block: bytes) -> None:
    for raw in plain(block).decode("utf-8", "surrogateescape").split("\n"):
        parse(raw, CLOCK)
