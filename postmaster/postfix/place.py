"""Where the file of a message stands in an instance's queue, and what an ID is made of.

It stands at `QUEUE/ID`, or in folders of one character below the queue (`hash_queue_names`,
`hash_queue_depth`): for a short ID its first characters, for a long one those of its microseconds in
hexadecimal (`mail_queue.c`, `dir_forest.c`). Both forms are there after a change of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from postmaster.postfix.instances import Instance
from postmaster.postfix.spool import BASE_52, OWNER_BITS, READY, hashed_folders

QUEUES = ("incoming", "active", "deferred", "hold", "maildrop", "corrupt")

_INODE_BASE = 51  # `z` is kept for the separator


def paths(place: Instance, queue: str, queue_id: str) -> Iterator[str]:
    """Where the file may stand in a queue: as the settings say, then the other form."""
    flat = os.path.join(place.spool, queue, queue_id)
    hashed = os.path.join(place.spool, queue, hashed_folders(queue_id, max(1, place.depth)) + queue_id)
    yield from (hashed, flat) if queue in place.hashed else (flat, hashed)
    if queue in place.hashed:
        for depth in (1, 2, 3):  # an old hash_queue_depth
            if depth != place.depth:
                yield os.path.join(place.spool, queue, hashed_folders(queue_id, depth) + queue_id)


def locate(
    place: Instance, queue_id: str, queues: Sequence[str] = QUEUES
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
    return status.st_mode & OWNER_BITS == READY


def make_id(place: Instance, inode: int, moment: float) -> str:
    """The ID that Postfix would give a file made now: both forms name the inode (`mail_queue.c`)."""
    seconds = int(moment)
    microseconds = int((moment - seconds) * 1e6) % 1_000_000
    if not place.long_ids:
        return f"{microseconds:05X}{inode:X}"
    return f"{_encode(seconds, 52, 6)}{_encode(microseconds, 52, 4)}z{_encode(inode, _INODE_BASE, 1)}"


def _encode(number: int, base: int, width: int) -> str:
    text = ""
    while number or len(text) < width:
        number, digit = divmod(number, base)
        text = BASE_52[digit] + text
    return text
