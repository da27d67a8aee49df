"""Queue files and defer logs, read in place: the spool as Postfix keeps it, without asking Postfix.

A queue file is a sequence of records: a type byte, a length in groups of seven bits (low ones
first), data (`rec_type.h`, `record.c`). The size record `C` comes first and says where the message
begins and how long it is, so the envelope is read without the content. Recipients can stand after
the content too (section `X`). Delivery flips `R` to `D` in place; records are never moved.

What it guarantees: no lock is taken, nothing is written, and any bytes at all give an `Envelope`
(with `damage` saying what is wrong) in time that is linear in what is read. A file that vanished or
may not be read is the caller's OSError.

What it does not: say what happened to a file between two reads. Sources: `rec_type.h`, `showq.c`,
`mail_queue.c`, `bounce_log.c`, `postcat.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")

FIRST_READ = 4096  # bytes; holds the envelope of nearly every message
ENVELOPE_LIMIT = 64 << 20  # bytes; some 500,000 recipients
DEFER_LOG_LIMIT = 32 << 20  # bytes
JUMP_LIMIT = 10_000  # pointer records; a file that has more runs in a circle

READY = 0o700  # owner bits of a file that is complete (MAIL_QUEUE_STAT_READY)
FORCED_EXPIRE = 0o010  # set by postsuper -e (MAIL_QUEUE_STAT_EXPIRE)

_SIZE, _TIME, _SENDER, _ORIGINAL, _TODO, _DONE = b"CTSORD"
_ATTRIBUTE, _MESSAGE, _EXTRA, _END, _POINTER = b"AMXEp"

_ATTRIBUTES = {
    b"client_name": "client_name",
    b"client_address": "client_address",
    b"helo_name": "helo_name",
    b"sasl_username": "sasl_username",
}
_QUEUE_ID = re.compile(
    r"[0-9A-F]{6,20}\Z|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{1,20}\Z"
)
_DOT_STRING = re.compile(r"[^\x00-\x20()<>\[\]:;@\\,.\"\x7f]+(?:\.[^\x00-\x20()<>\[\]:;@\\,.\"\x7f]+)*\Z")


@dataclass(slots=True)
class SpoolRecipient:
    """A recipient record: where it stands in the file, the address, and whether it is done."""

    offset: int
    address: str
    original: str
    done: bool


@dataclass(slots=True)
class Envelope:
    """What the records before and after the content say. Sizes and offsets are in bytes."""

    sender: str | None = None  # None: no sender record; empty: the null sender
    arrival_time: float | None = None  # seconds since the epoch
    message_size: int | None = None  # of the content; None while cleanup is at work
    data_offset: int | None = None
    recipients: list[SpoolRecipient] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    damage: str | None = None  # what is wrong with the file; None: nothing

    @property
    def is_complete(self) -> bool:
        """Whether cleanup finished the file: its size record is filled in."""
        return self.message_size is not None


@dataclass(slots=True)
class Deferral:
    """The last word of the defer log about one recipient."""

    address: str
    reason: str
    dsn: str


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A queue file found by walking: its queue, its ID and where it is."""

    queue: str
    queue_id: str
    path: str


def is_queue_id(text: str) -> bool:
    """Whether a text can be a queue ID, short or long (`mail_queue.c`)."""
    return _QUEUE_ID.match(text) is not None


def walk(spool: Path, queues: tuple[str, ...] = QUEUES) -> Iterator[SpoolFile]:
    """Every queue file, in no order. Folders of one character are hashed ones (`hash_queue_names`).

    What vanishes under the walk is passed over. Raises PermissionError where a queue may not be read.
    """
    for queue in queues:
        yield from _walk_folder(queue, os.path.join(spool, queue), 0)


def _walk_folder(queue: str, folder: str, depth: int) -> Iterator[SpoolFile]:
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if len(name) == 1:
                    if depth < 8 and entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield SpoolFile(queue, name, entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in below:
        yield from _walk_folder(queue, path, depth + 1)


def read_envelope(descriptor: int, *, todo_only: bool = False) -> Envelope:
    """The envelope of an open queue file. With `todo_only`, finished recipients are left out."""
    data = os.pread(descriptor, FIRST_READ, 0)
    envelope = Envelope()
    start = _read_size(data, envelope)
    if envelope.data_offset is not None and envelope.message_size is not None:
        if envelope.data_offset > len(data):
            data = os.pread(descriptor, min(envelope.data_offset, ENVELOPE_LIMIT), 0)
        after = envelope.data_offset + envelope.message_size
        if len(data) < FIRST_READ and after <= len(data):
            tail, tail_at = data[after:], after
        else:
            tail, tail_at = os.pread(descriptor, ENVELOPE_LIMIT, after), after
    else:
        # Cleanup is still writing (or the file is no queue file): take what there is.
        if len(data) == FIRST_READ:
            data = os.pread(descriptor, ENVELOPE_LIMIT, 0)
        tail, tail_at = b"", len(data)
    parse_records(data, start, 0, envelope, todo_only=todo_only)
    if tail:
        parse_records(tail, 0, tail_at, envelope, todo_only=todo_only)
    elif envelope.is_complete and envelope.damage is None:
        envelope.damage = "the end of the file is missing"
    return envelope


def _read_size(data: bytes, envelope: Envelope) -> int:
    """Read the size record; gives back where the next record starts (0 where there is none)."""
    if len(data) < 3 or data[0] != _SIZE or data[1] & 0x80:
        # maildrop files begin with the time record and never have sizes
        return 0
    end = 2 + data[1]
    numbers = data[2:end].split()
    try:
        size, offset = int(numbers[0]), int(numbers[1])
    except (IndexError, ValueError):
        return end
    if offset > 0 and size >= 0:
        envelope.message_size, envelope.data_offset = size, offset
    return end


def parse_records(data: bytes, at: int, origin: int, envelope: Envelope, *, todo_only: bool = False) -> None:
    """Add the envelope records of `data` from position `at`; `origin` is where `data` lies in the file.

    Ends at the content, at the end record, or at the first record that makes no sense.
    """
    end = len(data)
    original = ""
    jumps = 0
    recipients = envelope.recipients
    while at < end:
        start, kind = at, data[at]
        at += 1
        length = shift = 0
        while True:  # record.c, rec_get_raw: seven bits a byte, the high bit says more follow
            if at >= end or shift > 28:
                envelope.damage = "a record is cut off"
                return
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if at + length > end:
            envelope.damage = "a record is cut off"
            return
        if kind in (_TODO, _DONE):
            if kind == _TODO or not todo_only:
                recipients.append(
                    SpoolRecipient(origin + start, external(data[at : at + length]), original, kind == _DONE)
                )
            original = ""
        elif kind == _ORIGINAL:
            original = external(data[at : at + length])
        elif kind == _ATTRIBUTE:
            name, _, value = data[at : at + length].partition(b"=")
            if name in _ATTRIBUTES:
                envelope.attributes[_ATTRIBUTES[name]] = value.decode("utf-8", "replace")
        elif kind == _SENDER:
            envelope.sender = external(data[at : at + length])
        elif kind == _TIME:
            envelope.arrival_time = _time(data[at : at + length])
        elif kind in (_MESSAGE, _END):
            return
        elif kind == _POINTER:
            target = _number(data[at : at + length])
            if target > 0:
                jumps += 1
                if jumps > JUMP_LIMIT or not origin <= target < origin + end:
                    envelope.damage = "a pointer leads astray"
                    return
                at = target - origin
                continue
        elif not (65 <= kind <= 90 or 97 <= kind <= 122 or kind in b"/<>$%"):
            envelope.damage = f"an unknown record (type {kind})"
            return
        at += length


def _time(value: bytes) -> float | None:
    parts = value.split()
    try:
        seconds = int(parts[0])
        return seconds + (int(parts[1]) / 1e6 if len(parts) > 1 else 0.0) if 0 <= seconds < 1 << 40 else None
    except (IndexError, ValueError):
        return None


def _number(value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        return 0


def external(raw: bytes) -> str:
    """An address of the envelope in its external form: quoted where RFC 5321 wants it.

    Queue files hold the internal form (`quote_822_local.c` does this for `postqueue`).
    """
    text = raw.decode("utf-8", "surrogateescape")
    local, at, domain = text.rpartition("@")
    if not at:
        local, domain = text, ""
    if not local or _DOT_STRING.match(local):
        return text
    quoted = re.sub(r'(["\\\r])', r"\\\1", local)
    return f'"{quoted}"{at}{domain}'


def read_defer_log(path: str) -> dict[int, Deferral]:
    """The defer log of a message: recipient record's offset -> its last entry (`bounce_log.c`).

    A log that is missing or cut short gives what there is of it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        data = os.pread(descriptor, DEFER_LOG_LIMIT, 0)
    finally:
        os.close(descriptor)
    return parse_defer_log(data)


def parse_defer_log(data: bytes) -> dict[int, Deferral]:
    """Entries of a defer log. Each is a paragraph of `name=value` lines; the last one counts."""
    found: dict[int, Deferral] = {}
    for paragraph in data.decode("utf-8", "replace").split("\n\n"):
        offset = -1
        address = reason = dsn = ""
        for line in paragraph.split("\n"):
            name, equals, value = line.partition("=")
            if not equals:
                continue
            if name == "recipient":
                address = value
            elif name == "offset" and value.isascii() and value.isdigit() and len(value) < 19:
                offset = int(value)
            elif name == "status":
                dsn = value
            elif name == "reason":
                reason = value
        if offset >= 0:
            found[offset] = Deferral(address, reason, dsn)
    return found
