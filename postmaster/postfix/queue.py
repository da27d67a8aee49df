"""The queue as Postfix's own programs tell it: `postqueue -j`, `postcat`, `postqueue -i`.

Lines that are no JSON object of the expected shape are counted, never fatal: the queue moves while
`showq` reads it. Unknown keys are ignored, as later versions add some. Source: postqueue(1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postmaster.errors import NotFoundError, ProcessError
from postmaster.process import run, stream

HINT = "is Postfix running? without it only root can list the queue"
LINE_LIMIT = 64 << 20  # bytes; a message with half a million recipients


@dataclass(slots=True)
class Listing:
    """A running listing: what could not be read is counted here."""

    unreadable: int = 0


def entries(config_directory: Path, listing: Listing) -> Iterator[dict[str, Any]]:
    """The objects that `postqueue -j` prints, one message each. Raises ProcessError."""
    with stream(["postqueue", "-c", str(config_directory), "-j"], hint=HINT) as lines:
        for line in lines:
            entry = parse_entry(line)
            if entry is None:
                listing.unreadable += 1
            else:
                yield entry


def parse_entry(line: bytes) -> dict[str, Any] | None:
    """One line of `postqueue -j`; None when it is not what it should be."""
    if len(line) > LINE_LIMIT:
        return None
    try:
        entry = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    texts = all(isinstance(entry.get(key), str) for key in ("queue_name", "queue_id", "sender"))
    numbers = all(type(entry.get(key)) is int for key in ("arrival_time", "message_size"))
    recipients = entry.get("recipients")
    if not texts or not numbers or not isinstance(recipients, list):
        return None
    if not all(isinstance(one, dict) and isinstance(one.get("address"), str) for one in recipients):
        return None
    return entry


@contextmanager
def content(config_directory: Path, queue_id: str, *, only_header: bool = False) -> Iterator[Iterator[bytes]]:
    """The message as it is in the queue file, line by line (`postcat`). Raises NotFoundError."""
    check_id(queue_id)
    argv = ["postcat", "-c", str(config_directory), "-hq" if only_header else "-hbq", queue_id]
    try:
        with stream(argv) as lines:
            yield lines
    except ProcessError as error:
        if "No such file" in error.message:
            raise NotFoundError(
                f"there is no message {queue_id} in the queue", hint="postmaster queue list shows them"
            ) from None
        raise NotFoundError(
            f"message {queue_id} cannot be read: {error.message[-200:]}", hint="run it as root"
        ) from None


def flush(config_directory: Path) -> None:
    """Try every deferred message now. A trigger: exit 0 is not delivery."""
    run(["postqueue", "-c", str(config_directory), "-f"], hint="it needs authorized_flush_users or root")


def flush_messages(config_directory: Path, queue_ids: Iterable[str]) -> None:
    """Try these messages now. Postfix answers 0 for unknown and held ones too: look them up first."""
    for queue_id in queue_ids:
        check_id(queue_id)
        run(
            ["postqueue", "-c", str(config_directory), "-i", queue_id],
            hint="it needs authorized_flush_users or root",
        )


def check_id(queue_id: str) -> None:
    """A queue ID has letters and digits alone; anything else could be read as an option or a path.

    `ALL` is none: to postsuper it can mean every message. Raises NotFoundError.
    """
    if not (queue_id.isascii() and queue_id.isalnum() and len(queue_id) <= 64) or queue_id == "ALL":
        raise NotFoundError(f"{queue_id[:64]!r} is no queue ID", hint="postmaster queue list shows them")
