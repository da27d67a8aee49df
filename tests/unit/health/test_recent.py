"""What the servers say of themselves in the log, and what others cannot make them say."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.health import recent
from postmaster.postfix.stamps import Clock
from postmaster.settings import LogSettings, Settings
from postmaster.trace.lines import parse
from postmaster.trace.sources import Notes

HEAD = "Jun  1 12:00:00 mail "


def kind(text: str) -> tuple[str, str] | None:
    line = parse(HEAD + text, Clock(time.time()))
    found = recent.trouble(line) if line is not None else None
    return (found.kind, found.object) if found else None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postfix/smtpd[7]: fatal: no SASL authentication mechanisms", ("fatal", "postfix smtpd")),
        ("postfix/submission/smtpd[7]: panic: vstream", ("panic", "postfix smtpd")),
        ("postfix/sendmail[7]: fatal: usage: sendmail", None),
        ("postfix/postqueue[7]: fatal: Queue report unavailable", None),
        (
            "postfix/master[7]: warning: /usr/lib/postfix/sbin/smtpd: bad command startup -- throttling",
            ("throttled", "postfix smtpd"),
        ),
        (
            "postfix/master[7]: warning: process /usr/lib/postfix/sbin/smtpd pid 9 killed by signal 11",
            ("killed", "postfix smtpd"),
        ),
        ("postfix/master[7]: warning: process /usr/lib/postfix/sbin/smtpd pid 9 exit status 1", None),
        (
            'postfix/master[7]: warning: service "smtp" (25) has reached its process limit "100": new',
            ("full", "postfix smtp"),
        ),
        (
            "postfix/master[7]: daemon started -- version 3.7.11, configuration /etc/postfix",
            ("started", "postfix"),
        ),
        (
            "dovecot: master: Dovecot v2.3.19.1 (9b53102964) starting up for imap, lmtp",
            ("started", "dovecot"),
        ),
        ("dovecot: imap(amy)<7><x>: Fatal: pool_system_realloc(): Out of memory", ("fatal", "dovecot imap")),
        ("dovecot: imap(amy)<7><x>: Panic: file x.c: line 3", ("panic", "dovecot imap")),
        (
            "dovecot: master: Error: service(auth): command startup failed, throttling for 2.000 secs",
            ("throttled", "dovecot auth"),
        ),
        (
            "dovecot: master: Warning: service(imap-login): process_limit (100) reached, client connections",
            ("full", "dovecot imap-login"),
        ),
        (
            "dovecot: imap: Fatal: master: service(imap): child 77 killed with signal 11 (core dumps)",
            ("killed", "dovecot imap"),
        ),
        # What a stranger chose.
        ("postfix/smtpd[7]: connect from fatal:[192.0.2.1]", None),
        ("postfix/smtpd[7]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 no; helo=<panic: now>", None),
        ("dovecot: imap-login: Disconnected: user=<Fatal: x>, rip=192.0.2.1", None),
        ("sshd[7]: fatal: nothing to do with mail", None),
    ],
)
def test_lines(text: str, wanted: tuple[str, str] | None) -> None:
    assert kind(text) == wanted


@given(st.text(max_size=60))
def test_a_helo_name_never_makes_a_fatal_line(name: str) -> None:
    line = " ".join(name.split())
    assert kind(f"postfix/smtpd[7]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 no; helo=<{line}>") is None


def write(file: Path, lines: list[tuple[float, str]]) -> Settings:
    stamp = "%Y-%m-%dT%H:%M:%S+00:00"
    file.write_text("".join(f"{time.strftime(stamp, time.gmtime(at))} mail {text}\n" for at, text in lines))
    return replace(Settings(), log=LogSettings((file,)))


def test_only_what_is_new_counts(tmp_path: Path) -> None:
    now = time.time()
    fatal = "postfix/smtpd[7]: fatal: "
    settings = write(tmp_path / "mail.log", [(now - 600, fatal + "old"), (now - 5, fatal + "new")])
    found = list(recent.troubles(settings, now - 60, Notes()))
    assert [one.text for one in found] == ["new"]
    assert len(list(recent.troubles(settings, 0, Notes()))) == 2


def test_a_flood_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "LIMIT", 4096)
    now, notes = time.time(), Notes()
    lines = [
        (now - 3, "postfix/smtpd[7]: fatal: first"),
        *[(now - 2, "postfix/smtpd[7]: connect from x[1]")] * 500,
    ]
    lines.append((now - 1, "postfix/smtpd[7]: fatal: last"))
    settings = write(tmp_path / "mail.log", lines)
    assert [one.text for one in recent.troubles(settings, now - 60, notes)] == ["last"]
    assert len(notes.problems) == 1
