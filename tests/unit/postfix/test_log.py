"""Log lines: what Postfix and syslog really write, and anything else without harm."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postmaster.postfix.events import (
    Delivery,
    Event,
    Expired,
    Fault,
    MessageId,
    Notice,
    Pickup,
    Policy,
    Queued,
    Removed,
    Super,
    Trouble,
)
from postmaster.postfix.log import Follower, parse_line
from postmaster.postfix.stamps import Clock

OLD = "Nov 24 06:53:49 mail "
ISO = "2026-11-24T06:53:49.123456+01:00 mail "
NEW = "<22>1 2026-11-24T06:53:49.123Z mail "
ID = "8E360228131"
SENT = (
    "8704E2280E1: to=<r1@elsewhere.test>, orig_to=<amy@x.test>, relay=mx.test[192.0.2.1]:25, conn_use=2,"
    " delay=1.4, delays=0.1/0.02/0.5/0.78, dsn=2.0.0, status=sent (250 2.0.0 Ok (queued) as 4B7Z2K5NHbz8gQ)"
)


def parse(text: str) -> Event | None:
    """What a line says."""
    line = parse_line(text)
    return None if line is None else line.event


@pytest.mark.parametrize("head", [OLD, "Nov  4 06:53:49 mail ", ISO, "2026-11-24T06:53:49Z mail "])
def test_a_delivery_in_every_kind_of_line(head: str) -> None:
    line = parse_line(f"{head}postfix/smtp[7375]: {SENT}\n")
    assert line is not None
    assert (line.tag, line.program) == ("postfix", "smtp")
    assert line.event == Delivery(
        queue_id="8704E2280E1",
        recipient="r1@elsewhere.test",
        orig_recipient="amy@x.test",
        relay="mx.test[192.0.2.1]:25",
        conn_use=2,
        delay=1.4,
        delays=(0.1, 0.02, 0.5, 0.78),
        tls=None,
        dsn="2.0.0",
        status="sent",
        text="250 2.0.0 Ok (queued) as 4B7Z2K5NHbz8gQ",
    )


def test_the_syslog_of_rfc_5424() -> None:
    line = parse_line(f"{NEW}postfix-out/smtp 7375 - - {SENT}")
    assert line is not None
    assert isinstance(line.event, Delivery)
    assert (line.tag, line.program) == ("postfix-out", "smtp")


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("postfix/qmgr[1]: 4B7Z2K5NHbz8gQ: removed", Removed("4B7Z2K5NHbz8gQ")),
        ("postfix/postsuper[1]: 8E360228131: removed", Super("8E360228131", "removed")),
        ("postfix/postsuper[1]: 8E360228131: placed on hold", Super("8E360228131", "placed on hold")),
        (
            "postfix/qmgr[1]: 8E360228131: from=<a@x.test>, size=255, nrcpt=2 (queue active)",
            Queued("8E360228131", "a@x.test", 255, 2),
        ),
        (
            "postfix/qmgr[1]: 8E360228131: from=<>, status=force-expired, returned to sender",
            Expired("8E360228131", "", "force-expired"),
        ),
        (
            "postfix/qmgr[1]: 8E360228131: from=<a@x.test>, status=expired, returned to sender",
            Expired("8E360228131", "a@x.test", "expired"),
        ),
        (
            "postfix/bounce[1]: 8E360228131: sender non-delivery notification: ECDC4228052",
            Notice("8E360228131", "sender non-delivery notification", "ECDC4228052"),
        ),
        (
            "postfix/pickup[1]: 27BD7228252: uid=102 from=<out@x.test> orig_id=8D7CD228122",
            Pickup("27BD7228252", 102, "out@x.test", "8D7CD228122"),
        ),
        ("postfix/pickup[1]: 27BD7228252: uid=0 from=<>", Pickup("27BD7228252", 0, "", None)),
    ],
)
def test_every_other_event(text: str, event: object) -> None:
    line = parse_line(OLD + text)
    assert line is not None
    assert (line.tag, line.event) == ("postfix", event)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("postfix/smtp[1]: connect to 127.0.0.1[127.0.0.1]:25: Connection refused", Trouble),
        ("postfix/smtp[1]: warning: 8E360228131: to=<a@b>, relay=x", Fault),
        ("postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[1.2.3.4]: 550", Policy),
        ("postfix/cleanup[1]: 8E360228131: message-id=<1@x>", MessageId),
    ],
)
def test_what_is_none_of_these(text: str, kind: type[Event]) -> None:
    assert isinstance(parse(OLD + text), kind)


@pytest.mark.parametrize("stamp", ["May 28 20:26:40", "May  8 20:26:40", "2026-05-28T20:26:40.5+02:00"])
@pytest.mark.parametrize("tag", ["postfix/qmgr", "postfix-out/x/qmgr"])
def test_a_whole_line_gives_its_program_and_event(stamp: str, tag: str) -> None:
    line = parse_line(f"{stamp} mail {tag}[17]: {ID}: removed\n")
    assert line is not None
    assert (line.program, line.event) == ("qmgr", Removed(ID))
    assert parse_line(f"{stamp} mail opendkim[17]: {ID}: removed") is None
    assert parse_line(f"{stamp} mail other/thing[17]: {ID}: removed") is None
    assert parse_line(f"{stamp} mail dovecot: lmtp(x): a/qmgr[17]: {ID}: removed") is None


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        ('"a>, relay=evil, dsn=2.0.0, status=sent (x)"@x.test', "relay=none, delay=0, dsn=4.4.1"),
        ('"quo\\"te, dsn=2.0.0"@x.test', "relay=none, delay=0, dsn=4.4.1"),
        ("plain@x.test", "relay=private/dovecot-lmtp, delay=0, dsn=4.4.1"),
        ("grüße@bücher.test", "relay=local, delay=0, dsn=4.4.1"),
    ],
)
def test_an_address_keeps_what_is_in_its_quotes(address: str, rest: str) -> None:
    found = parse(
        f"{OLD}postfix/smtp[1]: 8E360228131: to=<{address}>, {rest}, status=deferred (no (route) to)"
    )
    assert isinstance(found, Delivery)
    assert (found.recipient, found.status, found.dsn) == (address, "deferred", "4.4.1")
    assert found.text == "no (route) to"


def test_text_ends_at_the_last_parenthesis_and_a_cut_line_has_none() -> None:
    head = f"{OLD}postfix/smtp[1]: 8E360228131: to=<a@b>, relay=x, delay=0, dsn=4.0.0, status=deferred"
    for text, expected in (
        (
            "(host x[1.2.3.4] said: 421 4.7.0 (a (b) c) (in reply to RCPT TO command))",
            "host x[1.2.3.4] said: 421 4.7.0 (a (b) c) (in reply to RCPT TO command)",
        ),
        ("(cut off in the mid", "cut off in the mid"),
        ("", None),
    ):
        found = parse(f"{head} {text}".rstrip())
        assert isinstance(found, Delivery)
        assert found.text == expected


def test_a_stamp_without_a_year_is_in_the_past() -> None:
    clock = Clock(datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp())
    found = clock.seconds("Dec 31 23:59:59")
    assert found is not None
    assert datetime.fromtimestamp(found).year == 2025
    assert clock.seconds("Feb 30 00:00:00") is None
    assert Clock(datetime(2024, 3, 1, tzinfo=UTC).timestamp()).seconds("Feb 29 00:00:00") is not None
    expected = datetime(2026, 11, 24, 5, 53, 49, tzinfo=UTC).timestamp()
    assert clock.seconds("2026-11-24T06:53:49+01:00") == expected


FRAGMENTS = st.sampled_from(
    [
        "to=<",
        ">, ",
        "orig_to=<",
        "relay=",
        "dsn=",
        "status=",
        "sent",
        "4.4.1",
        "(",
        ")",
        '"',
        "\\",
        ": ",
        ", ",
        "8E360228131",
        "postfix/smtp[1]",
        "from=<",
        "uid=",
        "orig_id=",
        "removed",
        OLD,
        ISO,
        NEW,
        "\n",
        "ü",
        "\x1b",
    ]
)


@given(st.one_of(st.text(max_size=400), st.lists(FRAGMENTS, max_size=60).map("".join)))
@example(OLD + "postfix/smtp[1]: 8E360228131: to=<")
@example(OLD + 'postfix/smtp[1]: 8E360228131: to=<"\\')
def test_any_text_gives_an_event_or_none(text: str) -> None:
    for head in (
        "",
        OLD + "postfix/smtp[1]: ",
        OLD + "postfix/qmgr[1]: 8E360228131: ",
        ISO + "pickup[1]: ABCDEF1: ",
    ):
        line = parse_line(head + text)
        if line is not None:
            Clock(time.time()).seconds(line.stamp)


LOCAL = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n", exclude_categories=["Cs"]),
    min_size=1,
    max_size=40,
)


@given(LOCAL, st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=80))
def test_any_quoted_address_and_any_text_come_back(local: str, text: str) -> None:
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"@x.test'
    found = parse(
        f"{OLD}postfix/lmtp[1]: 4B7Z2K5NHbz8gQ: to=<{quoted}>, relay=x, delay=1, delays=0/0/0/1, dsn=5.1.1,"
        f" status=bounced ({text})"
    )
    assert isinstance(found, Delivery)
    assert found.recipient == quoted
    assert found.text == text


def test_long_hostile_lines_take_no_time() -> None:
    begun = time.process_time()
    for piece in ("to=<", ">, relay=", '"', "\\", "(", "a>, ", ", status="):
        parse(OLD + "postfix/smtp[1]: 8E360228131: to=<" + piece * (1_000_000 // len(piece)))
    assert time.process_time() - begun < 5


def test_a_log_is_followed_from_its_end_over_rotation(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_text("before\n")
    with Follower([log, tmp_path / "missing"]) as follower:
        assert follower.readable
        assert list(follower.lines()) == []
        with log.open("a") as writer:
            writer.write("one\ntwo\nhal")
            writer.flush()
            assert list(follower.lines()) == ["one", "two"]
            writer.write("f\n")
            writer.flush()
            log.rename(tmp_path / "mail.log.1")
            writer.write("late\n")
            writer.flush()
            assert list(follower.lines()) == ["half", "late"]
            writer.write("later\n")
        log.write_text("new\n")
        assert list(follower.lines()) == ["later", "new"]
        log.write_text("")  # copytruncate
        assert list(follower.lines()) == []
        log.write_text("x\n")
        assert list(follower.lines()) == ["x"]
    assert not Follower([tmp_path / "missing"]).readable
