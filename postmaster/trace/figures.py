"""The few figures that tell how a period went: for a digest, which says them every day in a few lines.

`log report` has all of them (`report.report`); what is here is chosen from the same statistics, so that the
two never differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postmaster.settings import Settings
from postmaster.trace import report
from postmaster.trace.filter import Filter
from postmaster.trace.sources import Notes, Period, Source, find


@dataclass(frozen=True, slots=True)
class Named:
    """An address, login or client and how often it was counted. `name` is as the log has it: escape it."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened within a period. Counts are as in docs/trace.md, bytes in bytes, delays in seconds.

    `received` and `bytes_received` are messages that came in, `delivered` and `bytes_delivered` deliveries,
    each for one recipient. `deferred` is messages, `deferrals` attempts, `refused` passwords. The delays are
    those of deliveries that succeeded, None where there was none. `problems` says what could not be read:
    then all may be too small.
    """

    since: float | None  # seconds since 1970
    until: float | None
    lines: int
    received: int
    bytes_received: int
    delivered: int
    bytes_delivered: int
    forwarded: int
    deferred: int
    deferrals: int
    bounced: int
    rejected: int
    refused: int
    held: int
    discarded: int
    expired: int
    delay_median: float | None
    delay_p95: float | None
    senders: tuple[Named, ...]  # by messages
    failed_logins: tuple[Named, ...]  # by passwords refused
    failed_clients: tuple[Named, ...]
    problems: tuple[str, ...]


def figures(settings: Settings, period: Period, top: int = 10) -> Figures:
    """The figures of a period of the server's own logs. Raises NotFoundError where there is no log."""
    return of_logs(find(settings), period, top)


def of_logs(logs: Sequence[Sequence[Source]], period: Period, top: int = 10) -> Figures:
    """The figures of a period of some logs; of names the `top` most frequent."""
    notes = Notes()
    counted = report.count(logs, period, Filter(), notes)
    made = report.report(counted, top)
    totals: Mapping[str, int] = made["totals"]
    delays = made["delays"][0]
    return Figures(
        period.since,
        period.until,
        made["lines"],
        **{key: number for key, number in totals.items() if key in Figures.__slots__},
        refused=sum(counted.failed_clients.values()),
        delay_median=delays["median"],
        delay_p95=delays["p95"],
        senders=_named(made["senders"], "messages"),
        failed_logins=_named(made["failed_logins"], "count"),
        failed_clients=_named(made["failed_clients"], "count"),
        problems=tuple(notes.problems),
    )


def _named(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Named, ...]:
    return tuple(Named(row["name"], row[key]) for row in rows)
