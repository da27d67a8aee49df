"""The attempts that were made to deliver messages of the queue, as far as the mail log still has them, and
the queue ID that one had before it was requeued.

Reads the present log and the one rotated before it, from front to back, and keeps what names a wanted ID
since that message arrived: a short ID may have been another message's before. At most ATTEMPTS of the
latest for each message. Packed logs are not opened. Where no log file is there, the journal is read.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix import journal
from postmaster.postfix.events import Delivery, Pickup
from postmaster.postfix.instances import Instance
from postmaster.postfix.log import parse_line
from postmaster.postfix.stamps import Clock
from postmaster.process import stream
from postmaster.queue.fate import instance_of, logs_of
from postmaster.queue.message import Message

ATTEMPTS = 200
PIECE = 1 << 20  # bytes read at once
LINE_LIMIT = 1 << 16  # bytes; no line of a mail log is that long
SLACK = 2  # seconds by which a log may seem to be ahead of the queue


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recipient's part in one attempt. `time` in seconds since the epoch."""

    time: int
    recipient: str
    relay: str
    delay: float | None
    dsn: str
    status: str
    text: str


@dataclass(slots=True)
class Past:
    """A message's attempts, the oldest first, and its ID before a requeue."""

    attempts: deque[Attempt] = field(default_factory=lambda: deque(maxlen=ATTEMPTS))
    was: str | None = None


def attempts(
    messages: Sequence[Message], places: Mapping[str, Instance], files: Iterable[Path]
) -> dict[tuple[str, str, int], Past] | None:
    """Message's identity -> what the log tells of it; None where no log can be read."""
    wanted = {(one.instance, one.queue_id): one for one in messages}
    found = {one.identity: Past() for one in messages}
    names = re.compile(rb"|".join(re.escape(one.queue_id.encode()) + rb": (?:to=<|uid=)" for one in messages))
    is_readable = False

    def take(pieces: Iterable[bytes], clock: Clock) -> None:
        for text in _lines_with(pieces, names):
            line = parse_line(text)
            if line is None or not isinstance(line.event, Delivery | Pickup):
                continue
            event, moment = line.event, clock.seconds(line.stamp)
            message = wanted.get((instance_of(line.tag, places), event.queue_id))
            if message is None or moment is None or moment + SLACK < message.arrival_time:
                continue
            if isinstance(event, Pickup):
                found[message.identity].was = event.orig_id
                continue
            found[message.identity].attempts.append(
                Attempt(
                    *(int(moment), event.recipient, event.relay, event.delay),
                    *(event.dsn or "", event.status, event.text or ""),
                )
            )

    logs = logs_of(places, files)
    for file in logs:
        for path in (file.with_name(f"{file.name}.1"), file):
            with suppress(OSError), path.open("rb") as opened:
                take(iter(lambda: opened.read(PIECE), b""), Clock(path.stat().st_mtime))
                is_readable |= path == file
    if journal.stands_in_for(logs):
        since = min((one.arrival_time for one in messages), default=0) - SLACK
        with suppress(ProcessError), stream(journal.command(f"--since=@{since}"), block=PIECE) as pieces:
            take(pieces, Clock(time.time()))
            is_readable = True
    return found if is_readable else None


def _lines_with(pieces: Iterable[bytes], names: re.Pattern[bytes]) -> Iterator[str]:
    """The lines in which a pattern is found; most of a log is of no interest and is never taken apart."""
    rest = b""
    for piece in pieces:
        whole, end, rest = (rest + piece).rpartition(b"\n")
        at = 0
        while match := names.search(whole, at):
            first = whole.rfind(b"\n", 0, match.start()) + 1
            last = whole.find(b"\n", match.end())
            at = len(whole) if last < 0 else last
            yield whole[first:at].decode("utf-8", "surrogateescape")
        if not end and len(rest) > LINE_LIMIT:
            rest = b""
