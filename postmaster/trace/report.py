"""The report on a period: statistics of the logs, put in order and into words.

A plain period is counted by the fast lane, in as many processes as there are processors where that is worth
it. With a filter each message is gathered first (`lives`), and only the messages that fit are counted.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from postmaster.dovecot import events as dovecot
from postmaster.parallel import each
from postmaster.postfix import events as postfix
from postmaster.postfix.stamps import Clock
from postmaster.trace.blocks import blocks
from postmaster.trace.filter import Filter
from postmaster.trace.lines import Line, parse
from postmaster.trace.lives import Life, Lives, queue_id_of
from postmaster.trace.sources import Notes, Period, Source, shares, within
from postmaster.trace.statistics import ONE, STAGES, Statistics, Way

WORTH = 8 << 20  # bytes of text from which a second process pays

Rows = list[dict[str, Any]]


def count(logs: Sequence[Sequence[Source]], period: Period, wanted: Filter, notes: Notes) -> Statistics:
    """Statistics of a period of some logs."""
    total = Statistics()
    with _no_cycles():
        for log in logs:
            _count_log(total, log, period, wanted, notes)
    return total


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Without the search for cycles: a hundred thousand names make it slow, and counting makes none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _count_log(
    total: Statistics, log: Sequence[Source], period: Period, wanted: Filter, notes: Notes
) -> None:
    chosen = within(log, period)
    if not wanted.is_empty:
        _count_filtered(total, lines(chosen, period, notes), wanted)
        total.finish()
        return

    def part(sources: list[Source]) -> tuple[Statistics, list[str]]:
        counted, own = Statistics(), Notes()
        for source in sources:
            counted.read(blocks(source, period, own), Clock(source.reference))
        return counted, own.problems

    for counted, problems in each(part, shares(chosen, WORTH)):
        total.merge(counted)
        notes.add(problems)


def lines(sources: Iterable[Source], period: Period, notes: Notes) -> Iterator[Line]:
    """The lines of Postfix and Dovecot in some sources, one by one."""
    for source in sources:
        clock = Clock(source.reference)
        for block in blocks(source, period, notes):
            for raw in block.decode("utf-8", "surrogateescape").split("\n"):
                if (line := parse(raw, clock)) is not None:
                    yield line


def unparsed(logs: Sequence[Sequence[Source]], period: Period, notes: Notes) -> Iterator[str]:
    """The lines of Postfix and Dovecot that were not understood."""
    for log in logs:
        for line in lines(within(log, period), period, notes):
            if isinstance(line.event, postfix.Unknown | dovecot.Unknown):
                yield line.raw


def _count_filtered(total: Statistics, found: Iterable[Line], wanted: Filter) -> None:
    lives = Lives()
    for line in found:
        if queue_id_of(line) is None:
            total.lines += 1
            if isinstance(line.event, postfix.Policy) and wanted.takes_policy(line.event):
                total.add(line)
        elif (ended := lives.add(line)) is not None:
            _count_life(total, ended, wanted)
    for life in lives.rest():
        _count_life(total, life, wanted)


def _count_life(total: Statistics, life: Life, wanted: Filter) -> None:
    total.lines += len(life.lines)
    if not life.fits(wanted):
        return
    for line in life.lines:
        event = line.event
        if isinstance(event, postfix.Delivery) and not wanted.takes_delivery(event):
            continue
        if isinstance(event, postfix.Policy) and not wanted.takes_policy(event):
            continue
        total.add(line)


def report(counted: Statistics, top: int = 10) -> dict[str, Any]:
    """Statistics as the JSON of `log report`; lists have the `top` largest, all with 0."""
    domains: dict[bytes, Way] = {}
    relays: dict[bytes, Way] = {}
    for (domain, relay), way in counted.ways.items():
        domains.setdefault(domain, Way()).merge(way)
        relays.setdefault(relay, Way()).merge(way)
    senders: dict[bytes, int] = {}
    for sender, number in counted.senders.items():
        domain = sender.rpartition(b"@")[2]
        senders[domain] = senders.get(domain, 0) + number
    everything: dict[bytes, int] = {}
    for way in counted.ways.values():
        for delay, number in way.waits.items():
            everything[delay] = everything.get(delay, 0) + number
    stages = zip(("all together", *STAGES), (everything, *counted.stages), strict=True)
    return {
        "lines": counted.lines,
        "unparsed": counted.unknown,
        "totals": dict(counted.totals),
        "hours": _hours(counted),
        "days": _days(counted),
        "senders": _pairs(counted.senders, top),
        "sender_domains": _pairs(senders, top),
        "recipients": _pairs(counted.recipients, top),
        "destinations": _ways(domains, top),
        "relays": _ways(relays, top),
        "clients": _counts(counted.clients, top),
        "logins": _counts(counted.logins, top),
        "reasons": [
            {"kind": kind, "reason": reason, "count": number}
            for (kind, reason), number in _largest(counted.reasons, top)
        ],
        "delays": [{"stage": stage, **percentiles(values)} for stage, values in stages],
        "tls": [
            {"direction": {"from": "received", "to": "sent"}[_text(direction)], "protocol": _text(protocol),
             "count": number}
            for (direction, protocol), number in _largest(counted.tls, 0)
        ],
        "failed_clients": _counts(counted.failed_clients, top),
        "failed_logins": _counts(counted.failed_logins, top),
        "complaints": [
            {"level": level, "program": program, "text": text, "count": number}
            for (level, program, text), number in _largest(counted.complaints, top)
        ],
    }  # fmt: skip


HOUR_KEYS = ("received", "delivered", "deferrals", "bounced", "rejected")


LONGEST = 31 * 24  # hours that are all listed, also those in which nothing happened


def _hours(counted: Statistics) -> Rows:
    hours: dict[float, list[int]] = {}
    for key, numbers in counted.hours.items():
        if any(numbers):
            known = hours.setdefault(counted.begins[key], [0] * len(HOUR_KEYS))
            for at, number in enumerate(numbers):  # two stamps of different zones may mean one hour
                known[at] += number
    if hours and (max(hours) - min(hours)) / 3600 <= LONGEST:
        for at in range(int(min(hours)), int(max(hours)), 3600):
            hours.setdefault(float(at), [0] * len(HOUR_KEYS))
    return [
        {"hour": datetime.fromtimestamp(begin, UTC), **dict(zip(HOUR_KEYS, hours[begin], strict=True))}
        for begin in sorted(hours)
    ]


def _days(counted: Statistics) -> Rows:
    """Days as the log's own zone has them."""
    days: dict[str, list[int]] = {}
    for key, numbers in counted.hours.items():
        if not any(numbers):
            continue
        begin = counted.begins[key]
        day = (
            f"{datetime.fromtimestamp(begin):%Y-%m-%d}" if key[3:4] == b" " else key[:10].decode()
        )  # the old form is local time
        sums = days.setdefault(day, [0] * len(HOUR_KEYS))
        for at, number in enumerate(numbers):
            sums[at] += number
    return [{"day": day, **dict(zip(HOUR_KEYS, days[day], strict=True))} for day in sorted(days)]


def percentiles(values: Mapping[bytes, int]) -> dict[str, Any]:
    """How many, and the smallest values that half, 95 and 99 of a hundred do not exceed, in seconds."""
    ordered = sorted((float(value), number) for value, number in values.items())
    total = sum(number for _, number in ordered)
    found: dict[str, Any] = {"count": total, "median": None, "p95": None, "p99": None}
    seen, wanted = 0, [("median", 50), ("p95", 95), ("p99", 99)]
    for value, number in ordered:
        seen += number
        while wanted and seen * 100 >= wanted[0][1] * total:
            found[wanted.pop(0)[0]] = value
    return found


def _largest(counts: Mapping[Any, int], top: int) -> list[tuple[Any, int]]:
    """The largest counts, equal ones by name."""
    items: Iterable[tuple[Any, int]] = counts.items()
    if top and len(counts) > top:
        least = heapq.nlargest(top, counts.values())[-1]
        items = (item for item in items if item[1] >= least)
    ordered = sorted(items, key=lambda item: (-item[1], item[0]))
    return ordered[:top] if top else ordered


def _counts(counts: Mapping[bytes, int], top: int) -> Rows:
    return [{"name": _text(name), "count": number} for name, number in _largest(counts, top)]


def _pairs(counts: Mapping[bytes, int], top: int) -> Rows:
    return [
        {"name": _text(name), "messages": number // ONE, "bytes": number % ONE}
        for name, number in _largest(counts, top)
    ]


def _ways(ways: Mapping[bytes, Way], top: int) -> Rows:
    ordered = sorted(
        ways.items(), key=lambda item: (-item[1].sent - item[1].deferrals - item[1].bounced, item[0])
    )
    rows = []
    for name, way in ordered[:top] if top else ordered:
        waits = percentiles(way.waits)
        del waits["count"]
        rows.append(
            {
                "name": _text(name),
                "sent": way.sent,
                "deferrals": way.deferrals,
                "bounced": way.bounced,
                **waits,
            }
        )
    return rows


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
