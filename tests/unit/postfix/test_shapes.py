"""Postfix's log lines become events, print back as they were, and nothing in them fools or stalls the reader."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix.events import (
    AuthFailure,
    Canceled,
    Client,
    Connect,
    Content,
    Delivery,
    Disconnect,
    Event,
    Expired,
    Fault,
    Lost,
    MessageId,
    Notice,
    Pickup,
    Policy,
    Queued,
    Remark,
    Removed,
    Screen,
    Super,
    Tls,
    Trouble,
    Unknown,
)
from postmaster.postfix.reasons import reason
from postmaster.postfix.shapes import LINE_LIMIT, parse

ID = "4B7Z2K5NHbz8gQ"

LINES: list[tuple[str, str, Event]] = [
    ("smtpd", "connect from mx.example.net[192.0.2.1]", Connect("mx.example.net", "192.0.2.1")),
    ("smtpd", "connect from unknown[2001:db8::1]:4711", Connect("unknown", "2001:db8::1", "4711")),
    ("smtpd", f"{ID}: client=mx.example.net[192.0.2.1]", Client(ID, "mx.example.net", "192.0.2.1")),
    (
        "smtpd",
        "AF12B3C4D5: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=amy@example.org,"
        " sasl_sender=x@y, orig_queue_id=0123456789, orig_client=mx[192.0.2.1]",
        Client("AF12B3C4D5", "localhost", "127.0.0.1", None, "PLAIN", "amy@example.org", "x@y",
               "0123456789", "mx[192.0.2.1]"),
    ),
    (
        "smtpd",
        "NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 550 5.1.1 <no@example.org>: Recipient address rejected:"
        " User unknown; from=<a@b.test> to=<no@example.org> proto=ESMTP helo=<x>",
        Policy(None, "reject", "RCPT", "unknown", "192.0.2.9", None,
               "550 5.1.1 <no@example.org>: Recipient address rejected: User unknown",
               "a@b.test", "no@example.org", "ESMTP", "x"),
    ),
    (
        "smtpd",
        "NOQUEUE: reject: CONNECT from unknown[192.0.2.9]: 554 5.7.1 Service unavailable; Client host"
        " [192.0.2.9] blocked using dnsbl.test; proto=SMTP",
        Policy(None, "reject", "CONNECT", "unknown", "192.0.2.9", None,
               "554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using dnsbl.test",
               None, None, "SMTP"),
    ),
    (
        "smtpd",
        f"{ID}: reject: RCPT from c[192.0.2.9]: 553 5.7.1 <b@x>: Sender address rejected: not owned by user"
        " amy; from=<b@x> to=<c@y> proto=ESMTP helo=<h> sasl_username=amy",
        Policy(ID, "reject", "RCPT", "c", "192.0.2.9", None,
               "553 5.7.1 <b@x>: Sender address rejected: not owned by user amy",
               "b@x", "c@y", "ESMTP", "h", " sasl_username=amy"),
    ),
    (
        "cleanup",
        f"{ID}: milter-reject: END-OF-MESSAGE from c[192.0.2.9]: 5.7.1 spam; from=<> to=<c@y> proto=ESMTP helo=<h>",
        Policy(ID, "milter-reject", "END-OF-MESSAGE", "c", "192.0.2.9", None, "5.7.1 spam", "", "c@y",
               "ESMTP", "h"),
    ),
    ("smtpd", "NOQUEUE: lost connection after DATA from c[192.0.2.9]",
     Lost(None, "lost connection", "DATA", "c", "192.0.2.9", None)),
    ("smtpd", "timeout after END-OF-MESSAGE from c[192.0.2.9]",
     Lost(None, "timeout", "END-OF-MESSAGE", "c", "192.0.2.9", None)),
    ("smtpd", f"{ID}: lost connection after DATA (0 bytes) from c[192.0.2.9]",
     Lost(ID, "lost connection", "DATA (0 bytes)", "c", "192.0.2.9", None)),
    ("smtpd", "warning: c[192.0.2.9]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=amy",
     AuthFailure("c", "192.0.2.9", None, "LOGIN", "(reason unavailable)", "amy")),
    ("smtpd", "warning: c[192.0.2.9]: SASL PLAIN authentication failed: UGFzc3dvcmQ6",
     AuthFailure("c", "192.0.2.9", None, "PLAIN", "UGFzc3dvcmQ6")),
    ("smtpd", "disconnect from c[192.0.2.9] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4",
     Disconnect("c", "192.0.2.9", None, "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4")),
    ("smtpd", "Anonymous TLS connection established from c[192.0.2.9]: TLSv1.3 with cipher"
     " TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519",
     Tls(None, "Anonymous", "established", "from", "c", "192.0.2.9", None, "TLSv1.3",
         "TLS_AES_256_GCM_SHA384", " (256/256 bits) key-exchange X25519")),
    ("smtp", "Untrusted TLS connection reused to mx[192.0.2.9]:25: TLSv1.2 with cipher X (256/256 bits)",
     Tls(None, "Untrusted", "reused", "to", "mx", "192.0.2.9", "25", "TLSv1.2", "X", " (256/256 bits)")),
    ("pickup", f"{ID}: uid=1000 from=<amy>", Pickup(ID, 1000, "amy")),
    ("pickup", "27BD7228252: uid=102 from=<out@outside.test> orig_id=8D7CD228122",
     Pickup("27BD7228252", 102, "out@outside.test", "8D7CD228122")),
    ("cleanup", f"{ID}: message-id=<x@y>", MessageId(ID, "<x@y>")),
    ("cleanup", f"{ID}: message-id=", MessageId(ID, "")),
    ("cleanup", f"{ID}: resent-message-id=junk here", MessageId(ID, "junk here", True)),
    ("cleanup", f"{ID}: reject: header Subject: x from c[192.0.2.9]; from=<a@b> to=<c@d> proto=ESMTP helo=<h>: 5.7.1 no",
     Content(ID, "reject", "header", "Subject: x from c[192.0.2.9]; from=<a@b> to=<c@d> proto=ESMTP helo=<h>: 5.7.1 no")),
    ("cleanup", f"{ID}: canceled", Canceled(ID, "canceled")),
    ("cleanup", f"{ID}: removed (canceled)", Canceled(ID, "removed (canceled)")),
    ("cleanup", f"{ID}: removed (discarded)", Canceled(ID, "removed (discarded)")),
    ("qmgr", f"{ID}: skipped, still being delivered", Trouble(ID, "skipped, still being delivered")),
    ("qmgr", f"{ID}: from=<>, size=3000, nrcpt=1 (queue active)", Queued(ID, "", 3000, 1)),
    ("qmgr", f"{ID}: from=<a@b>, status=force-expired, returned to sender", Expired(ID, "a@b", "force-expired")),
    ("qmgr", f"{ID}: removed", Removed(ID)),
    ("bounce", f"{ID}: sender non-delivery notification: 27BD7228252",
     Notice(ID, "sender non-delivery notification", "27BD7228252")),
    ("bounce", f"{ID}: sender delivery status notification: 27BD7228252",
     Notice(ID, "sender delivery status notification", "27BD7228252")),
    ("bounce", f"{ID}: postmaster non-delivery notification: 27BD7228252",
     Notice(ID, "postmaster non-delivery notification", "27BD7228252")),
    ("postsuper", f"{ID}: removed", Super(ID, "removed")),
    ("postsuper", f"{ID}: placed on hold", Super(ID, "placed on hold")),
    ("postsuper", f"{ID}: requeued", Super(ID, "requeued")),
    ("postsuper", "Requeued: 1 message", Remark("Requeued: 1 message")),
    ("postscreen", "CONNECT from [192.0.2.9]:4711 to [192.0.2.1]:25",
     Screen("CONNECT from", "192.0.2.9", "4711", " to [192.0.2.1]:25")),
    ("postscreen", "PASS OLD [2001:db8::1]:4711", Screen("PASS OLD", "2001:db8::1", "4711", "")),
    ("postscreen", "PREGREET 14 after 0.1 from [192.0.2.9]:4711: EHLO x\\r\\n",
     Screen("PREGREET 14 after 0.1 from", "192.0.2.9", "4711", ": EHLO x\\r\\n")),
    ("postscreen", "DNSBL rank 4 for [192.0.2.9]:4711", Screen("DNSBL rank 4 for", "192.0.2.9", "4711", "")),
    ("master", "warning: process /usr/lib/postfix/sbin/smtpd pid 4711 exit status 1",
     Fault("warning", "process /usr/lib/postfix/sbin/smtpd pid 4711 exit status 1")),
    ("smtpd", "fatal: in parameter x: bad", Fault("fatal", "in parameter x: bad")),
    ("smtp", "connect to 127.0.0.1[127.0.0.1]:55509: Connection refused",
     Trouble(None, "connect to 127.0.0.1[127.0.0.1]:55509: Connection refused")),
    ("smtp", f"{ID}: host mx[192.0.2.9] said: 450 later (in reply to RCPT TO command)",
     Trouble(ID, "host mx[192.0.2.9] said: 450 later (in reply to RCPT TO command)")),
    (
        "lmtp",
        f"{ID}: to=<amy@example.org>, orig_to=<team@example.org>, relay=mail[private/dovecot-lmtp], conn_use=2,"
        " delay=0.31, delays=0.1/0.01/0/0.2, tls=x, dsn=2.0.0, status=sent (250 2.0.0 <amy@example.org> s1 Saved)",
        Delivery(ID, "amy@example.org", "team@example.org", "mail[private/dovecot-lmtp]", 2, 0.31,
                 (0.1, 0.01, 0.0, 0.2), "x", "2.0.0", "sent", "250 2.0.0 <amy@example.org> s1 Saved"),
    ),
    (
        "local",
        f"{ID}: to=<amy@example.org>, relay=local, delay=1, status=sent (forwarded as 27BD7228252)",
        Delivery(ID, "amy@example.org", None, "local", None, 1.0, (), None, None, "sent", "forwarded as 27BD7228252"),
    ),
    (
        "smtp",
        f"{ID}: to=<amy@example.org>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (host said (and",
        Delivery(ID, "amy@example.org", None, "none", None, 1.0, (1.0, 0.0, 0.0, 0.0), None, "4.4.1",
                 "deferred", "host said (and", True),
    ),
    ("smtpd", "something new", Unknown("something new")),
]  # fmt: skip


@pytest.mark.parametrize(("program", "line", "event"), LINES, ids=[line[:60] for _, line, _ in LINES])
def test_each_shape_becomes_its_event_and_prints_back(program: str, line: str, event: Event) -> None:
    assert parse(program, line) == event
    assert parse(program, str(event)) == event


def test_a_quoted_local_part_cannot_pass_for_fields_of_a_delivery() -> None:
    evil = r'"x>, relay=none, delay=1, dsn=2.0.0, status=sent (ok)\""@example.org'
    line = f"{ID}: to=<{evil}>, relay=mx[192.0.2.1]:25, delay=2, dsn=5.1.1, status=bounced (no (such) user)"
    event = parse("smtp", line)
    assert isinstance(event, Delivery)
    assert (event.recipient, event.status, event.text) == (evil, "bounced", "no (such) user")


@pytest.mark.parametrize(
    ("recipient", "helo"),
    [
        ('"a; from=<root@example.org> to=<x@y> proto=SMTP helo=<z>"@example.org', "h"),
        ("no@example.org", "h; from=<root@example.org> to=<x@y> proto=SMTP helo=<z"),
    ],
)
def test_neither_an_address_nor_a_helo_name_can_pass_for_the_envelope(recipient: str, helo: str) -> None:
    line = (
        f"NOQUEUE: reject: RCPT from u[192.0.2.9]: 550 5.1.1 <{recipient}>: Recipient address rejected;"
        f" from=<a@b.test> to=<{recipient}> proto=ESMTP helo=<{helo}>"
    )
    event = parse("smtpd", line)
    assert isinstance(event, Policy)
    assert (event.sender, event.recipient, event.helo) == ("a@b.test", recipient, helo)


PIECES = st.sampled_from(
    ["to=<", ">, ", "orig_to=<", "relay=", "delay=1", ", ", "; from=<", " to=<", "> ", "proto=SMTP", " helo=<",
     "status=sent (", ")", '"', "\\", ID + ": ", "NOQUEUE: ", "reject: ", "RCPT from ", "a[1]", ": ", "client=",
     "warning: ", "SASL x authentication failed: ", ", sasl_username=", "TLS connection ", "after DATA from ",
     "message-id=", "uid=1 from=<", "from=<", ", size=1", ", nrcpt=1 (queue active)", "removed", "delays=1/2",
     "header ", "[192.0.2.1]:25", " sasl_username=x", "lost connection ", "550 5.1.1 <", ">: "]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=25).map("".join), st.sampled_from([line for _, line, _ in LINES])
)
PROGRAMS = st.sampled_from(
    ["smtpd", "smtp", "qmgr", "cleanup", "postsuper", "pickup", "bounce", "postscreen", "x"]
)


@given(PROGRAMS, TEXTS.map(lambda text: text.replace("\n", " ")))
def test_any_text_is_an_event_that_prints_back(program: str, text: str) -> None:
    event = parse(program, text)
    assert parse(program, str(event)) == event


@given(st.sampled_from(LINES), st.data())
def test_a_line_cut_anywhere_is_an_event(case: tuple[str, str, Event], data: st.DataObject) -> None:
    program, line, _ = case
    event = parse(program, line[: data.draw(st.integers(0, len(line)))])
    assert parse(program, str(event)) == event


@pytest.mark.parametrize(
    "piece",
    [
        "to=<a>, orig_to=<",
        '"\\',
        ">, relay=x, ",
        "; from=<",
        "> sasl_a=>",
        "<a>: ",
        "a[1]: ",
        "(((",
        " helo=<",
        "0123456789" * 2,
        "a@",
        "[",
        "((in reply to ",
    ],
)
@pytest.mark.parametrize(
    "head", ["", f"{ID}: to=<", "NOQUEUE: reject: RCPT from a[1]: 550 <", "warning: ", "host "]
)
def test_no_line_takes_long(head: str, piece: str) -> None:
    """Doubling a hostile line must not square the time: a quadratic pattern would take minutes here."""
    line = head + piece * (LINE_LIMIT // len(piece))
    began = time.process_time()
    for program in ("smtp", "smtpd", "cleanup", "postscreen"):
        parse(program, line)
    reason(line)
    assert time.process_time() - began < 5
