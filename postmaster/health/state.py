"""What is kept from run to run: problems, what was told, measures for charts, how long services were up.

A small SQLite file in the state directory, root's alone. A run is one transaction: kept whole or not at
all, so that a run that is killed, or meets a full disk, loses itself and nothing else. It stays small: what
is older than `health.history_days` goes, and none of its tables grows beyond a bound. Runs that keep
themselves hold the lock of `alone`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from postmaster.errors import PostmasterError, RightsError
from postmaster.files import make_folder
from postmaster.health import measures, problems, uptime
from postmaster.health.changes import Acknowledgement, Event, Known, Problem, step, tell
from postmaster.health.finding import FAILED, NO_ANSWER, Finding, Last, Severity, badness
from postmaster.health.report import Series
from postmaster.health.uptime import Uptime
from postmaster.settings import StateSettings
from postmaster.sqlite import prepare, transaction

FILE = "health.db"
LOCK_TIMEOUT = 5.0  # seconds that a command waits for another one's transaction
VERSION = 1

HOUR, DAY = 3600, 86_400
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
            known, events = step(problems.known(self._connection), findings, checks, at, flap)
            problems.write(self._connection, known)
            problems.add_events(self._connection, events)
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
            events, _ = tell(
                problems.known(self._connection), problems.acknowledgements(self._connection), at
            )
            gap = self._connection.execute(
                "SELECT missed_since, at, every FROM run WHERE told = 0 AND missed_since IS NOT NULL"
                " ORDER BY at DESC LIMIT 1"
            ).fetchone()
        return events, gap

    def told(self, at: float) -> None:
        """The reader knows it all now."""
        with self._transaction():
            known = problems.known(self._connection)
            given = problems.acknowledgements(self._connection)
            worse = [
                problem
                for problem, one in given.items()
                if problem in known and badness(known[problem].level) > badness(one.severity)
            ]
            _, after = tell(known, given, at)
            problems.write(self._connection, after)
            self._connection.execute("UPDATE run SET told = 1 WHERE told = 0")
            problems.unacknowledge(self._connection, worse)
            problems.end_acknowledgements(self._connection, at)

    def last_run(self) -> Made | None:
        with self._reading():
            return self._last_run(scheduled=False)

    def known(self) -> dict[Problem, Known]:
        with self._reading():
            return problems.known(self._connection)

    # Acknowledgements

    def acknowledgements(self, at: float) -> dict[Problem, Acknowledgement]:
        """Those whose date has not come."""
        with self._reading():
            found = problems.acknowledgements(self._connection)
            return {key: one for key, one in found.items() if at < one.until}

    def acknowledge(self, given: Iterable[Acknowledgement]) -> None:
        with self._transaction():
            problems.acknowledge(
                self._connection,
                (replace(one, reason=_text(one.reason), who=_text(one.who)) for one in given),
            )

    def unacknowledge(self, which: Iterable[Problem]) -> None:
        with self._transaction():
            problems.unacknowledge(self._connection, which)

    # History

    def events(self, check: str | None = None, since: float = 0.0) -> list[Event]:
        """What became certain, oldest first."""
        with self._reading():
            return problems.events(self._connection, check, since)

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
        problems.thin(self._connection, oldest)
        self._connection.execute("DELETE FROM run WHERE at < ?", (oldest,))
        self._connection.execute("DELETE FROM day WHERE day < ?", (f"{uptime.month(oldest)}-01",))
        self._connection.execute(
            "DELETE FROM run WHERE at < ? AND number < (SELECT max(number) FROM run WHERE every IS NOT NULL)",
            (at - measures.EACH_RUN,),
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
    version = prepare(connection, _TABLES + problems.TABLES + measures.TABLES + uptime.TABLES, VERSION)
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
