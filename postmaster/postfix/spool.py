"""The spool's folders: which queue files there are, and which names a queue file can have.

What it guarantees: no lock is taken, nothing is written, and no link or pipe is followed. What it does not:
see the queue at one moment; a file that moves meanwhile can come twice or not at all.
Sources: `mail_queue.c`, `mail_queue.h`, `mail_open_ok.c`, `dir_forest.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
FOLDER_DEPTH = 8  # one-character folders within each other

OWNER_BITS = 0o700
READY = 0o700  # owner bits of a file that is complete (MAIL_QUEUE_STAT_READY)
WRITING = 0o600  # owner bits while cleanup writes it
FORCED_EXPIRE = 0o010  # set by postsuper -e (MAIL_QUEUE_STAT_EXPIRE)

#: Of opening what lies there: neither a link is followed nor a pipe waited for.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_LONG_ID = re.compile(
    r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,20}\Z"
)
_SHORT_ID = re.compile(r"[0-9A-F]{6,24}\Z")
_DIGITS = "0123456789ABCDEF"  # the names of hashed folders
#: The digits of long IDs; `z` parts their halves (MQID_LG_SECS_BASE, `mail_queue.h`).
BASE_52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_VALUES = {letter: at for at, letter in enumerate(BASE_52)}


def is_queue_id(text: str) -> bool:
    """Whether a text can be a queue ID, long or short (`mail_queue.h`)."""
    return _LONG_ID.match(text) is not None or _SHORT_ID.match(text) is not None


def hashed_folders(queue_id: str, depth: int) -> str:
    """The folders below a hashed queue in which a file lies: `"A/B/"` (`mail_queue_dir`, `dir_forest`).

    They are the first digits of the microseconds in the ID, which a long one holds in base 52.
    """
    base = queue_id
    separator = queue_id.rfind("z")
    if separator < 10 and depth == 1 and queue_id:
        return f"{queue_id[0]}/"
    if separator >= 10:
        microseconds = 0
        for letter in queue_id[separator - 4 : separator]:
            value = _VALUES.get(letter)
            if value is None:
                microseconds = 0
                break
            microseconds = microseconds * 52 + value
        base = f"{microseconds:05X}"
    return "".join(f"{letter}/" for letter in base[:depth].ljust(depth, "_"))


def walk(
    spool: str, queues: Sequence[str] = QUEUES, *, share: tuple[int, int] | None = None
) -> Iterator[tuple[str, str, str]]:
    """Every queue file as (queue, ID, path), as the folders are read and in no order.

    Folders of one character are hashed ones (`hash_queue_names`), where both forms may stand beside each
    other. With `share=(k, n)`, the k-th of n parts: each file belongs to one part of a process and its
    forks. What vanishes under the walk is passed over. Raises PermissionError.
    """
    for queue in queues:
        top = os.path.join(spool, queue)
        below = [(top, share)]
        while below:
            folder, part = below.pop()
            is_deep = folder.count("/") - top.count("/") >= FOLDER_DEPTH
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name
                        if len(name) == 1:
                            is_ours = part is None or _DIGITS.find(name) % part[1] == part[0]
                            if is_ours and not is_deep and entry.is_dir(follow_symlinks=False):
                                below.append((f"{folder}/{name}", None))  # with all that is in it
                        elif part is not None and hash(name) % part[1] != part[0]:
                            continue
                        elif name.isalnum() and entry.is_file(follow_symlinks=False):  # mail_queue_id_ok
                            yield queue, name, f"{folder}/{name}"
            except (FileNotFoundError, NotADirectoryError):
                continue


def count(spool: str, queues: Sequence[str] = QUEUES, *, share: tuple[int, int] = (0, 1)) -> int:
    """How many files the walk would find, by their names alone: in a third of its time.

    With `share=(k, n)`, the k-th of n parts, which are all of them together.
    """
    return sum(counts(spool, queues, share=share))


def counts(spool: str, queues: Sequence[str] = QUEUES, *, share: tuple[int, int] = (0, 1)) -> Iterator[int]:
    """The same, folder by folder."""
    part, parts = share
    below: list[str] = []
    for queue in queues:
        files, folders = _names(os.path.join(spool, queue))
        below += [one for one in folders if _DIGITS.find(one[-1]) % parts == part]
        yield 0 if part else files  # those beside hashed folders are the first part's
    deepest = FOLDER_DEPTH + spool.count("/") + 1
    while below:
        folder = below.pop()
        if folder.count("/") <= deepest:
            files, folders = _names(folder)
            yield files
            below += folders


def _names(folder: str) -> tuple[int, list[str]]:
    """(how many names a queue file can have, paths with names of one character)."""
    files, folders = 0, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if len(name) > 1:
                    files += name.isalnum()
                else:
                    folders.append(f"{folder}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return files, folders


def open_file(path: str) -> int:
    """A descriptor of a queue file. Neither a link is followed nor a pipe waited for. Raises OSError."""
    return os.open(path, FLAGS)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """The same for as long as it is needed."""
    descriptor = open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
