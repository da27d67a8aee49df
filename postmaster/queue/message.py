"""A message in the queue, whichever source told of it, and reading the whole queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.queue import Listing
from postmaster.settings import PostfixSettings

NULL_SENDER = "MAILER-DAEMON"  # how showq prints it; no address of ours looks like this


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient that is still to do. `delay_reason` is None where the queue has none."""

    address: str
    delay_reason: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """Size in bytes. The sender is empty for a bounce."""

    queue_name: str
    queue_id: str
    arrival_time: datetime
    message_size: int
    forced_expire: bool | None  # None: this Postfix does not say
    sender: str
    recipients: tuple[Recipient, ...]


def read(settings: PostfixSettings, listing: Listing) -> Iterator[Message]:
    """Every message, as it comes. `listing` counts what could not be read. Raises ProcessError."""
    for entry in postfix_queue.entries(settings.config_directory, listing):
        message = from_entry(entry)
        if message is None:
            listing.unreadable += 1
        else:
            yield message


def from_entry(entry: dict[str, Any]) -> Message | None:
    """The message that a checked `postqueue -j` object tells of; None for an impossible time."""
    try:
        arrival = datetime.fromtimestamp(entry["arrival_time"], UTC)
    except (ValueError, OverflowError, OSError):
        return None
    forced = entry.get("forced_expire")
    recipients = []
    for one in entry["recipients"]:
        reason = one.get("delay_reason")
        recipients.append(Recipient(one["address"], reason if isinstance(reason, str) else None))
    sender = entry["sender"]
    return Message(
        queue_name=entry["queue_name"],
        queue_id=entry["queue_id"],
        arrival_time=arrival,
        message_size=entry["message_size"],
        forced_expire=forced if isinstance(forced, bool) else None,
        sender="" if sender == NULL_SENDER else sender,
        recipients=tuple(recipients),
    )
