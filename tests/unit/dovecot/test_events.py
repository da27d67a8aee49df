"""Dovecot's log lines, of 2.3 and 2.4, become events and print back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.dovecot import events
from postmaster.dovecot.events import Fault, Login, LoginEnd, Mail, Origin, Refused, Remark, Unknown, parse

LMTP = Origin("lmtp", "amy@example.org", "4711", "kP8dAHkGJGrqFAAA")
HEAD = "lmtp(amy@example.org)<4711><kP8dAHkGJGrqFAAA>: "

LINES: list[tuple[str, events.Event]] = [
    (HEAD + "msgid=<x@y>: saved mail to INBOX", Mail(LMTP, "<x@y>", "saved", "INBOX", "saved mail to INBOX")),
    (
        HEAD + "msgid=: saved mail to Junk: mail",
        Mail(LMTP, "", "saved", "Junk: mail", "saved mail to Junk: mail"),
    ),
    (
        HEAD + "sieve: msgid=<x@y>: stored mail into mailbox 'Lists'",
        Mail(LMTP, "<x@y>", "saved", "Lists", "stored mail into mailbox 'Lists'", True),
    ),
    (
        HEAD + "sieve: msgid=<x@y>: fileinto action: stored mail into mailbox 'Lists'",
        Mail(LMTP, "<x@y>", "saved", "Lists", "fileinto action: stored mail into mailbox 'Lists'", True),
    ),
    (
        HEAD + "sieve: msgid=<x@y>: forwarded to <bob@elsewhere.test>",
        Mail(LMTP, "<x@y>", "forwarded", "bob@elsewhere.test", "forwarded to <bob@elsewhere.test>", True),
    ),
    (
        HEAD + "sieve: msgid=<x@y>: redirect action: forwarded to <bob@elsewhere.test>",
        Mail(LMTP, "<x@y>", "forwarded", "bob@elsewhere.test",
             "redirect action: forwarded to <bob@elsewhere.test>", True),
    ),
    (
        HEAD + "sieve: msgid=<x@y>: sent vacation response to <bob@elsewhere.test>",
        Mail(LMTP, "<x@y>", "replied", "bob@elsewhere.test",
             "sent vacation response to <bob@elsewhere.test>", True),
    ),
    (
        HEAD + "msgid=<x@y>: save failed to INBOX: Quota exceeded (mailbox for user is full)",
        Mail(LMTP, "<x@y>", "failed", "INBOX",
             "save failed to INBOX: Quota exceeded (mailbox for user is full)"),
    ),
    (
        "imap-login: Info: Login: user=<amy@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=5, TLS,"
        " session=<abc>",
        Login(Origin("imap-login", level="Info"), "Login", "amy@example.org",
              "method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=5, TLS, session=<abc>"),
    ),
    (
        "pop3-login: Logged in: user=<amy@example.org>, method=PLAIN, rip=192.0.2.9, session=<abc>",
        Login(Origin("pop3-login"), "Logged in", "amy@example.org",
              "method=PLAIN, rip=192.0.2.9, session=<abc>"),
    ),
    (
        "imap-login: Disconnected: Connection closed (auth failed, 3 attempts in 12 secs): user=<amy>,"
        " method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, session=<abc>",
        LoginEnd(Origin("imap-login"), "Disconnected: Connection closed (auth failed, 3 attempts in 12 secs)",
                 3, "amy", "method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, session=<abc>"),
    ),
    (
        "imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed):"
        " user=<amy>, method=PLAIN, rip=192.0.2.9, session=<abc>",
        LoginEnd(Origin("imap-login"),
                 "Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed)",
                 1, "amy", "method=PLAIN, rip=192.0.2.9, session=<abc>"),
    ),
    (  # 2.4.1, with the prefix of its own file
        "pop3-login: Info: Login aborted: Logged out (auth failed, 2 attempts in 4 secs) (auth_failed):"
        " user=<nobody@a.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<WW+ylQNhb7J/TwAJ>",
        LoginEnd(Origin("pop3-login", level="Info"),
                 "Login aborted: Logged out (auth failed, 2 attempts in 4 secs) (auth_failed)", 2, "nobody@a.test",
                 "method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<WW+ylQNhb7J/TwAJ>"),
    ),
    (  # 2.4.1
        "imap-login: Info: Login aborted: Connection closed (no auth attempts in 0 secs) (no_auth_attempts):"
        " user=<>, rip=127.0.0.1, lip=127.0.0.1, TLS: Connection closed, session=<IGOimANh8op/AAAB>",
        LoginEnd(Origin("imap-login", level="Info"),
                 "Login aborted: Connection closed (no auth attempts in 0 secs) (no_auth_attempts)", 0, "",
                 "rip=127.0.0.1, lip=127.0.0.1, TLS: Connection closed, session=<IGOimANh8op/AAAB>"),
    ),
    (  # 2.4.1: the fifth transaction of an LMTP session
        "lmtp(bob@a.test)<450><0QaLFtBtBWvCAQAAg+zDdQ:T5>: Info: sieve: msgid=<x@y>: redirect action: forwarded"
        " to <kept@elsewhere.test>",
        Mail(Origin("lmtp", "bob@a.test", "450", "0QaLFtBtBWvCAQAAg+zDdQ:T5", "Info"), "<x@y>", "forwarded",
             "kept@elsewhere.test", "redirect action: forwarded to <kept@elsewhere.test>", True),
    ),
    (
        "imap-login: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, rip=127.0.0.1",
        LoginEnd(Origin("imap-login"), "Disconnected: Connection closed (no auth attempts in 0 secs)", 0, "",
                 "rip=127.0.0.1"),
    ),
    (
        "auth-worker(12): conn unix:auth-worker (pid=1,uid=2): auth-worker<3>:"
        " sql(amy@example.org,192.0.2.9,<abc>): Password mismatch",
        Refused(Origin("auth-worker", "12"), "amy@example.org", "192.0.2.9", "Password mismatch",
                "conn unix:auth-worker (pid=1,uid=2): auth-worker<3>:"
                " sql(amy@example.org,192.0.2.9,<abc>): Password mismatch"),
    ),
    (
        "auth: sql(nobody@example.org,192.0.2.9): unknown user",
        Refused(Origin("auth"), "nobody@example.org", "192.0.2.9", "unknown user",
                "sql(nobody@example.org,192.0.2.9): unknown user"),
    ),
    (
        "auth(amy@example.org,192.0.2.9,sasl:plain)<7><abc>: sql: Password mismatch",
        Refused(Origin("auth", "amy@example.org,192.0.2.9,sasl:plain", "7", "abc"), "amy@example.org",
                "192.0.2.9", "Password mismatch", "sql: Password mismatch"),
    ),
    (
        "master: Info: Dovecot v2.3.19.1 starting up",
        Remark(Origin("master", level="Info"), "Dovecot v2.3.19.1 starting up"),
    ),
    ("auth: Error: sql: no", Fault(Origin("auth", level="Error"), "sql: no")),
    ("no such shape", Unknown("no such shape")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "event"), LINES, ids=[line[:50] for line, _ in LINES])
def test_each_shape_becomes_its_event_and_prints_back(line: str, event: events.Event) -> None:
    assert parse(line) == event
    assert parse(str(event)) == event


def test_a_login_tells_who_from_where() -> None:
    login = parse(LINES[8][0])
    assert isinstance(login, Login)
    assert (login.method, login.address, login.session) == ("PLAIN", "192.0.2.9", "abc")


PIECES = st.sampled_from(
    ["lmtp", "(", ")", "<", ">", ": ", "Info: ", "Error: ", "sieve: ", "msgid=", "saved mail to ", "user=<",
     "Login", "auth", "imap-login", "sql(a,1.2.3.4)", "Password mismatch", "Disconnected", ", ", "rip=", "1",
     "(auth failed, 3 attempts", "forwarded to <", "session=<"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)))
def test_any_text_is_an_event_that_prints_back(text: str) -> None:
    event = parse(text)
    assert parse(str(event)) == event


@pytest.mark.parametrize(
    "piece",
    [
        "sql(",
        "sql(a,1): ",
        "<a>",
        "Disconnected",
        "msgid=",
        ": user=<",
        "(a",
        "failed to store into mailbox '",
    ],
)
@pytest.mark.parametrize(
    "head", ["", "auth: ", "imap-login: ", "imap-login: Disconnected", HEAD + "msgid=<x>: "]
)
def test_no_line_takes_long(head: str, piece: str) -> None:
    line = head + piece * (events.LINE_LIMIT // len(piece))
    began = time.process_time()
    parse(line)
    assert time.process_time() - began < 2
