"""Every form of a log line gives the same event; foreign lines give nothing; nothing makes it fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.dovecot import events as dovecot
from postmaster.postfix.events import Connect, Removed
from postmaster.postfix.stamps import Clock
from postmaster.trace.lines import LEFT_OUT, parse, plain

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


ENTRY = {
    "__REALTIME_TIMESTAMP": "1779999999500000",
    "_HOSTNAME": "mail",
    "SYSLOG_IDENTIFIER": "postfix/qmgr",
    "_PID": "17",
    "MESSAGE": "4B7Z2K5NHbz8gQ: removed",
}


@pytest.mark.parametrize(
    "raw",
    [
        b"2026-05-28T20:26:39.500000+00:00 mail postfix/qmgr[17]: 4B7Z2K5NHbz8gQ: removed\n",
        b"<22>1 2026-05-28T20:26:39.5Z mail postfix/qmgr 17 - - 4B7Z2K5NHbz8gQ: removed\n",
        b'<22>1 2026-05-28T20:26:39.5Z mail postfix/qmgr 17 ID47 [x@1 a="b\\]c"][y] 4B7Z2K5NHbz8gQ: removed\n',
        json.dumps(ENTRY).encode() + b"\n",
        json.dumps({**ENTRY, "MESSAGE": list(b"4B7Z2K5NHbz8gQ: removed")}).encode() + b"\n",
    ],
)
def test_every_form_gives_the_same_line(raw: bytes) -> None:
    text = plain(raw).decode()
    assert text.endswith("\n")
    line = parse(text[:-1], CLOCK)
    assert line is not None
    assert (line.time, line.host, line.program, line.pid) == (1779999999.5, "mail", "qmgr", "17")
    assert line.event == Removed("4B7Z2K5NHbz8gQ")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (None, LEFT_OUT),  # long, and journalctl was not given --all
        (["4B7Z2K5NHbz8gQ:", "removed"], "4B7Z2K5NHbz8gQ: removed"),  # a field that came twice
        (["one", [0xFF, 0x0A, 0x62], None], f"one \udcff b {LEFT_OUT}"),
        ("two\nlines\r\x1b\u2028more", "two lines \x1b more"),
        ([], ""),
        ("", ""),
    ],
)
def test_whatever_a_journals_field_holds_is_one_line(message: object, text: str) -> None:
    entry = {**ENTRY, "MESSAGE": message, "_HOSTNAME": "mail\nforged", "SYSLOG_IDENTIFIER": ["postfix/qmgr"]}
    made = plain(json.dumps(entry).encode() + b"\n").decode("utf-8", "surrogateescape")
    assert made == f"2026-05-28T20:26:39.500000+00:00 mail forged postfix/qmgr[17]: {text}\n"


@pytest.mark.parametrize("message", [17, {"a": 1}, [300], [-1], ["x", {}], 1.5, True, [[[[]]], 1]])
def test_a_journals_entry_that_is_none_gives_nothing(message: object) -> None:
    assert plain(json.dumps({**ENTRY, "MESSAGE": message}).encode() + b"\n") == b"\n"


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


@given(st.one_of(
    st.binary(),
    st.lists(st.sampled_from([b"{", b'"MESSAGE":', b"}\n", b"<22>1 ", b"- ", b"[x]", b"\n", b"2026-05-28T20:26:39Z ",
                              b"mail postfix/qmgr[1]: ", b"dovecot: ", b"\xff", json.dumps(ENTRY).encode()])).map(b"".join),
))  # fmt: skip
def test_any_bytes_are_lines(block: bytes) -> None:
    for raw in plain(block).decode("utf-8", "surrogateescape").split("\n"):
        parse(raw, CLOCK)
