"""What is kept from run to run: problems, what was told, measures for charts, how long services were up.

A small SQLite file in the state directory, root's alone. A run is one transaction: kept whole or not at
all, so that a run that is killed, or meets a full disk, loses itself and nothing else. It stays small: what
is older than `health.history_days` goes, and none of its tables grows beyond a bound. Runs that keep
themselves hold the lock of `alone`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postmaster.errors import PostmasterError, RightsError
from postmaster.files import make_folder
from postmaster.health import measures, uptime
from postmaster.health.changes import Acknowledgement, Change, Event, Known, Problem, step, tell
from postmaster.health.finding import FAILED, NO_ANSWER, Finding, Last, Severity, badness
from postmaster.health.report import Series
from postmaster.health.uptime import Uptime
from postmaster.settings import StateSettings
from postmaster.sqlite import prepare, transaction

FILE = "health.db"
LOCK_TIMEOUT = 5.0  # seconds that a command waits for another one's transaction
VERSION = 1

HOUR, DAY = 3600, 86_400
PROBLEMS = 2_000  # that are followed
EVENTS = 20_000
OBJECT, MESSAGE = 500, 2_000  # characters that are kept of an object and of a message

_TABLES = """
CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    took REAL NOT NULL,
    status INTEGER NOT NULL,
    every REAL,
    missed_since REAL,
    told INTEGER NOT NULL
);
CREATE TABLE made (check_name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
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
CREATE TABLE day (day TEXT PRIMARY KEY, figures TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE digest (number INTEGER PRIMARY KEY CHECK (number = 1), at REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A run that was made. `every`: seconds after which its timer promised the next, None for a person's."""

    at: float
    took: float
    status: Severity
    every: float | None


class StateError(PostmasterError):
    """The state of health checks cannot be used."""

    code = "health_state"


class State:
    """The open state. Every method is one transaction."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection = connection
        self._file = file

    # What a run needs and leaves

    def last(self, now: float) -> dict[str, Last]:
        """For each check what its last whole run measured, and when that was.

        A clock that was set back leaves runs in the future: they count as made now.
        """
        with self._reading():
            found: dict[str, tuple[float, dict[Problem, float]]] = {
                name: (at, {}) for name, at in self._connection.execute("SELECT check_name, at FROM made")
            }
            for check, item, measure, value in self._connection.execute(
                "SELECT check_name, object, measure, value FROM series JOIN made USING (check_name)"
                " WHERE series.at = made.at"
            ):
                found[check][1][check, item, measure] = value
        return {name: Last(min(at, now), values) for name, (at, values) in found.items()}

    def keep(
        self,
        findings: Sequence[Finding],
        checks: Collection[str],
        *,
        at: float,
        took: float,
        status: Severity,
        every: float | None,
        flap: int,
        days: int,
    ) -> list[Event]:
        """Keep a run of these checks, of `storable` findings. Gives what became certain with it.

        `every`: seconds after which its timer promised the next run, None for one that a person made.
        """
        with self._transaction():
            last = self._last_run(scheduled=True)
            late = every is not None and last is not None and at - last.at > 2 * every
            self._connection.execute(
                "INSERT INTO run (at, took, status, every, missed_since, told) VALUES (?, ?, ?, ?, ?, 0)",
                (at, took, status, every, last.at if last is not None and late else None),
            )
            known, events = step(self._known(), findings, checks, at, flap)
            self._write_known(known)
            self._connection.executemany(
                "INSERT INTO event (at, change, check_name, object, code, severity, message, remedy, before,"
                " since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_event_row(event) for event in events),
            )
            whole = set(checks) - {one.check for one in findings if one.code in (NO_ANSWER, FAILED)}
            self._connection.executemany(
                "INSERT OR REPLACE INTO made VALUES (?, ?)", ((name, at) for name in whole)
            )
            measures.write(self._connection, findings, at)
            uptime.credit(self._connection, findings, at, every)
            if self._is_first_of_its_hour(at):
                self._thin(at, days)
        return events

    def changes(self, at: float) -> tuple[list[Event], tuple[float, float, float] | None]:
        """What the reader has not been told: events, and the last gap that the timer left.

        The gap is (its begin, its end, the seconds that were promised). Nothing is written: `told` does it.
        """
        with self._reading():
            events, _ = tell(self._known(), self._acknowledgements(), at)
            gap = self._connection.execute(
                "SELECT missed_since, at, every FROM run WHERE told = 0 AND missed_since IS NOT NULL"
                " ORDER BY at DESC LIMIT 1"
            ).fetchone()
        return events, gap

    def told(self, at: float) -> None:
        """The reader knows it all now."""
        with self._transaction():
            known, given = self._known(), self._acknowledgements()
            worse = [
                problem
                for problem, one in given.items()
                if problem in known and badness(known[problem].level) > badness(one.severity)
            ]
            _, after = tell(known, given, at)
            self._write_known(after)
            self._connection.execute("UPDATE run SET told = 1 WHERE told = 0")
            self._connection.executemany(
                "DELETE FROM acknowledgement WHERE check_name = ? AND object = ? AND code = ?", worse
            )
            self._connection.execute("DELETE FROM acknowledgement WHERE until <= ?", (at,))

    def last_run(self) -> Made | None:
        with self._reading():
            return self._last_run(scheduled=False)

    def known(self) -> dict[Problem, Known]:
        with self._reading():
            return self._known()

    # Acknowledgements

    def acknowledgements(self, at: float) -> dict[Problem, Acknowledgement]:
        """Those whose date has not come."""
        with self._reading():
            return {key: one for key, one in self._acknowledgements().items() if at < one.until}

    def acknowledge(self, given: Iterable[Acknowledgement]) -> None:
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO acknowledgement VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (*one.problem, one.severity, one.until, _text(one.reason), _text(one.who), one.at)
                    for one in given
                ),
            )

    def unacknowledge(self, problems: Iterable[Problem]) -> None:
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM acknowledgement WHERE check_name = ? AND object = ? AND code = ?", problems
            )

    # History

    def events(self, check: str | None = None, since: float = 0.0) -> list[Event]:
        """What became certain, oldest first."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT at, change, check_name, object, code, severity, message, remedy, before, since"
                " FROM event WHERE at >= ? AND (? IS NULL OR check_name = ?) ORDER BY number",
                (since, check, check),
            ).fetchall()
        return [_event(row) for row in rows]

    def uptimes(self, checks: Collection[str] = ()) -> list[Uptime]:
        with self._reading():
            return uptime.read(self._connection, checks)

    def series(self, since: float, most: int = 100, points: int = 200) -> list[Series]:
        with self._reading():
            return measures.read(self._connection, since, most, points)

    # What digests need

    def days(self) -> dict[str, str]:
        """The log's figures of whole days, as JSON, by their dates: `2026-11-24`."""
        with self._reading():
            return dict(self._connection.execute("SELECT day, figures FROM day ORDER BY day"))

    def keep_days(self, figures: Mapping[str, str]) -> None:
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO day VALUES (?, ?)", figures.items())

    def digested(self) -> float | None:
        """When the last digest was sent."""
        with self._reading():
            row = self._connection.execute("SELECT at FROM digest").fetchone()
        return None if row is None else float(row[0])

    def digest_sent(self, at: float) -> None:
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO digest VALUES (1, ?)", (at,))

    # Below: parts of a transaction

    def _last_run(self, *, scheduled: bool) -> Made | None:
        clause = "WHERE every IS NOT NULL" if scheduled else ""
        row = self._connection.execute(
            f"SELECT at, took, status, every FROM run {clause} ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else Made(row[0], row[1], Severity(row[2]), row[3])

    def _known(self) -> dict[Problem, Known]:
        rows = self._connection.execute(
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

    def _write_known(self, known: Mapping[Problem, Known]) -> None:
        self._connection.execute("DELETE FROM problem")
        worst = sorted(known.values(), key=lambda one: -badness(one.finding.severity))
        self._connection.executemany(
            "INSERT INTO problem VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(*one.finding.problem, one.finding.severity, one.finding.message, one.finding.remedy),
                    *(one.since, one.seen, one.level, one.told, json.dumps(one.recent)),
                )
                for one in worst[:PROBLEMS]
            ),
        )

    def _acknowledgements(self) -> dict[Problem, Acknowledgement]:
        rows = self._connection.execute(
            "SELECT check_name, object, code, severity, until, reason, who, at FROM acknowledgement"
        )
        return {
            (check, item, code): Acknowledgement(check, item, code, Severity(severity), *rest)
            for check, item, code, severity, *rest in rows
        }

    def _is_first_of_its_hour(self, at: float) -> bool:
        (count,) = self._connection.execute(
            "SELECT count(*) FROM run WHERE at >= ?", (at // HOUR * HOUR,)
        ).fetchone()
        return bool(count <= 1)

    def _thin(self, at: float, days: int) -> None:
        """Take away what is too old, and what is beyond the bounds."""
        oldest = at - days * DAY
        measures.thin(self._connection, at, oldest)
        uptime.forget(self._connection, oldest)
        for table in ("run", "event"):
            self._connection.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))
        self._connection.execute("DELETE FROM problem WHERE seen < ?", (oldest,))
        self._connection.execute("DELETE FROM day WHERE day < ?", (f"{uptime.month(oldest)}-01",))
        self._connection.execute("DELETE FROM acknowledgement WHERE until <= ?", (oldest,))
        self._connection.execute(
            "DELETE FROM run WHERE at < ? AND number < (SELECT max(number) FROM run WHERE every IS NOT NULL)",
            (at - measures.EACH_RUN,),
        )
        self._connection.execute(
            "DELETE FROM event WHERE number <= (SELECT max(number) - ? FROM event)", (EVENTS,)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _plain_errors(self._file), transaction(self._connection):
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One view of the whole, while others write."""
        with _plain_errors(self._file):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")


@contextmanager
def open_state(settings: StateSettings) -> Iterator[State]:
    """Open the state, making it where there is none. Raises RightsError, StateError."""
    file = settings.directory / FILE
    try:
        make_folder(settings.directory, 0o755)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except PermissionError:
        raise RightsError(
            f"{file} may not be read: health checks are kept there", hint="run it again with sudo"
        ) from None
    except OSError as error:
        raise StateError(f"{file} cannot be made: {error.strerror}") from None
    with _plain_errors(file):
        connection = sqlite3.connect(file, timeout=LOCK_TIMEOUT, isolation_level=None)
    try:
        with _plain_errors(file):
            _prepare(connection, file)
        yield State(connection, file)
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    version = prepare(connection, _TABLES + measures.TABLES + uptime.TABLES, VERSION)
    if version != VERSION:
        raise StateError(
            f"{file} is of version {version}, this program knows {VERSION}: it is left alone",
            hint="install the newer postmaster that made it",
        )


@contextmanager
def _plain_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            f"the state of health checks in {file} failed: {error}",
            hint="is the disk full? a damaged file may be moved away: the next run makes a new one",
        ) from error


def _event_row(event: Event) -> tuple[object, ...]:
    one = event.finding
    return (
        *(event.at, str(event.change), *one.problem, one.severity),
        *(one.message, one.remedy, event.before, event.since),
    )


def _event(row: Sequence[Any]) -> Event:
    at, change, check, item, code, severity, message, remedy, before, since = row
    finding = Finding(check, item, code, Severity(severity), message, remedy)
    return Event(at, Change(change), finding, Severity(before), since)


def storable(finding: Finding) -> Finding:
    """The finding with texts that can be kept, and are not without bounds."""
    return replace(
        finding,
        object=_text(finding.object)[:OBJECT],
        message=_text(finding.message)[:MESSAGE],
        remedy=None if finding.remedy is None else _text(finding.remedy)[:MESSAGE],
    )


def _text(text: str) -> str:
    """SQLite takes no surrogates, which is how an undecodable byte is kept."""
    return text.encode("utf-8", "backslashreplace").decode()
