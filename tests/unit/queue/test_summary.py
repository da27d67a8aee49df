"""Counting the queue: what is in a group, ages, totals, and that the order and the parts do not matter."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import reduce
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster.errors import ServerError
from postmaster.queue import summary as counting
from postmaster.queue.fields import domain_of
from postmaster.queue.message import Message, Recipient
from postmaster.queue.overflow import Overflow
from postmaster.queue.reasons import key as incident
from postmaster.queue.summary import AGES, BY, EXAMPLE_CHARACTERS, Summary, add, merge, needs, start
from tests.tools.messages import NOW, message, messages


def counted(by: str, what: list[Message]) -> Summary:
    return reduce(add, what, start(by, NOW))


def test_several_recipients_of_a_message_are_in_several_groups() -> None:
    found = counted(
        "recipient-domain",
        [
            message("a@x.example", "b@X.example.", "c@y.example", message_size=10, next_retry=NOW + 5),
            message("d@x.example", message_size=1, arrival_time=NOW - 7200, next_retry=NOW + 9),
            message("root"),
        ],
    )
    x, y, nowhere = found.groups["x.example"], found.groups["y.example"], found.groups[""]
    assert (x.messages, x.recipients, x.bytes, x.oldest, x.next_retry) == (2, 3, 11, NOW - 7200, NOW + 5)
    assert (y.messages, y.recipients, y.bytes) == (1, 1, 10)
    assert (nowhere.messages, nowhere.recipients) == (1, 1)
    total = found.total()
    assert (total.messages, total.recipients, total.bytes) == (3, 5, 11 + 2048)
    assert total.oldest == NOW - 7200
    assert sum(total.ages) == total.recipients


def test_a_bounce_and_a_message_without_a_login_are_groups_too() -> None:
    what = [message(sender=""), message(sasl_username="amy"), message(client_address="192.0.2.1")]
    assert set(counted("sender", what).groups) == {"", "news@shop.example"}
    assert set(counted("sender-domain", what).groups) == {"", "shop.example"}
    assert set(counted("sasl", what).groups) == {None, "amy"}
    assert set(counted("client", what).groups) == {None, "unknown[192.0.2.1]"}
    assert counted("queue", what).groups["deferred"].messages == 3
    assert counted("instance", what).groups["-"].messages == 3


def test_reasons_are_grouped_by_incident_with_an_example() -> None:
    def refused(number: int) -> Recipient:
        reason = f"connect to mx{number}.example.com[192.0.2.{number}]:25: Connection refused"
        return Recipient(f"u{number}@example.com", reason, "4.4.1")

    long = Recipient("x@example.com", "host x said: " + "y " * 5000, "4.0.0")
    found = counted(
        "reason", [message(refused(1), refused(2)), message(refused(3), "new@example.com"), message(long)]
    )
    group = found.groups[("4.4.1", "connect to HOST:25: Connection refused")]
    assert (group.messages, group.recipients) == (2, 3)
    assert group.example == "connect to mx1.example.com[192.0.2.1]:25: Connection refused"
    assert found.groups[None].recipients == 1
    assert found.total().messages == 3
    assert max(len(g.example or "") for g in found.groups.values()) == EXAMPLE_CHARACTERS


@pytest.mark.parametrize("seconds", [0, 299, 300, 599, 600, 1199, 1200, 4799, 4800, 76_799, 76_800, 10**7])
def test_ages_are_those_of_qshape(seconds: int) -> None:
    """As in its `bucket`: 1 + floor(log2(minutes / 5)), the first below 5 minutes, ten in all."""
    minutes = seconds / 300
    bucket = 0 if minutes < 1 else min(1 + int(math.log(minutes) / math.log(2) + 1e-12), 9)
    found = counted("queue", [message(arrival_time=NOW - seconds)])
    assert found.groups["deferred"].ages.index(1) == bucket
    assert len(AGES) == 10


def test_a_message_from_the_future_is_young() -> None:
    assert counted("queue", [message(arrival_time=NOW + 100)]).groups["deferred"].ages[0] == 1


#: The group of each recipient of a message, written again.
BY_HAND: dict[str, Callable[[Message, Recipient], object]] = {
    "recipient-domain": lambda _message, recipient: domain_of(recipient.address),
    "reason": lambda _message, recipient: (
        None if recipient.delay_reason is None else incident(recipient.delay_reason, recipient.dsn)
    ),
    "sender": lambda message, _recipient: message.sender,
    "sender-domain": lambda message, _recipient: domain_of(message.sender),
    "queue": lambda message, _recipient: message.queue_name,
    "instance": lambda message, _recipient: message.instance,
    "sasl": lambda message, _recipient: message.sasl_username,
    "client": lambda m, _recipient: (
        m.client_name if m.client_address is None else f"{m.client_name or 'unknown'}[{m.client_address}]"
    ),
}


@pytest.mark.parametrize("by", BY)
@given(what=st.lists(messages, max_size=6))
@settings(max_examples=30)
def test_groups_are_what_counting_by_hand_gives(by: str, what: list[Message]) -> None:
    number: Counter[object] = Counter()
    of_recipients: Counter[object] = Counter()
    size: defaultdict[object, int] = defaultdict(int)
    for one in what:
        keys = [BY_HAND[by](one, recipient) for recipient in one.recipients]
        of_recipients.update(keys)
        for key in set(keys):
            number[key] += 1
            size[key] += one.message_size
    found = counted(by, what)
    total = found.total()
    assert {k: g.recipients for k, g in found.groups.items() if g.recipients} == of_recipients
    assert {k: g.messages for k, g in found.groups.items() if g.recipients}.keys() == number.keys()
    if by in ("recipient-domain", "reason"):
        assert {k: g.messages for k, g in found.groups.items()} == number
        assert {k: g.bytes for k, g in found.groups.items()} == size
    assert total.messages == len(what)
    assert total.bytes == sum(one.message_size for one in what)
    assert total.recipients == sum(len(one.recipients) for one in what)
    whole = sum(sum(g.ages) for g in found.groups.values())
    assert whole == sum(total.ages) == (total.recipients if found.counts_recipients else total.messages)


@pytest.mark.parametrize("by", BY)
@given(what=st.lists(messages, max_size=6), cut=st.integers(0, 6))
@settings(max_examples=30)
def test_parts_counted_apart_and_merged_are_the_whole(by: str, what: list[Message], cut: int) -> None:
    one, other = counted(by, what[:cut]), counted(by, what[cut:])
    together = merge(pickle.loads(pickle.dumps(one)), pickle.loads(pickle.dumps(other)))
    whole = counted(by, what)
    for each in (together, whole):
        for group in each.groups.values():
            group.example = None
    assert together == whole
    assert together.total() == whole.total()


@pytest.mark.parametrize("by", BY)
@given(what=st.lists(messages, max_size=8), most=st.integers(1, 4), limit=st.integers(0, 5))
@settings(max_examples=30)
def test_groups_that_memory_has_no_room_for_are_told_as_the_others(
    by: str, what: list[Message], most: int, limit: int
) -> None:
    whole = counted(by, what)
    with patch.object(counting, "MOST_GROUPS", most):
        found = reduce(merge, counting.parts(by, NOW, what), start(by, NOW))
        assert len(found.groups) < most
        assert found.count == len(whole.groups)
        assert found.total() == whole.total()
        expected, told = list(whole.whole(limit)), list(found.whole(limit))
        for _, group in (*expected, *told):
            group.example = group.example and "some"
        assert told == expected


def test_half_a_character_and_a_full_disk_in_a_group_that_memory_has_no_room_for() -> None:
    found = reduce(merge, [counted("sender", [message(sender="a\ud800@x.example")])], start("sender", NOW))
    found.spill()
    assert [key for key, _ in found.whole()] == ["a\ud800@x.example"]
    overflow = Overflow()
    overflow._database.execute("PRAGMA max_page_count = 8")
    row = (0,) * 13
    with pytest.raises(ServerError, match="temporary file for them failed"):
        overflow.add((f"user{number}@x.example", *row, None, None, None) for number in range(1000))


def test_any_number_of_senders_fits_in_memory() -> None:
    """Counted in a process of its own, with what is read of two processes in the order that it comes."""
    program = """
import sys
from pathlib import Path
from postmaster.queue import summary as counting
from postmaster.queue.message import Message
def queue():
    for number in range(int(sys.argv[1])):
        sender = f"bounces+{number * 7919 % 1000003}-customer=shop.example@mailings.example"
        yield Message("-", "deferred", "X", number, 1000, sender, [])
found = counting.start("sender", 0)
for part in counting.parts("sender", 0, queue()):
    counting.merge(found, part)
shown = sum(group.messages for _, group in found.whole())
peak = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]
print(found.count, found.total().messages, shown, int(peak) >> 10)
"""
    peaks = []
    for number in (30_000, 200_000):
        argv = [sys.executable, "-c", program, str(number)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        *counts, peak = map(int, done.stdout.split())
        assert counts == [number] * 3
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 16, f"{peaks} MiB"  # to keep them all would take 60 more


def test_the_largest_come_first() -> None:
    what = [message(f"a@d{n}.example") for n in range(5) for _ in range(n + 1)]
    found = counted("recipient-domain", what)
    assert [key for key, _ in found.whole(2)] == ["d4.example", "d3.example"]
    assert [key for key, _ in found.whole()] == [f"d{n}.example" for n in (4, 3, 2, 1, 0)]


def test_the_state_grows_with_groups_and_not_with_messages() -> None:
    found = counted("recipient-domain", [message(f"u{n}@d{n % 7}.example") for n in range(2000)])
    assert len(pickle.dumps(found)) < 5000


def test_what_must_be_read() -> None:
    attributes = set(Message.__dataclass_fields__) | {"reasons"}
    for by in BY:
        assert needs(by) <= attributes
    assert "reasons" in needs("reason")
    assert "reasons" not in needs("sender")
    with pytest.raises(ValueError, match="no summary by"):
        start("nonsense", NOW)
