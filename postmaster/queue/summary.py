"""Counting the queue by destination, sender, reason and the like, with ages as qshape(1) has them.

A summary is a fold over messages: `start`, then `add` for each; `parts` and `merge` where several processes
read. Its state is picklable until it is merged, and no more than `MOST_GROUPS` groups are in memory: from
there on they are in a temporary file, and what is told stays exact.

A message with several recipients is in several groups by recipient domain or reason: in each it
counts as one message with those of its recipients that belong there. As in qshape, recipients are
what is counted in ages there; by anything else, ages count messages (qshape -s).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from postmaster.queue.fields import REASONS, domain_of
from postmaster.queue.message import Message
from postmaster.queue.reasons import key as incident

if TYPE_CHECKING:
    from postmaster.queue.overflow import Overflow

#: Headings of the ages: less than so many minutes, and what is older than all of them.
AGES = ("5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+")
_EDGES = [60 * 5 << doubled for doubled in range(9)]  # seconds

EXAMPLE_CHARACTERS = 500  # of a reason, kept with its group
MOST_GROUPS = 20_000  # kept in memory; some 12 MiB

Key = str | tuple[str, str] | None


@dataclass(slots=True)
class Group:
    """What belongs together. `oldest` and `next_retry` are seconds since the epoch; None: not known."""

    messages: int = 0
    recipients: int = 0
    bytes: int = 0
    oldest: int | None = None
    next_retry: int | None = None
    ages: list[int] = field(default_factory=lambda: [0] * len(AGES))
    example: str | None = None  # of a reason


@dataclass(slots=True)
class Summary:
    """`groups` by what was asked for: None is the group of those that have no such value. `overflow` has what
    of them went to a file.
    """

    by: str
    now: int
    messages: int = 0
    bytes: int = 0
    groups: dict[Key, Group] = field(default_factory=dict)
    overflow: Overflow | None = None

    @property
    def is_full(self) -> bool:
        """Whether there are as many groups in memory as there may be."""
        return len(self.groups) >= MOST_GROUPS

    @property
    def count(self) -> int:
        """The number of groups."""
        if self.overflow is None:
            return len(self.groups)
        self.spill()
        return len(self.overflow)

    def spill(self) -> None:
        """Put all groups into the file."""
        if self.overflow is None:
            from postmaster.queue.overflow import Overflow

            self.overflow = Overflow()
        self.overflow.add(
            (key, one.messages, one.recipients, one.bytes, *one.ages, one.oldest, one.next_retry, one.example)
            for key, one in self.groups.items()
        )
        self.groups = {}

    def whole(self, limit: int = 0, *, ordered: bool = True) -> Iterator[tuple[Key, Group]]:
        """The groups, those with the most recipients or messages first; at most `limit`, 0 for all."""
        first = "recipients" if self.counts_recipients else "messages"
        if self.overflow is not None:
            if self.groups:
                self.spill()
            for key, messages, recipients, size, *ages, oldest, retry, example in self.overflow.rows(
                first if ordered else None, limit
            ):
                yield key, Group(messages, recipients, size, oldest, retry, ages, example)
            return

        def order(item: tuple[Key, Group]) -> tuple[int, int, str]:
            key, group = item
            return -getattr(group, first), -group.messages, str(key)

        if not ordered:
            yield from islice(self.groups.items(), limit or None)
        elif limit:
            from heapq import nsmallest

            yield from nsmallest(limit, self.groups.items(), key=order)
        else:
            yield from sorted(self.groups.items(), key=order)

    @property
    def counts_recipients(self) -> bool:
        """Whether recipients are what is counted here, and not messages."""
        return self.by in _SEVERAL

    def total(self) -> Group:
        """All groups together, each message counted once."""
        whole = Group()
        for _, group in self.whole(ordered=False):
            _add_group(whole, group)
        whole.messages, whole.bytes, whole.example = self.messages, self.bytes, None
        return whole


def start(by: str, now: int) -> Summary:
    """An empty summary by one of `BY`; `now` is the moment that ages count from."""
    if by not in BY:
        raise ValueError(f"there is no summary by {by}")
    return Summary(by, now)


def add(summary: Summary, message: Message) -> Summary:
    """Count a message; gives the summary back."""
    summary.messages += 1
    summary.bytes += message.message_size
    age = bisect_right(_EDGES, summary.now - message.arrival_time)
    several = _SEVERAL.get(summary.by)
    if several is not None:
        several(summary, message, age)
        return summary
    key = _SINGLE[summary.by](message)
    group = summary.groups.get(key)
    if group is None:
        group = summary.groups[key] = Group()
    _count(group, message, len(message.recipients), age, 1)
    return summary


def parts(by: str, now: int, messages: Iterable[Message]) -> Iterator[Summary]:
    """Summaries of messages, none with more than `MOST_GROUPS` groups (and those of one message)."""
    part = start(by, now)
    for message in messages:
        add(part, message)
        if part.is_full:
            yield part
            part = start(by, now)
    yield part


def merge(one: Summary, other: Summary) -> Summary:
    """Both together, in the first of them. The other has no overflow."""
    one.messages += other.messages
    one.bytes += other.bytes
    for key, group in other.groups.items():
        mine = one.groups.get(key)
        if mine is None:
            one.groups[key] = group
        else:
            _add_group(mine, group)
    if one.is_full:
        one.spill()
    return one


def needs(by: str) -> frozenset[str]:
    """What must be read of a message for a summary, as `expression.needs` names it."""
    return frozenset({"arrival_time", "message_size", "next_retry", "recipients", *_NEEDS.get(by, ())})


def _count(group: Group, message: Message, recipients: int, age: int, counted: int) -> None:
    group.messages += 1
    group.recipients += recipients
    group.bytes += message.message_size
    arrival, retry = message.arrival_time, message.next_retry
    if group.oldest is None or arrival < group.oldest:
        group.oldest = arrival
    if retry is not None and (group.next_retry is None or retry < group.next_retry):
        group.next_retry = retry
    group.ages[age] += counted


def _add_group(one: Group, other: Group) -> None:
    one.messages += other.messages
    one.recipients += other.recipients
    one.bytes += other.bytes
    one.oldest = _least(one.oldest, other.oldest)
    one.next_retry = _least(one.next_retry, other.next_retry)
    one.ages = [a + b for a, b in zip(one.ages, other.ages, strict=True)]
    one.example = one.example or other.example


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _by_recipient_domain(summary: Summary, message: Message, age: int) -> None:
    # Written out, as this is what is asked for most: half the time of calling _count.
    groups, seen = summary.groups, set()
    arrival, retry = message.arrival_time, message.next_retry
    for one in message.recipients:
        _, at, domain = one.address.rpartition("@")
        domain = domain.lower().rstrip(".") if at else ""
        group = groups.get(domain)
        if group is None:
            group = groups[domain] = Group()
        group.recipients += 1
        group.ages[age] += 1
        if domain in seen:
            continue
        seen.add(domain)
        group.messages += 1
        group.bytes += message.message_size
        if group.oldest is None or arrival < group.oldest:
            group.oldest = arrival
        if retry is not None and (group.next_retry is None or retry < group.next_retry):
            group.next_retry = retry


def _by_reason(summary: Summary, message: Message, age: int) -> None:
    found: dict[Key, int] = {}
    examples: dict[Key, str] = {}
    for one in message.recipients:
        key: Key = None
        if one.delay_reason is not None:
            key = incident(one.delay_reason, one.dsn)
            examples.setdefault(key, one.delay_reason)
        found[key] = found.get(key, 0) + 1
    for key, number in found.items():
        group = summary.groups.get(key)
        if group is None:
            example = examples.get(key)
            group = summary.groups[key] = Group(example=example and example[:EXAMPLE_CHARACTERS])
        _count(group, message, number, age, number)


def _client(message: Message) -> Key:
    """As Postfix logs it: name[address]."""
    if message.client_address is None:
        return message.client_name
    return f"{message.client_name or 'unknown'}[{message.client_address}]"


_SEVERAL: dict[str, Callable[[Summary, Message, int], None]] = {
    "recipient-domain": _by_recipient_domain,
    "reason": _by_reason,
}
_SINGLE: dict[str, Callable[[Message], Key]] = {
    "sender": lambda m: m.sender,
    "sender-domain": lambda m: domain_of(m.sender),
    "client": _client,
    "sasl": lambda m: m.sasl_username,
    "queue": lambda m: m.queue_name,
    "instance": lambda m: m.instance,
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "reason": (REASONS,),
    "sender": ("sender",),
    "sender-domain": ("sender",),
    "client": ("client_name", "client_address"),
    "sasl": ("sasl_username",),
    "queue": ("queue_name",),
    "instance": ("instance",),
}

#: What a queue can be counted by.
BY = (*_SEVERAL, *_SINGLE)
