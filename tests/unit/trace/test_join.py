"""Histories: what other messages write between does not change them; any bytes are searched without failing."""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster import process
from postmaster.errors import UsageError
from postmaster.postfix.stamps import Clock
from postmaster.trace.filter import Filter
from postmaster.trace.history import history
from postmaster.trace.join import Stories, stories
from postmaster.trace.lines import Line, parse
from postmaster.trace.report import lines as lines_of
from postmaster.trace.search import Logs, Query
from postmaster.trace.sources import Notes, Period, Source
from postmaster.trace.verdict import verdict
from tests.tools.maillog import Traffic

BEGIN = datetime(2026, 5, 28, 10, tzinfo=UTC)
NOW = datetime(2026, 5, 29, tzinfo=UTC).timestamp()


def stamped(second: float, text: str) -> str:
    return f"{(BEGIN + timedelta(seconds=int(second))).isoformat()} mail {text}\n"


def trace(path: Path, what: str = "", **conditions: Any) -> Stories:
    notes = Notes()
    log = [Source(path, NOW, path.stat().st_size, "gzip" if path.suffix == ".gz" else "")]
    found = stories(Logs([log], Period(), notes), Query(what, Filter(**conditions)))
    assert not notes.problems
    return found


def shown(found: Stories) -> list[dict[str, Any]]:
    """All that a person sees of histories."""
    rows = []
    for story in found.stories:
        one = history(story)
        rows.append({
            "steps": [asdict(step) for step in one.steps],
            "outcomes": [asdict(outcome) for outcome in one.outcomes],
            "verdict": verdict(one).text,
            "lines": [line.raw for line in story.lines],
        })  # fmt: skip
    return rows


class _Sessions(Traffic):
    """Sessions one by one, each with the ID of its first message."""

    def messages(self, number: int) -> list[tuple[str, list[tuple[float, str]]]]:
        self.random, self._number = random.Random(self.seed), 0
        found: list[tuple[str, list[tuple[float, str]]]] = []
        while len(found) < number:
            # All begin within a few seconds: their lines fall into the same seconds.
            session = sorted(self._session(self.random.random() * 3, None), key=lambda line: line[0])
            queue_id = next(
                (t.partition(":")[0] for _, _, t in session if ": client=" in t or ": uid=" in t), ""
            )
            if queue_id:
                found.append((queue_id, [(when, f"{program}: {text}") for when, program, text in session]))
        return found


@settings(max_examples=40)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_other_messages_between_change_no_history(seed: int, order: random.Random) -> None:
    messages = _Sessions(0, seed=seed).messages(6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mail.log")
        alone = []
        for queue_id, lines in messages:
            path.write_text("".join(stamped(*line) for line in lines))
            alone.append(shown(trace(path, queue_id)))
        for _ in range(2):
            # The order of time is kept, and each message's own; who comes first in a second is not.
            heads = [list(lines) for _, lines in messages]
            mixed = []
            while any(heads):
                second = min(int(lines[0][0]) for lines in heads if lines)
                lines = order.choice([one for one in heads if one and int(one[0][0]) == second])
                mixed.append(stamped(*lines.pop(0)))
            path.write_text("".join(mixed))
            for (queue_id, _), expected in zip(messages, alone, strict=True):
                assert len(expected) == 1
                assert shown(trace(path, queue_id)) == expected


@given(st.binary(max_size=400), st.text(st.characters(codec="utf-8"), min_size=1, max_size=4))
def test_any_bytes_are_searched(content: bytes, what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mail.log")
        path.write_bytes(content)
        try:
            shown(trace(path, what))
        except UsageError as error:  # nothing to look for
            assert not what.strip("<>*?[] \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85") or error.message  # noqa: PT017


@given(st.integers(0, 10_000), st.sampled_from([True, False]))
def test_a_log_cut_anywhere_gives_a_prefix_of_its_lines(cut: int, iso: bool) -> None:
    content = "".join(Traffic(60, seed=3, iso=iso)).encode()
    cut %= len(content)

    def parsed(data: bytes) -> list[Line]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "mail.log")
            path.write_bytes(data)
            return list(lines_of([Source(path, NOW, len(data))], Period(), Notes()))

    whole, part = parsed(content), parsed(content[:cut])
    assert part == whole[: len(part)]
    assert len(part) == content[:cut].count(b"\n")


def write(folder: Path, lines: Sequence[tuple[float, str]]) -> Path:
    path = folder / "mail.log"
    path.write_text("".join(stamped(*line) for line in lines))
    return path


def test_a_short_queue_id_that_is_used_again_is_another_message(tmp_path: Path) -> None:
    lives = [
        line
        for at, sender in ((0, "amy"), (100, "bob"))
        for line in (
            (at, "postfix/smtpd[1]: ABCDEF: client=c[192.0.2.1]"),
            (at, f"postfix/cleanup[2]: ABCDEF: message-id=<{sender}@x>"),
            (at + 1, f"postfix/qmgr[3]: ABCDEF: from=<{sender}@b.test>, size=1, nrcpt=1 (queue active)"),
            (at + 2, f"postfix/virtual[4]: ABCDEF: to=<{sender}.to@d.test>, relay=virtual, delay=1, dsn=2.0.0,"
                     " status=sent (delivered to maildir)"),
            (at + 3, "postfix/qmgr[3]: ABCDEF: removed"),
        )
    ]  # fmt: skip
    path = write(tmp_path, lives)
    assert [len(story.lines) for story in trace(path, "ABCDEF").stories] == [5, 5]
    (one,) = trace(path, "bob@b.test").stories
    assert [line.event for line in one.lines] == [
        line.event for raw in path.read_text().splitlines()[5:] if (line := parse(raw, Clock(NOW)))
    ]


def test_a_link_that_comes_after_what_it_links_to(tmp_path: Path) -> None:
    path = write(tmp_path, [
        (0, "postfix/pickup[1]: AAAAA1: uid=0 from=<amy@a.test>"),
        (1, "postfix/smtp[2]: AAAAA1: to=<x@y.test>, relay=none, delay=1, dsn=5.4.4, status=bounced (no host)"),
        (2, "postfix/cleanup[3]: BBBBB2: message-id=<n@a.test>"),
        (2, "postfix/qmgr[4]: BBBBB2: from=<>, size=9, nrcpt=1 (queue active)"),
        (3, "postfix/virtual[5]: BBBBB2: to=<amy@a.test>, relay=virtual, delay=1, dsn=2.0.0, status=sent (ok)"),
        (3, "postfix/qmgr[4]: BBBBB2: removed"),
        (4, "postfix/bounce[6]: AAAAA1: sender non-delivery notification: BBBBB2"),
        (4, "postfix/qmgr[4]: AAAAA1: removed"),
    ])  # fmt: skip
    (story,) = trace(path, "x@y.test").stories
    one = history(story)
    assert one.queue_ids == ["AAAAA1", "BBBBB2"]
    assert [outcome.recipient for outcome in one.outcomes] == ["x@y.test"]
    assert one.told == (BEGIN + timedelta(seconds=3)).timestamp()
    assert "The sender was told at" in verdict(one).text


def test_a_local_forward_is_folded(tmp_path: Path) -> None:
    path = write(tmp_path, [
        (0, "postfix/pickup[1]: AAAAA1: uid=0 from=<amy@a.test>"),
        (1, "postfix/cleanup[2]: BBBBB2: message-id=<n@a.test>"),
        (1, "postfix/local[3]: AAAAA1: to=<root@a.test>, relay=local, delay=1, dsn=2.0.0,"
            " status=sent (forwarded as BBBBB2)"),
        (1, "postfix/qmgr[4]: AAAAA1: removed"),
        (2, "postfix/smtp[5]: BBBBB2: to=<amy@z.test>, orig_to=<root@a.test>, relay=mx.z.test[192.0.2.1]:25,"
            " delay=1, dsn=2.0.0, status=sent (250 ok)"),
        (2, "postfix/qmgr[4]: BBBBB2: removed"),
    ])  # fmt: skip
    for what in ("AAAAA1", "BBBBB2", "amy@z.test"):
        (story,) = trace(path, what).stories
        assert [one.recipient for one in history(story).outcomes] == ["amy@z.test"]
        assert verdict(history(story)).text == "Delivered to mx.z.test for amy@z.test 2 s after arrival."


def test_a_part_of_the_story_that_is_not_in_the_logs_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, [
        (1, "postfix/smtp[5]: BBBBB2: to=<amy@z.test>, relay=mx.z.test[192.0.2.1]:25, delay=1, dsn=2.0.0,"
            " status=sent (250 ok)"),
        (2, "postfix/qmgr[4]: BBBBB2: removed"),
    ])  # fmt: skip
    (story,) = trace(path, "amy@z.test").stories
    assert "Its beginning is not in these logs." in verdict(history(story)).text


def test_conditions_hold_for_one_delivery(tmp_path: Path) -> None:
    path = write(tmp_path, [
        (0, "postfix/pickup[1]: AAAAA1: uid=0 from=<amy@a.test>"),
        (1, "postfix/smtp[2]: AAAAA1: to=<x@y.test>, relay=mx[192.0.2.1]:25, delay=1, dsn=5.1.1, status=bounced (no)"),
        (1, "postfix/smtp[2]: AAAAA1: to=<z@y.test>, relay=mx[192.0.2.1]:25, delay=9, dsn=2.0.0, status=sent (ok)"),
    ])  # fmt: skip
    assert trace(path, recipient="x@y.test", status="bounced").stories
    assert trace(path, relay="192.0.2.1", min_delay=5).stories
    assert trace(path, dsn="5.1").stories
    assert not trace(path, recipient="x@y.test", status="sent").stories
    assert not trace(path, status="bounced", min_delay=5).stories
    with pytest.raises(UsageError, match="nothing to look for"):
        trace(path)


def test_a_packed_log_is_searched_as_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    Traffic(4000, seed=9).write(path)
    packed = tmp_path / "mail.log.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    expected = shown(trace(path, "traced@d0.example"))
    assert len(expected) >= 25
    assert shown(trace(packed, "traced@d0.example")) == expected


def test_a_compressed_log_is_unpacked_a_few_times_however_many_messages_it_has(tmp_path: Path) -> None:
    plain, packed = tmp_path / "mail.log", tmp_path / "mail.log.gz"
    traffic = Traffic(8000, rate=20.0)  # so that each message has a stretch of time of its own
    traffic.write(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    begun: list[str] = []
    process.observers.append(lambda argv, _: begun.append(argv))
    try:
        found = trace(packed, traffic.traced)
    finally:
        process.observers.pop()
    assert len(found.stories) == traffic.traced_messages
    assert shown(found) == shown(trace(plain, traffic.traced))
    assert 0 < len(begun) <= 6  # to find them, their lines, what is beside them, and the beginning


FROM = "from c[192.0.2.1]"
TO = "from=<amy@a.test> to=<bob@b.test> proto=ESMTP helo=<c>"


def test_a_rule_belongs_to_the_next_message_of_its_session(tmp_path: Path) -> None:
    path = write(tmp_path, [
        (0, f"postfix/smtpd[1]: connect {FROM}"),
        (1, f"postfix/smtpd[1]: NOQUEUE: hold: RCPT {FROM}: <amy@a.test>: Sender address look; {TO}"),
        (1, f"postfix/smtpd[2]: NOQUEUE: hold: RCPT {FROM}: <x@a.test>: Sender address other; from=<x@a.test>"),
        (1, "postfix/smtpd[1]: AAAAA1: client=c[192.0.2.1]"),
        (2, f"postfix/smtpd[1]: NOQUEUE: reject: RCPT {FROM}: 550 5.1.1 <no@b.test>: no; from=<amy@a.test>"
            " to=<no@b.test> proto=ESMTP helo=<c>"),
        (3, "postfix/smtpd[1]: BBBBB2: client=c[192.0.2.1]"),
        (4, f"postfix/smtpd[1]: disconnect {FROM} ehlo=1 mail=2 rcpt=2/3"),
        (5, "postfix/qmgr[4]: BBBBB2: from=<amy@a.test>, size=1, nrcpt=1 (queue active)"),
    ])  # fmt: skip
    # In the order in which their sessions began.
    held, other, refused = (history(story) for story in trace(path, "amy@a.test").stories)
    assert (held.queue_ids, held.outcomes[0].status, held.outcomes[0].recipient) == (
        ["AAAAA1"], "held", "bob@b.test")  # fmt: skip
    assert [line.raw.partition("]: ")[2][:14] for line in held.story.lines] == [
        "connect from c", "NOQUEUE: hold:", "AAAAA1: client", "disconnect fro"]  # fmt: skip
    assert (refused.queue_ids, refused.outcomes[0].status) == ([], "rejected")
    assert (other.queue_ids, other.outcomes[0].status) == (["BBBBB2"], "unknown")
    (alone,) = trace(path, "x@a.test").stories  # no mail came of it
    assert (history(alone).outcomes[0].status, len(alone.lines)) == ("unknown", 1)


@pytest.mark.parametrize(
    ("line", "outcome", "words"),
    [
        (f"milter-discard: END-OF-MESSAGE {FROM}: milter triggers DISCARD action; {TO}", "discarded",
         "Discarded by a rule for bob@b.test: milter triggers DISCARD action."),
        (f"milter-reject: END-OF-MESSAGE {FROM}: 5.7.1 Spam; {TO}", "rejected",
         "Refused here for bob@b.test: 5.7.1 Spam."),
        (f"milter-hold: END-OF-MESSAGE {FROM}: milter triggers HOLD action; {TO}", "held",
         "On hold for bob@b.test: milter triggers HOLD action."),
        (f"reject: body Buy; from=<evil@x> to=<y@z>: now {FROM}; {TO}: 5.7.1 no", "rejected",
         "Refused here for bob@b.test: 5.7.1 no (Buy; from=<evil@x> to=<y@z>: now)."),
        (f"discard: header Subject: x {FROM}; {TO}", "discarded",
         "Discarded by a rule for bob@b.test: Subject: x."),
    ],
)  # fmt: skip
def test_what_a_milter_or_a_check_of_the_content_did(
    tmp_path: Path, line: str, outcome: str, words: str
) -> None:
    path = write(tmp_path, [
        (0, "postfix/smtpd[1]: AAAAA1: client=c[192.0.2.1]"),
        (1, f"postfix/cleanup[2]: AAAAA1: {line}"),
    ])  # fmt: skip
    (story,) = trace(path, "AAAAA1").stories
    found = history(story)
    assert (verdict(found).outcome, verdict(found).text) == (outcome, words)
    assert (found.sender, found.is_over) == ("amy@a.test", outcome != "held")


def test_the_sender_is_told_only_when_the_notice_of_the_failure_arrived(tmp_path: Path) -> None:
    start = [
        (0, "postfix/smtpd[1]: AAAAA1: client=c[192.0.2.1]"),
        (1, "postfix/bounce[2]: AAAAA1: sender delay notification: DDDDD4"),
        (1, "postfix/smtp[5]: DDDDD4: to=<amy@a.test>, relay=a[192.0.2.7]:25, delay=1, dsn=2.0.0, status=sent (ok)"),
        (2, "postfix/smtp[5]: AAAAA1: to=<bob@b.test>, relay=b[192.0.2.9]:25, delay=1, dsn=5.0.0, status=bounced (no)"),
        (2, "postfix/bounce[2]: AAAAA1: sender non-delivery notification: BBBBB2"),
    ]  # fmt: skip
    way = "postfix/smtp[5]: BBBBB2: to=<amy@a.test>, relay=a[192.0.2.7]:25, delay=1"
    waits = (3, f"{way}, dsn=4.0.0, status=deferred (busy)")
    fails = (3, f"{way}, dsn=5.0.0, status=bounced (gone)")
    double = [
        (3, "postfix/bounce[2]: BBBBB2: postmaster non-delivery notification: CCCCC3"),
        (4, "postfix/local[5]: CCCCC3: to=<root@a.test>, relay=local, delay=1, dsn=2.0.0, status=sent (ok)"),
    ]
    for lines, words in (
        ([], "Refused by b for bob@b.test: no."),
        ([waits], "The notice to the sender still waits: busy."),
        ([(3, f"{way}, dsn=2.0.0, status=sent (ok)")], "The sender was told at "),
        ([fails], "The notice to the sender could not be delivered: gone."),
        ([fails, *double], "could not be delivered: gone. The postmaster was told at "),
    ):
        (story,) = trace(write(tmp_path, [*start, *lines]), "AAAAA1").stories
        found = history(story)
        assert words in verdict(found).text
        assert (found.told is None) is ("The sender was told" not in words)
        assert (found.postmaster_told is None) is ("postmaster" not in words)
