"""What is kept from run to run: problems, what was told, measures for charts, how long services were up.

A small SQLite file in the state directory, root's alone. A run is one transaction: kept whole or not at
all, so that a run that is killed, or meets a full disk, loses itself and nothing else. It stays small:
of measures the last two days are kept run by run, a month by the hour, and then by the day until
`health.history_days`; none of its tables grows beyond a bound.

Whoever runs checks holds the lock file: never two runs at once. Its time of change says when the reader
was last told that runs cannot be kept; that needs no room on a disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from postmaster.errors import PostmasterError, RightsError
from postmaster.files import make_folder
from postmaster.health.changes import Acknowledgement, Change, Event, Known, Problem, step, tell
from postmaster.health.finding import FAILED, NO_ANSWER, Finding, Last, Severity, badness
from postmaster.health.report import Point, Series
from postmaster.settings import StateSettings
from postmaster.sqlite import prepare, transaction

FILE = "health.db"
LOCK = "health.lock"
LOCK_TIMEOUT = 5.0  # seconds that a command waits for another one's transaction
VERSION = 1

HOUR, DAY = 3600, 86_400
EACH_RUN, BY_HOUR = 2 * DAY, 30 * DAY  # how long measures are kept as they are, and by the hour
SERIES = 2_000  # measures, objects and problems that are followed
VALUES = 500_000  # values of measures
EVENTS = 20_000
OBJECT, MESSAGE = 500, 2_000  # characters that are kept of an object and of a message
STUCK = 900.0  # seconds after which a run will not end any more
STANDS = 900.0  # seconds that a run's word on a service counts at most, where no timer was promised

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
CREATE TABLE day (day TEXT PRIMARY KEY, figures TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE digest (number INTEGER PRIMARY KEY CHECK (number = 1), at REAL NOT NULL);
"""


class StateError(PostmasterError):
    """The state of health checks cannot be used."""

    code = "health_state"


@dataclass(frozen=True, slots=True)
class Made:
    """A run that was made. `every`: seconds after which its timer promised the next, None for a person's."""

    at: float
    took: float
    status: Severity
    every: float | None


class BusyError(PostmasterError):
    """Another run of the checks is under way."""

    code = "busy"

    def __init__(self, before: Made | None, process: int | None = None, lasting: float = 0.0) -> None:
        """`before`: the run before it. How mail was then is how it is, until the other run has ended.

        `process` makes the other run, and has been there for `lasting` seconds.
        """
        known = "" if before is None else f"; mail was {before.status.name} in the run before it"
        self.is_stuck = process is not None and lasting > STUCK
        if self.is_stuck:
            words = f"another health check has been under way for {lasting / 60:.0f} minutes"
            super().__init__(f"{words} (process {process}){known}", hint=f"end it: kill {process}")
        else:
            super().__init__(f"another health check is under way{known}", hint="run it again in some seconds")
        self.plugin_status = 3 if before is None else int(before.status)


@dataclass(frozen=True, slots=True)
class Uptime:
    """How long an object was up in a month, of the time that is known. Seconds. `month`: `2026-11`, UTC."""

    month: str
    check: str
    object: str
    up: float
    known: float


class Lock:
    """Held while checks run. The system lets go of it when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def complained(self) -> float:
        """When the reader was last told that runs cannot be kept; 0 where all is well."""
        return os.fstat(self._descriptor).st_mtime

    def complain(self, at: float) -> None:
        """Say when; a disk that takes no times has the reader told each time, rather than never."""
        if self.complained != at:
            with suppress(OSError):
                os.utime(self._descriptor, (at, at))

    def complains(self, at: float) -> bool:
        """Whether the reader shall be told, which is once a day. Notes that it was."""
        if 0 <= at - self.complained < DAY:
            return False
        self.complain(at)
        return True


@contextmanager
def alone(settings: StateSettings, patience: float = 0.0) -> Iterator[Lock | None]:
    """Hold the lock; None where it cannot be made.

    Raises BusyError where another run is under way, and for as many seconds has not ended.
    """
    descriptor = None
    try:
        make_folder(settings.directory, 0o755)
        descriptor = _lock_file(settings.directory / LOCK)
        _take(descriptor, patience)
    except BlockingIOError:
        assert descriptor is not None
        process = _holder(descriptor)
        os.close(descriptor)
        lasting = 0.0 if process is None else _age(process)
        raise BusyError(_before(settings), process, lasting) from None
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        descriptor = None
    try:
        yield None if descriptor is None else Lock(descriptor)
    finally:
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that a check left behind has it too
            os.close(descriptor)


def news_of_stuck(settings: StateSettings, at: float) -> bool:
    """Whether the reader shall be told that a run does not end: once a day, as that runs are not kept.

    Notes that it was. The one that is stuck takes the note back when it ends well.
    """
    try:
        descriptor = _lock_file(settings.directory / LOCK)
    except OSError:
        return True
    try:
        return Lock(descriptor).complains(at)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    """The process that has the lock (proc(5), /proc/locks); None where that cannot be told."""
    wanted = f":{os.fstat(descriptor).st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[5].endswith(wanted) and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _age(process: int) -> float:
    """Seconds since a process began; 0 where that is not known."""
    with suppress(OSError, ValueError, IndexError):
        begun = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        now = float(Path("/proc/uptime").read_text().split()[0])
        return now - begun / os.sysconf("SC_CLK_TCK")
    return 0.0


def _before(settings: StateSettings) -> Made | None:
    with suppress(PostmasterError), open_state(settings) as state:
        return state.last_run()
    return None


def _take(descriptor: int, patience: float) -> None:
    ends = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= ends:
                raise
        time.sleep(0.1)


def _lock_file(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileExistsError):
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.utime(descriptor, (0, 0))
        return descriptor
    return os.open(path, flags)


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
            self._write_values(findings, at)
            self._write_standing(findings, at, STANDS if every is None else max(STANDS, 2 * every))
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
        """By month, check and object; without checks, of all of them."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT month, check_name, object, up, known FROM uptime ORDER BY 1, 2, 3"
            ).fetchall()
        return [Uptime(*row) for row in rows if not checks or row[1] in checks]

    def series(self, since: float, most: int = 100, points: int = 200) -> list[Series]:
        """The history of measures, each oldest first; no more than so many measures and points each."""
        found = []
        with self._reading():
            for number, check, item, measure, unit in self._connection.execute(
                "SELECT number, check_name, object, measure, unit FROM series WHERE at >= ?"
                " ORDER BY check_name, object, measure LIMIT ?",
                (since, most),
            ).fetchall():
                rows = self._connection.execute(
                    "SELECT at, mean, low, high, count FROM value WHERE series = ? AND at >= ? ORDER BY at",
                    (number, since),
                ).fetchall()
                found.append(Series(check, item, measure, unit, tuple(_fewer(rows, points))))
        return found

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
                for one in worst[:SERIES]
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

    def _write_values(self, findings: Iterable[Finding], at: float) -> None:
        measures = {
            (one.check, one.object, measure.name): measure
            for one in findings
            for measure in one.measures
            if abs(measure.value) < float("inf")  # neither this nor a value that is no number
        }
        numbers = {
            (check, item, measure): number
            for number, check, item, measure in self._connection.execute(
                "SELECT number, check_name, object, measure FROM series"
            )
        }
        for key, measure in measures.items():
            if key not in numbers and len(numbers) >= SERIES:
                continue
            (numbers[key],) = self._connection.execute(
                "INSERT INTO series (check_name, object, measure, unit, at, value) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET unit = excluded.unit, at = excluded.at, value = excluded.value"
                " RETURNING number",
                (*key, measure.unit, at, measure.value),
            ).fetchone()
            self._connection.execute(
                "INSERT OR REPLACE INTO value VALUES (?, 0, ?, ?, ?, ?, 1)",
                (numbers[key], at, *(measure.value,) * 3),
            )

    def _write_standing(self, findings: Iterable[Finding], at: float, most: float) -> None:
        """Credit the time since the last word on each object to what was said then, and say it anew.

        Up is what is not critical; time of which only "unknown" was said, or nothing for `most` seconds,
        is not known.
        """
        worst: dict[tuple[str, str], Severity] = {}
        for one in findings:
            key = (one.check, one.object)
            if key not in worst or badness(one.severity) > badness(worst[key]):
                worst[key] = one.severity
        before = {
            (check, item): (severity, then)
            for check, item, severity, then in self._connection.execute(
                "SELECT check_name, object, severity, at FROM standing"
            )
        }
        for key, now in worst.items():
            if key not in before and len(before) >= SERIES:
                continue
            severity, then = before.setdefault(key, (Severity.unknown, at))
            if severity != Severity.unknown and then < at:
                for month, seconds in _by_month(then, min(at, then + most)):
                    self._connection.execute(
                        "INSERT INTO uptime VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                        " SET up = up + excluded.up, known = known + excluded.known",
                        (month, *key, 0.0 if severity == Severity.critical else seconds, seconds),
                    )
            self._connection.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?)", (*key, now, at))

    def _is_first_of_its_hour(self, at: float) -> bool:
        (count,) = self._connection.execute(
            "SELECT count(*) FROM run WHERE at >= ?", (at // HOUR * HOUR,)
        ).fetchone()
        return bool(count <= 1)

    def _thin(self, at: float, days: int) -> None:
        """Hours of what is older than two days, days of what is older than a month; then the bounds."""
        for span, finer, before in ((HOUR, 0, at - EACH_RUN), (DAY, HOUR, at - BY_HOUR)):
            edge = before // span * span  # whole hours, whole days
            self._connection.execute(
                "INSERT OR REPLACE INTO value SELECT series, ?, CAST(at / ? AS INTEGER) * ?,"
                " sum(mean * count) / sum(count), min(low), max(high), sum(count) FROM value"
                " WHERE span = ? AND at < ? GROUP BY 1, 3",
                (span, span, span, finer, edge),
            )
            self._connection.execute("DELETE FROM value WHERE span = ? AND at < ?", (finer, edge))
        oldest = at - days * DAY
        self._connection.execute("DELETE FROM value WHERE at < ?", (oldest,))
        for table in ("run", "event", "standing", "series"):
            self._connection.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))
        self._connection.execute("DELETE FROM problem WHERE seen < ?", (oldest,))
        self._connection.execute("DELETE FROM uptime WHERE month < ?", (_month(oldest),))
        self._connection.execute("DELETE FROM day WHERE day < ?", (f"{_month(oldest)}-01",))
        self._connection.execute("DELETE FROM acknowledgement WHERE until <= ?", (oldest,))
        self._connection.execute(
            "DELETE FROM run WHERE at < ? AND number < (SELECT max(number) FROM run WHERE every IS NOT NULL)",
            (at - EACH_RUN,),
        )
        self._connection.execute(
            "DELETE FROM event WHERE number <= (SELECT max(number) - ? FROM event)", (EVENTS,)
        )
        (count,) = self._connection.execute("SELECT count(*) FROM value").fetchone()
        if count > VALUES:
            (edge,) = self._connection.execute(
                "SELECT at FROM value ORDER BY at LIMIT 1 OFFSET ?", (count - VALUES,)
            ).fetchone()
            self._connection.execute("DELETE FROM value WHERE at < ?", (edge,))

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
    version = prepare(connection, _TABLES, VERSION)
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


def _event(row: Sequence[object]) -> Event:
    at, change, check, item, code, severity, message, remedy, before, since = row
    finding = Finding(str(check), str(item), str(code), Severity(severity), str(message), remedy)  # type: ignore[arg-type]
    return Event(at, Change(str(change)), finding, Severity(before), since)  # type: ignore[arg-type]


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


def _month(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def _by_month(begin: float, end: float) -> Iterator[tuple[str, float]]:
    """The seconds between two moments, in the months (UTC) that they belong to."""
    from datetime import UTC, datetime

    while begin < end:
        at = datetime.fromtimestamp(begin, UTC)
        following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC).timestamp()
        yield at.strftime("%Y-%m"), min(end, following) - begin
        begin = following
