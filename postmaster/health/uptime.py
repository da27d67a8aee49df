"""How long objects were up, by the month: parts of the transactions of `state`, in tables of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from postmaster.health.finding import Finding, Severity, badness

STANDS = 900.0  # seconds that a run's word on a service counts at most, where no timer was promised
FOLLOWED = 2_000  # objects

TABLES = """
CREATE TABLE standing (
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    severity INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (check_name, object)
) WITHOUT ROWID;
CREATE TABLE uptime (
    month TEXT NOT NULL,
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    up REAL NOT NULL,
    known REAL NOT NULL,
    PRIMARY KEY (month, check_name, object)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Uptime:
    """How long an object was up in a month, of the time that is known. Seconds. `month`: `2026-11`, UTC."""

    month: str
    check: str
    object: str
    up: float
    known: float


def read(connection: sqlite3.Connection, checks: Collection[str] = ()) -> list[Uptime]:
    """By month, check and object; without checks, of all of them."""
    rows = connection.execute("SELECT month, check_name, object, up, known FROM uptime ORDER BY 1, 2, 3")
    return [Uptime(*row) for row in rows if not checks or row[1] in checks]


def credit(
    connection: sqlite3.Connection, findings: Iterable[Finding], at: float, every: float | None
) -> None:
    """Credit the time since the last word on each object to what was said then, and say it anew.

    Up is what is not critical; time of which only "unknown" was said, or nothing for twice the time that the
    run's timer promised (`every`), is not known.
    """
    most = STANDS if every is None else max(STANDS, 2 * every)
    worst: dict[tuple[str, str], Severity] = {}
    for one in findings:
        key = (one.check, one.object)
        if key not in worst or badness(one.severity) > badness(worst[key]):
            worst[key] = one.severity
    before = {
        (check, item): (severity, then)
        for check, item, severity, then in connection.execute(
            "SELECT check_name, object, severity, at FROM standing"
        )
    }
    for key, now in worst.items():
        if key not in before and len(before) >= FOLLOWED:
            continue
        severity, then = before.setdefault(key, (Severity.unknown, at))
        if severity != Severity.unknown and then < at:
            for name, seconds in _by_month(then, min(at, then + most)):
                connection.execute(
                    "INSERT INTO uptime VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET up = up + excluded.up, known = known + excluded.known",
                    (name, *key, 0.0 if severity == Severity.critical else seconds, seconds),
                )
        connection.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?)", (*key, now, at))


def forget(connection: sqlite3.Connection, oldest: float) -> None:
    """What is older than a moment, by whole months."""
    connection.execute("DELETE FROM standing WHERE at < ?", (oldest,))
    connection.execute("DELETE FROM uptime WHERE month < ?", (month(oldest),))


def month(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def _by_month(begin: float, end: float) -> Iterator[tuple[str, float]]:
    """The seconds between two moments, in the months (UTC) that they belong to."""
    while begin < end:
        at = datetime.fromtimestamp(begin, UTC)
        following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC).timestamp()
        yield at.strftime("%Y-%m"), min(end, following) - begin
        begin = following
