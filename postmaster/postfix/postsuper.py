"""`postsuper`: Postfix's own hand on the queue, for many messages at once.

It ends with exit status 0 even where nothing matched, so what it did is read from what it says on standard
error: a line for each message (`ID: removed`) and a total (`Deleted: 2 messages`). IDs go in on standard
input.

It does not see `corrupt`, never holds what is in `maildrop`, and only root may run it. While Postfix is
down and logs into a file of its own (`maillog_file`), it ends at its first line: `check` finds that out
before anything is touched. Source: `postsuper.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import RightsError, ServerError
from postmaster.postfix.queue import check_id
from postmaster.process import run

TIMEOUT = 600.0  # seconds; a slow disk and a large batch
QUEUES = frozenset({"maildrop", "incoming", "active", "deferred", "hold"})

_LINE = re.compile(r"postsuper: ([0-9A-Za-z]{1,64}): ([a-z ]{1,40})\s*\Z")
_TOTAL = re.compile(r"postsuper: ([A-Z][A-Za-z -]{1,40}): (\d{1,12}) messages?\s*\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What Postfix says that it did: to which messages, how many by its own total, and what went wrong."""

    done: frozenset[str]
    total: int
    complaint: str | None = None  # None: it ended well


def hold(config_directory: Path, queue_ids: Iterable[str]) -> Answer:
    """Put messages of incoming, active and deferred on hold. A delivery under way goes on."""
    return _act(config_directory, "-h", queue_ids, (), "placed on hold", "Placed on hold")


def release(config_directory: Path, queue_ids: Iterable[str]) -> Answer:
    """Move held messages to deferred, where they keep their next retry."""
    return _act(config_directory, "-H", queue_ids, ("hold",), "released from hold", "Released from hold")


def requeue(config_directory: Path, queue_ids: Iterable[str], queues: Sequence[str] = ("hold",)) -> Answer:
    """Move messages to maildrop: they come in once more, under a new ID."""
    return _act(config_directory, "-r", queue_ids, queues, "requeued", "Requeued")


def delete(config_directory: Path, queue_ids: Iterable[str], queues: Sequence[str] = ("hold",)) -> Answer:
    """Delete messages, and their defer, bounce and trace logs."""
    return _act(config_directory, "-d", queue_ids, queues, "removed", "Deleted")


def expire(
    config_directory: Path, queue_ids: Iterable[str], queues: Sequence[str] = ("hold",), *, free: bool = False
) -> Answer:
    """Mark messages as expired: they are returned when the queue manager next opens them.

    `free` releases the held ones too. Postfix 3.5 and later.
    """
    return _act(
        config_directory, "-f" if free else "-e", queue_ids, queues, "expired", "Force-expired", version="3.5"
    )


def check(config_directory: Path) -> None:
    """Whether it can work here: an empty list of IDs changes nothing. Raises RightsError, ServerError."""
    if os.geteuid() != 0:
        raise RightsError(
            "only root may change the queue: postsuper refuses everyone else", hint="run it again with sudo"
        )
    answer = release(config_directory, ())
    if answer.complaint is not None:
        hint = "start Postfix first" if "logfile" in answer.complaint else "see the mail log"
        raise ServerError(f"postsuper does not work here: {answer.complaint}", hint=hint)


def _act(
    config_directory: Path,
    option: str,
    queue_ids: Iterable[str],
    queues: Sequence[str],
    word: str,
    total: str,
    *,
    version: str = "2.0",
) -> Answer:
    ids = list(queue_ids)
    for queue_id in ids:
        check_id(queue_id)
    if not QUEUES.issuperset(queues):
        raise ServerError(f"postsuper knows no queue {', '.join(sorted(set(queues) - QUEUES))}")
    done = run(
        ["postsuper", "-c", str(config_directory), option, "-", *queues],
        stdin="".join(f"{queue_id}\n" for queue_id in ids),
        timeout=TIMEOUT,
        expect=None,
        whole=True,  # half an ID could be another message's
        hint="postsuper comes with Postfix; run this as root",
    )
    answer = parse(done.stderr, word, total)
    if done.status == 0:
        return answer
    complaint = answer.complaint or f"postsuper ended with status {done.status}"
    if "invalid option" in complaint or "usage:" in complaint:
        complaint += f" (Postfix {version} or later is needed)"
    return Answer(answer.done, answer.total, complaint)


def parse(text: str, word: str, total: str) -> Answer:
    """What standard error says: `word` after each ID that was done, `total` before their number."""
    done, number, complaints = set(), 0, []
    for line in text.splitlines():
        one = _LINE.match(line)
        if one is not None and one[2].strip() == word:
            done.add(one[1])
            continue
        counted = _TOTAL.match(line)
        if counted is not None and counted[1] == total:
            number = int(counted[2])
        elif one is None and counted is None and ("fatal:" in line or "usage:" in line or "option" in line):
            complaints.append(line.removeprefix("postsuper: ").strip())
    return Answer(frozenset(done), number, "; ".join(complaints[:3]) or None)
