"""The log of a period in the few figures that a daily report shows."""

from __future__ import annotations

from dataclasses import dataclass

TOP = 5  # names of each list


@dataclass(frozen=True, slots=True)
class Named:
    """Who did something, how often, and of how many bytes where that is counted."""

    name: str
    count: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of messages and bytes; delays in seconds, None where nothing was delivered.

    `deferred` counts messages, not attempts. Lists have the largest first, `TOP` of them.
    """

    since: float
    until: float
    received: int = 0
    bytes_received: int = 0
    delivered: int = 0
    bytes_delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    rejected: int = 0
    median: float | None = None
    p95: float | None = None
    failed_logins: int = 0
    senders: tuple[Named, ...] = ()
    guessed: tuple[Named, ...] = ()  # the names that were tried


@dataclass(frozen=True, slots=True)
class Statistics:
    """A period and the same of a week before, None where the log does not reach back and nothing was kept.

    `days`: what was kept of whole days, oldest first, by their dates.
    """

    figures: Figures
    before: Figures | None = None
    days: tuple[tuple[str, Figures], ...] = ()
