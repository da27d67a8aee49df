"""Reasons of delay, grouped by incident: the labelled examples, the score, hostile texts."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postmaster.queue.reasons import LONGEST, key, pattern
from tests.tools.reasons import Labelled, labelled_reasons

ROWS = labelled_reasons()
UNSEEN = labelled_reasons("delay_reasons_unseen.tsv")


def check_form(rows: list[Labelled]) -> None:
    assert len({row.reason for row in rows}) == len(rows)
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        assert row.label.strip() == row.label != ""
        assert row.reason.strip() == row.reason != ""
        assert re.fullmatch(r"4\.\d{1,3}\.\d{1,3}", row.dsn), row
        codes[row.label].add(row.dsn)
    assert {label for label, found in codes.items() if len(found) > 1} == set()


def test_the_labelled_reasons_are_enough_and_well_formed() -> None:
    assert len(ROWS) >= 200
    check_form(ROWS)
    several = [label for label, number in Counter(row.label for row in ROWS).items() if number > 1]
    assert len(several) >= 100


def test_the_unseen_reasons_are_others() -> None:
    assert len(UNSEEN) >= 50
    check_form(UNSEEN)
    assert {row.reason for row in UNSEEN} & {row.reason for row in ROWS} == set()


class Score(NamedTuple):
    precision: float  # of the pairs that are put together, how many belong together
    recall: float  # of the pairs that belong together, how many are put together

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def score(rows: list[Labelled]) -> Score:
    """Over all pairs of rows."""
    together = apart = missed = 0
    keys = [key(row.reason, row.dsn) for row in rows]
    for second, row in enumerate(rows):
        for first in range(second):
            same, grouped = rows[first].label == row.label, keys[first] == keys[second]
            together += same and grouped
            apart += grouped and not same
            missed += same and not grouped
    return Score(together / (together + apart), together / (together + missed))


@pytest.mark.parametrize(
    ("name", "rows", "precision", "recall"),
    [("labelled before", ROWS, 1.0, 0.95), ("unseen", UNSEEN, 1.0, 0.95)],
    ids=["before", "unseen"],
)
def test_the_score(
    name: str, rows: list[Labelled], precision: float, recall: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = score(rows)
    with capsys.disabled():
        print(
            f"\ngrouping of {len(rows)} reasons ({name}): precision {found.precision:.3f},"
            f" recall {found.recall:.3f}, F1 {found.f1:.3f}"
        )
    assert found.precision >= precision
    assert found.recall >= recall


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        (
            "connect to mx1.example.com[192.0.2.1]:25: Connection refused",
            "connect to HOST:25: Connection refused",
        ),
        (
            "delivery temporarily suspended: connect to mx1.example.com[2001:db8::1]:25: Connection refused",
            "connect to HOST:25: Connection refused",
        ),
        (
            "connect to mail.example.org[private/dovecot-lmtp]: Connection refused",
            "connect to HOST[private/dovecot-lmtp]: Connection refused",
        ),
        (
            "Name service error for name=mx.example.org type=AAAA: Host not found, try again",
            "Name service error for name=HOST type=A: Host not found, try again",
        ),
        (
            "host mx.example.org[192.0.2.1] said: 450 4.2.0 <amy@example.org>: Recipient address rejected:"
            " Greylisted for 300 seconds (in reply to RCPT TO command)",
            "host HOST said: 450 4.2.0 ADDRESS: Recipient address rejected: Greylisted for TIME",
        ),
        (
            "host b.example[192.0.2.1] said: 421-4.7.0 [192.0.2.9     15] One 421-4.7.0 two 421 4.7.0 three.",
            "host HOST said: 421 4.7.0 [IP N] One two three.",
        ),
        (
            "host x.example[192.0.2.1] refused to talk to me: 554 5.7.1 Client host [192.0.2.9] blocked"
            " using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.9",
            "host HOST refused to talk to me: 554 5.7.1 Client host [IP] blocked using zen.spamhaus.org; URL",
        ),
        ("", ""),
        ("mail transport unavailable", "mail transport unavailable"),
    ],
)
def test_what_is_taken_out(reason: str, meant: str) -> None:
    assert pattern(reason) == meant


def test_the_status_code_is_part_of_the_key() -> None:
    reason = "host mx.example.org[192.0.2.1] said: 450 4.2.0 try later"
    assert key(reason, "4.2.0") != key(reason, "4.7.1")
    assert key(reason, None) == key(reason, "4.2.0")  # postqueue does not tell it, the text may
    assert key(reason, "nonsense") == key(reason, "4.2.0")
    assert key("connect to x[192.0.2.1]:25: Connection refused", None)[0] == ""


def test_what_differs_does_not_make_another_group() -> None:
    whole = set()
    for number in range(500):
        host, user = f"mx{number}.example.org[192.0.2.{number % 256}]", f"user{number}@example.org"
        ids = f"id={number:05d}-{number % 40} [{number:08X}F]"
        reason = (
            f"host {host} said: 451 4.7.1 <{user}>: try in {number} seconds, {ids} (in reply to DATA command)"
        )
        whole.add(key(reason, "4.7.1"))
    assert len(whole) == 1


@given(st.text(max_size=300))
@example("said: 450 " * 30)
@example("[" * 200)
@example("\x1b[31m\u202ehost")
def test_any_text_is_taken_and_settles(reason: str) -> None:
    once = pattern(reason)
    assert len(once) <= 4 * LONGEST
    assert "\n" not in once
    key(reason, None)


WORDS = """host mx.example.org[192.0.2.1] said: 450 4.2.0 450-4.2.0 <a@b.example> [ ] ( ::1 using N - 5
minutes zen.spamhaus.org id=1-2 https://x /var/mail "/a b" 12:00:00 name=x type=A Error:"""
words = st.sampled_from(WORDS.split())


@given(st.lists(words, max_size=30))
def test_any_row_of_usual_words(parts: list[str]) -> None:
    pattern(" ".join(parts))


HOSTILE = "a [ [x a. 1: < a@ - \x00\x1b /a a-1. name= a1 \u0660 :: =< a[ ]."
SPACED = (" ", '"/', "1 ", "N ", "[N ", "said: 450 ", "for user a.", "using x.y ", "mail for ")


@pytest.mark.parametrize("piece", [*HOSTILE.split(), *SPACED])
def test_hostile_reasons_cost_no_more_than_others(piece: str) -> None:
    hostile = piece * (100_000 // len(piece))
    started = time.process_time()
    for number in range(20):
        pattern(f"{number}{hostile}")
    assert time.process_time() - started < 10  # some milliseconds; without a bound it would be hours
