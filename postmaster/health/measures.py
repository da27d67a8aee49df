"""What was measured from run to run: parts of the transactions of `state`, in tables of their own.

It stays small: the last two days are kept run by run, a month by the hour, and then by the day; no more than
FOLLOWED measures are followed, and VALUES values kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from postmaster.health.finding import Finding
from postmaster.health.report import Point, Series

HOUR, DAY = 3600, 86_400
EACH_RUN, BY_HOUR = 2 * DAY, 30 * DAY  # how long they are kept as they are, and by the hour
FOLLOWED = 2_000  # measures
VALUES = 500_000

TABLES = """
CREATE TABLE series (
    number INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    measure TEXT NOT NULL,
    unit TEXT NOT NULL,
    at REAL NOT NULL,
    value REAL NOT NULL,
    UNIQUE (check_name, object, measure)
);
CREATE TABLE value (
    series INTEGER NOT NULL,
    span INTEGER NOT NULL,
    at REAL NOT NULL,
    mean REAL NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (series, span, at)
) WITHOUT ROWID;
"""


def write(connection: sqlite3.Connection, findings: Iterable[Finding], at: float) -> None:
    """The values of a run; what is no finite number is left out."""
    measures = {
        (one.check, one.object, measure.name): measure
        for one in findings
        for measure in one.measures
        if abs(measure.value) < float("inf")  # nor one that is no number
    }
    numbers = {
        (check, item, measure): number
        for number, check, item, measure in connection.execute(
            "SELECT number, check_name, object, measure FROM series"
        )
    }
    for key, measure in measures.items():
        if key not in numbers and len(numbers) >= FOLLOWED:
            continue
        (numbers[key],) = connection.execute(
            "INSERT INTO series (check_name, object, measure, unit, at, value) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET unit = excluded.unit, at = excluded.at, value = excluded.value"
            " RETURNING number",
            (*key, measure.unit, at, measure.value),
        ).fetchone()
        connection.execute(
            "INSERT OR REPLACE INTO value VALUES (?, 0, ?, ?, ?, ?, 1)",
            (numbers[key], at, *(measure.value,) * 3),
        )


def read(connection: sqlite3.Connection, since: float, most: int, points: int) -> list[Series]:
    """The history of measures, each oldest first; no more than so many measures and points each."""
    found = []
    for number, check, item, measure, unit in connection.execute(
        "SELECT number, check_name, object, measure, unit FROM series WHERE at >= ?"
        " ORDER BY check_name, object, measure LIMIT ?",
        (since, most),
    ).fetchall():
        rows = connection.execute(
            "SELECT at, mean, low, high, count FROM value WHERE series = ? AND at >= ? ORDER BY at",
            (number, since),
        ).fetchall()
        found.append(Series(check, item, measure, unit, tuple(_fewer(rows, points))))
    return found


def thin(connection: sqlite3.Connection, at: float, oldest: float) -> None:
    """Hours of what is older than two days, days of what is older than a month; then the bounds."""
    for span, finer, before in ((HOUR, 0, at - EACH_RUN), (DAY, HOUR, at - BY_HOUR)):
        edge = before // span * span  # whole hours, whole days
        connection.execute(
            "INSERT OR REPLACE INTO value SELECT series, ?, CAST(at / ? AS INTEGER) * ?,"
            " sum(mean * count) / sum(count), min(low), max(high), sum(count) FROM value"
            " WHERE span = ? AND at < ? GROUP BY 1, 3",
            (span, span, span, finer, edge),
        )
        connection.execute("DELETE FROM value WHERE span = ? AND at < ?", (finer, edge))
    connection.execute("DELETE FROM value WHERE at < ?", (oldest,))
    connection.execute("DELETE FROM series WHERE at < ?", (oldest,))
    (count,) = connection.execute("SELECT count(*) FROM value").fetchone()
    if count > VALUES:
        (edge,) = connection.execute(
            "SELECT at FROM value ORDER BY at LIMIT 1 OFFSET ?", (count - VALUES,)
        ).fetchone()
        connection.execute("DELETE FROM value WHERE at < ?", (edge,))


def _fewer(rows: Sequence[tuple[float, float, float, float, int]], most: int) -> Iterator[Point]:
    """At most so many points: neighbours become one."""
    each = -(-len(rows) // most) or 1
    for first in range(0, len(rows), each):
        part = rows[first : first + each]
        count = sum(row[4] for row in part)
        yield Point(
            sum(row[0] for row in part) / len(part),
            sum(row[1] * row[4] for row in part) / count,
            min(row[2] for row in part),
            max(row[3] for row in part),
        )
