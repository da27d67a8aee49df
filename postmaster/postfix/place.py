"""Where one Postfix instance keeps its queue, and what about it matters to those who act on messages.

The file of a message stands at `QUEUE/ID`, or in folders of one character below the queue
(`hash_queue_names`, `hash_queue_depth`): for a short ID its first characters, for a long one those of its
microseconds in hexadecimal (`mail_queue.c`, `dir_forest.c`). Both forms are there after a change of them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.postfix.postconf import split_list
from postmaster.postfix.spool import READY
from postmaster.process import run

QUEUES = ("incoming", "active", "deferred", "hold", "maildrop", "corrupt")

_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"  # mail_queue.h, MQID_LG_SECS_BASE 52
_INODE_BASE = 51  # `z` is kept for the separator
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PARAMETERS = (
    "queue_directory",
    "hash_queue_names",
    "hash_queue_depth",
    "maximal_queue_lifetime",
    "bounce_queue_lifetime",
    "enable_long_queue_ids",
    "mynetworks",
    "syslog_name",
    "maillog_file",
    "mail_owner",
)


@dataclass(frozen=True, slots=True)
class Place:
    """An instance's queue. Lifetimes in seconds."""

    name: str  # "-" for the instance without a name
    config_directory: Path
    spool: Path
    hashed: frozenset[str]
    depth: int
    lifetime: int
    bounce_lifetime: int
    long_ids: bool
    networks: str  # mynetworks as it is written
    syslog_name: str
    log_file: Path | None  # maillog_file, where Postfix writes its log itself
    owner: str

    def lifetime_of(self, sender: str) -> int:
        """How long a message of this sender may stay in the queue."""
        return self.lifetime if sender else self.bounce_lifetime


def load(name: str, config_directory: Path) -> Place:
    """Ask Postfix for all of it. Raises ProcessError, ServerError."""
    done = run(["postconf", "-c", str(config_directory), "-x", *_PARAMETERS], hint="is Postfix installed?")
    found = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        found[key.strip()] = value.strip()
    log = found.get("maillog_file", "")
    return Place(
        name=name,
        config_directory=config_directory,
        spool=Path(found["queue_directory"]),
        hashed=frozenset(item.lower() for item in split_list(found["hash_queue_names"])),
        depth=int(found["hash_queue_depth"]),
        lifetime=_seconds(found["maximal_queue_lifetime"]),
        bounce_lifetime=_seconds(found["bounce_queue_lifetime"]),
        long_ids=found["enable_long_queue_ids"] == "yes",
        networks=found["mynetworks"],
        syslog_name=found["syslog_name"],
        log_file=Path(log) if log.startswith("/") and not log.startswith("/dev/") else None,
        owner=found["mail_owner"],
    )


def paths(place: Place, queue: str, queue_id: str) -> Iterator[str]:
    """Where the file may stand in a queue: as the settings say, then the other form."""
    flat = os.path.join(place.spool, queue, queue_id)
    name = hash_name(queue_id)
    hashed = os.path.join(place.spool, queue, *_forest(name, max(1, place.depth)), queue_id)
    yield from (hashed, flat) if queue in place.hashed else (flat, hashed)
    if queue in place.hashed:
        for depth in (1, 2, 3):  # an old hash_queue_depth
            if depth != place.depth:
                yield os.path.join(place.spool, queue, *_forest(name, depth), queue_id)


def locate(
    place: Place, queue_id: str, queues: Sequence[str] = QUEUES
) -> tuple[str, str, os.stat_result] | None:
    """(queue, path, status) of the file with this ID; None where no queue has it.

    A message that moves is looked for twice, since one pass could miss it.
    """
    for _ in range(2):
        for queue in queues:
            for path in paths(place, queue, queue_id):
                try:
                    found = os.lstat(path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if stat.S_ISREG(found.st_mode):
                    return queue, path, found
    return None


def is_ready(status: os.stat_result) -> bool:
    """Whether the file is complete; the group's bits have other meanings and are not looked at."""
    return status.st_mode & 0o700 == READY


def make_id(place: Place, inode: int, moment: float) -> str:
    """The ID that Postfix would give a file made now: both forms name the inode (`mail_queue.c`)."""
    seconds = int(moment)
    microseconds = int((moment - seconds) * 1e6) % 1_000_000
    if not place.long_ids:
        return f"{microseconds:05X}{inode:X}"
    return f"{_encode(seconds, 52, 6)}{_encode(microseconds, 52, 4)}z{_encode(inode, _INODE_BASE, 1)}"


def hash_name(queue_id: str) -> str:
    """What of an ID the folders are named after."""
    separator = queue_id.rfind("z")
    if separator < 10:  # six characters of seconds and four of microseconds: else it is a short one
        return queue_id
    value = 0
    for character in queue_id[separator - 4 : separator]:
        digit = _DIGITS.find(character)
        if digit < 0:
            return queue_id
        value = value * 52 + digit
    return f"{value:05X}"


def _forest(name: str, depth: int) -> list[str]:
    return [name[at] if at < len(name) else "_" for at in range(depth)]


def _encode(number: int, base: int, width: int) -> str:
    text = ""
    while number or len(text) < width:
        number, digit = divmod(number, base)
        text = _DIGITS[digit] + text
    return text


def _seconds(text: str) -> int:
    """A time value of main.cf; a bare number is in days, the default unit of the lifetimes."""
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text)
    if found is None:
        raise ServerError(f"Postfix has a lifetime that is none: {text[:40]!r}", hint="see: postconf -n")
    return int(found[1]) * _UNITS[found[2] or "d"]
