"""Postfix's log: one line into one typed event, and a log file followed from its present end.

Three kinds of time stamp are known: `Mon DD HH:MM:SS` (no year), ISO 8601, and RFC 5424. The tag can have
several parts (`postfix/submission/smtpd`); queue IDs can be short or long.

What it guarantees: any text at all gives an event or None, in time linear in its length: lines are cut
apart at fixed words, no pattern can backtrack. A reply in parentheses ends at the line's last one, whatever
is nested in it, and an address keeps what is in its quotes.

What it does not: tell one use of a short queue ID from the next; that takes the lines between.
Sources: `log_adhoc.c`, `qmgr_active.c`, `bounce_notify_service.c`, `pickup.c`, `postsuper.c`, `postlogd.c`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

LINE_LIMIT = 16 << 10  # characters; postlogd cuts its lines at 2,000
READ = 1 << 20  # bytes of a log file taken at once

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)\Z")
_OLD = re.compile(r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) ")
_RFC5424 = re.compile(r"(?:<\d{1,3}>)?1 (\S{1,40}) \S{1,255} (\S{1,48}) (\d{1,10}|-) \S{1,32} ")
_TAG = re.compile(r"([^\s\[\]:]{1,200})\[(\d{1,10})\]: ")
_QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,64}\Z")
_DSN = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_LEVELS = ("warning", "error", "fatal", "panic")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_SAID = re.compile(r"(?:said|refused to talk to me): (\d{3})[ -]")


@dataclass(frozen=True, slots=True)
class Line:
    """A log line taken apart. `tag` is what stands before the program: `postfix`, `postfix/submission`."""

    stamp: str
    tag: str
    program: str
    pid: int
    text: str
    level: str = ""  # warning, error, fatal, panic; empty for information

    def moment(self, now: datetime) -> datetime | None:
        """When it was written. A stamp without a year is taken as the last such time before `now`."""
        return moment_of(self.stamp, now)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one recipient in one attempt. Delays in seconds."""

    tag: str
    program: str
    queue_id: str
    recipient: str
    original: str | None
    relay: str
    delay: float | None
    delays: tuple[float, ...]  # before the queue manager, in it, connecting, sending
    dsn: str
    status: str  # sent, deferred, bounced, SOFTBOUNCE, deliverable, undeliverable
    text: str

    @property
    def reply(self) -> str | None:
        """The three digits that the other side said, None where the text names none."""
        found = _SAID.search(self.text)
        if found is not None:
            return found[1]
        return self.text[:3] if self.text[:3].isdigit() and self.text[3:4] in (" ", "-") else None


@dataclass(frozen=True, slots=True)
class Removed:
    """A message left the queue: by the queue manager when all was done, or by an administrator's hand."""

    tag: str
    queue_id: str
    by: str  # qmgr or postsuper


@dataclass(frozen=True, slots=True)
class Moved:
    """postsuper moved or marked a message: `placed on hold`, `released from hold`, `requeued`, `expired`."""

    tag: str
    queue_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Activated:
    """The queue manager opened a message and begins an attempt."""

    tag: str
    queue_id: str
    sender: str
    size: int
    recipients: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A message was given up: its time was over, or an administrator said so (`forced`)."""

    tag: str
    queue_id: str
    sender: str
    forced: bool


@dataclass(frozen=True, slots=True)
class Notified:
    """A notification went out about a message, as a new message."""

    tag: str
    queue_id: str
    what: str  # sender non-delivery notification, ...
    new_id: str


@dataclass(frozen=True, slots=True)
class PickedUp:
    """A message came from maildrop; `original_id` is the one it had before it was requeued."""

    tag: str
    queue_id: str
    uid: int
    sender: str
    original_id: str | None


Event = Delivery | Removed | Moved | Activated | Expired | Notified | PickedUp


def parse_line(text: str) -> Line | None:
    """The parts that every line has. None for what is no line of a server's log."""
    text = text[:LINE_LIMIT].rstrip("\r\n")
    old = _OLD.match(text)
    if old is not None:
        stamp, rest = text[: old.end() - 1], text[old.end() :]
    elif text[:1] == "<" or text[:2] == "1 ":
        found = _RFC5424.match(text)
        if found is None:
            return None
        rest = text[found.end() :].removeprefix("- ").lstrip("\ufeff")
        tag, _, program = found[2].rpartition("/")
        return _leveled(found[1], tag, program, int(found[3]) if found[3] != "-" else 0, rest)
    else:
        stamp, _, rest = text.partition(" ")
        if _ISO.match(stamp) is None:
            return None
    _, _, rest = rest.partition(" ")  # the host's name
    found = _TAG.match(rest)
    if found is None:
        return None
    tag, _, program = found[1].rpartition("/")
    return _leveled(stamp, tag, program, int(found[2]), rest[found.end() :])


def _leveled(stamp: str, tag: str, program: str, pid: int, text: str) -> Line:
    first, colon, rest = text.partition(": ")
    if colon and first in _LEVELS:
        return Line(stamp, tag, program, pid, rest, first)
    return Line(stamp, tag, program, pid, text)


def moment_of(stamp: str, now: datetime) -> datetime | None:
    """A time stamp as a moment with its zone; `now` (with a zone) gives the year where there is none."""
    old = _OLD.match(stamp + " ")
    if old is None:
        with suppress(ValueError):
            return datetime.fromisoformat(stamp)
        return None
    if old[1] not in _MONTHS:
        return None
    zone = now.astimezone().tzinfo  # such stamps are in the machine's own time
    for year in (now.year + 1, now.year, now.year - 1):
        with suppress(ValueError):
            found = datetime(
                year, _MONTHS.index(old[1]) + 1, int(old[2]), int(old[3]), int(old[4]), int(old[5]), 0, zone
            )
            if found <= now + timedelta(days=1):
                return found.astimezone(UTC)
    return None


def parse(text: str) -> Event | None:
    """The event that a line tells of; None for every other line."""
    line = parse_line(text)
    return None if line is None else event_of(line)


def event_of(line: Line) -> Event | None:
    """The event in a line that is taken apart already."""
    if line.level:
        return None
    queue_id, colon, rest = line.text.partition(": ")
    if not colon or _QUEUE_ID.match(queue_id) is None:
        return None
    if rest.startswith("to=<"):
        return _delivery(line, queue_id, rest)
    match line.program:
        case "qmgr":
            return _queue_manager(line, queue_id, rest)
        case "postsuper":
            if rest == "removed":
                return Removed(line.tag, queue_id, "postsuper")
            known = ("placed on hold", "released from hold", "requeued", "expired")
            return Moved(line.tag, queue_id, rest) if rest in known else None
        case "bounce":
            what, colon, new_id = rest.rpartition(": ")
            if colon and what.endswith("notification") and _QUEUE_ID.match(new_id):
                return Notified(line.tag, queue_id, what, new_id)
        case "pickup":
            return _picked_up(line, queue_id, rest)
    return None


def _delivery(line: Line, queue_id: str, rest: str) -> Delivery | None:
    recipient, rest = _path(rest.removeprefix("to="))
    original: str | None = None
    if rest.startswith(", orig_to="):
        original, rest = _path(rest.removeprefix(", orig_to="))
    if not rest.startswith(", relay="):
        return None
    head, found, tail = rest.partition(", status=")
    if not found:
        return None
    fields = dict(_pairs(head))
    status, _, text = tail.partition(" ")
    if not status.isalpha() or _DSN.match(fields.get("dsn", "")) is None:
        return None
    if text.startswith("("):
        text = text[1 : text.rindex(")")] if ")" in text else text[1:]  # a line that was cut has none
    return Delivery(
        tag=line.tag,
        program=line.program,
        queue_id=queue_id,
        recipient=recipient,
        original=original,
        relay=fields.get("relay", ""),
        delay=_number(fields.get("delay", "")),
        delays=tuple(
            one for item in fields.get("delays", "").split("/") if (one := _number(item)) is not None
        ),
        dsn=fields["dsn"],
        status=status,
        text=text,
    )


def _path(text: str) -> tuple[str, str]:
    """(the address between the brackets at the beginning, what follows them).

    Quotes are passed over first: a quoted local part may hold brackets and commas of its own.
    """
    at = 1
    if text[1:2] == '"':
        at = 2
        while at < len(text) and text[at] != '"':
            at += 2 if text[at] == "\\" else 1
    ends = [found for mark in (">, relay=", ">, orig_to=<", ">, ") if (found := text.find(mark, at)) >= 0]
    end = min(ends) if ends else len(text)
    return text[1:end], text[end + 1 :]


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(", "):
        name, equals, value = part.partition("=")
        if equals:
            yield name, value


def _queue_manager(line: Line, queue_id: str, rest: str) -> Event | None:
    if rest == "removed":
        return Removed(line.tag, queue_id, "qmgr")
    if not rest.startswith("from=<"):
        return None
    sender, rest = _path(rest.removeprefix("from="))
    if rest.startswith(", status="):
        status = rest.removeprefix(", status=").partition(",")[0]
        known = status in ("expired", "force-expired")
        return Expired(line.tag, queue_id, sender, status.startswith("force")) if known else None
    fields = dict(_pairs(rest))
    size, recipients = fields.get("size", ""), fields.get("nrcpt", "").partition(" ")[0]
    if not _is_count(size) or not _is_count(recipients):
        return None
    return Activated(line.tag, queue_id, sender, int(size), int(recipients))


def _picked_up(line: Line, queue_id: str, rest: str) -> PickedUp | None:
    if not rest.startswith("uid="):
        return None
    uid, _, rest = rest.removeprefix("uid=").partition(" from=")
    if not _is_count(uid) or not rest.startswith("<"):
        return None
    text, marked, original = rest.rpartition(" orig_id=")
    if marked and _QUEUE_ID.match(original):
        return PickedUp(line.tag, queue_id, int(uid), text[1:].removesuffix(">"), original)
    return PickedUp(line.tag, queue_id, int(uid), rest[1:].removesuffix(">"), None)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _number(text: str) -> float | None:
    plain = text.replace(".", "", 1)
    return float(text) if plain.isascii() and plain.isdigit() and len(text) < 20 else None


class Follower:
    """What is written into log files from now on, over their rotation.

    A file that is moved away is read to its end before its successor is begun; one that is cut to nothing
    in place is begun again. Files that are not there, or may not be read, are left out: `readable` says
    whether any is left.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._tails: list[_Tail] = []
        for file in dict.fromkeys(files):
            with suppress(OSError):
                self._tails.append(_Tail(file))

    @property
    def readable(self) -> bool:
        return bool(self._tails)

    def lines(self) -> Iterator[str]:
        """The complete lines that came since the last call. Never waits."""
        for tail in self._tails:
            yield from tail.lines()

    def events(self) -> Iterator[Event]:
        for line in self.lines():
            event = parse(line)
            if event is not None:
                yield event

    def close(self) -> None:
        for tail in self._tails:
            tail.close()
        self._tails.clear()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Tail:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._at = os.lseek(self._descriptor, 0, os.SEEK_END)
        self._rest = b""

    def lines(self) -> Iterator[str]:
        while True:
            yield from self._read()
            try:
                now, own = self._file.stat(), os.fstat(self._descriptor)
            except OSError:
                return  # moved away, and the new one is not there yet
            if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino):
                yield from self._read()  # what came between the last read and the move
                try:
                    new = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    return
                os.close(self._descriptor)
                self._descriptor, self._at, self._rest = new, 0, b""
            elif own.st_size < self._at:
                self._at, self._rest = 0, b""
            else:
                return

    def _read(self) -> Iterator[str]:
        while data := os.pread(self._descriptor, READ, self._at):
            self._at += len(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > 4 * LINE_LIMIT:
                self._rest = self._rest[:LINE_LIMIT]
            for line in whole:
                yield line[:LINE_LIMIT].decode("utf-8", "replace")

    def close(self) -> None:
        os.close(self._descriptor)
