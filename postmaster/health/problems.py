"""Problems, acknowledgements of them, and what became certain: parts of the transactions of `state`.

They have tables of their own, which do not grow beyond a bound.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from postmaster.health.changes import Acknowledgement, Change, Event, Known, Problem
from postmaster.health.finding import Finding, Severity, badness

PROBLEMS = 2_000  # that are followed
EVENTS = 20_000

TABLES = """
CREATE TABLE problem (
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    code TEXT NOT NULL,
    severity INTEGER NOT NULL,
    message TEXT NOT NULL,
    remedy TEXT,
    since REAL NOT NULL,
    seen REAL NOT NULL,
    level INTEGER NOT NULL,
    told INTEGER NOT NULL,
    recent TEXT NOT NULL,
    PRIMARY KEY (check_name, object, code)
) WITHOUT ROWID;
CREATE TABLE acknowledgement (
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    code TEXT NOT NULL,
    severity INTEGER NOT NULL,
    until REAL NOT NULL,
    reason TEXT NOT NULL,
    who TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (check_name, object, code)
) WITHOUT ROWID;
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    change TEXT NOT NULL,
    check_name TEXT NOT NULL,
    object TEXT NOT NULL,
    code TEXT NOT NULL,
    severity INTEGER NOT NULL,
    message TEXT NOT NULL,
    remedy TEXT,
    before INTEGER NOT NULL,
    since REAL NOT NULL
);
CREATE INDEX event_at ON event (at);
"""


def known(connection: sqlite3.Connection) -> dict[Problem, Known]:
    """The problems that are followed."""
    rows = connection.execute(
        "SELECT check_name, object, code, severity, message, remedy, since, seen, level, told, recent"
        " FROM problem"
    )
    return {
        (row[0], row[1], row[2]): Known(
            Finding(row[0], row[1], row[2], Severity(row[3]), row[4], row[5]),
            *(row[6], row[7], Severity(row[8]), Severity(row[9])),
            tuple(Severity(one) for one in json.loads(row[10])),
        )
        for row in rows
    }


def write(connection: sqlite3.Connection, known: Mapping[Problem, Known]) -> None:
    """These are followed from now on: no more than PROBLEMS of them, the worst."""
    connection.execute("DELETE FROM problem")
    worst = sorted(known.values(), key=lambda one: -badness(one.finding.severity))
    connection.executemany(
        "INSERT INTO problem VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(*one.finding.problem, one.finding.severity, one.finding.message, one.finding.remedy),
                *(one.since, one.seen, one.level, one.told, json.dumps(one.recent)),
            )
            for one in worst[:PROBLEMS]
        ),
    )


def acknowledgements(connection: sqlite3.Connection) -> dict[Problem, Acknowledgement]:
    """All of them, those that have ended too."""
    rows = connection.execute(
        "SELECT check_name, object, code, severity, until, reason, who, at FROM acknowledgement"
    )
    return {
        (check, item, code): Acknowledgement(check, item, code, Severity(severity), *rest)
        for check, item, code, severity, *rest in rows
    }


def acknowledge(connection: sqlite3.Connection, given: Iterable[Acknowledgement]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO acknowledgement VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((*one.problem, one.severity, one.until, one.reason, one.who, one.at) for one in given),
    )


def unacknowledge(connection: sqlite3.Connection, which: Iterable[Problem]) -> None:
    connection.executemany(
        "DELETE FROM acknowledgement WHERE check_name = ? AND object = ? AND code = ?", which
    )


def end_acknowledgements(connection: sqlite3.Connection, at: float) -> None:
    """Forget those whose date has come."""
    connection.execute("DELETE FROM acknowledgement WHERE until <= ?", (at,))


def add_events(connection: sqlite3.Connection, events: Iterable[Event]) -> None:
    connection.executemany(
        "INSERT INTO event (at, change, check_name, object, code, severity, message, remedy, before, since)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_row(event) for event in events),
    )


def events(connection: sqlite3.Connection, check: str | None, since: float) -> list[Event]:
    """Of one check or of all, oldest first."""
    rows = connection.execute(
        "SELECT at, change, check_name, object, code, severity, message, remedy, before, since"
        " FROM event WHERE at >= ? AND (? IS NULL OR check_name = ?) ORDER BY number",
        (since, check, check),
    )
    return [_event(row) for row in rows]


def thin(connection: sqlite3.Connection, oldest: float) -> None:
    """Take away what is too old, and events beyond their bound."""
    connection.execute("DELETE FROM problem WHERE seen < ?", (oldest,))
    end_acknowledgements(connection, oldest)
    connection.execute("DELETE FROM event WHERE at < ?", (oldest,))
    connection.execute("DELETE FROM event WHERE number <= (SELECT max(number) - ? FROM event)", (EVENTS,))


def _row(event: Event) -> tuple[object, ...]:
    one = event.finding
    return (
        *(event.at, str(event.change), *one.problem, one.severity),
        *(one.message, one.remedy, event.before, event.since),
    )


def _event(row: Sequence[Any]) -> Event:
    at, change, check, item, code, severity, message, remedy, before, since = row
    finding = Finding(check, item, code, Severity(severity), message, remedy)
    return Event(at, Change(change), finding, Severity(before), since)
