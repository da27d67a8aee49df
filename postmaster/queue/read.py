"""Reading the whole queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.queue import Listing
from postmaster.queue.message import DEFAULT_INSTANCE, Message, Recipient
from postmaster.settings import PostfixSettings

NULL_SENDER = "MAILER-DAEMON"  # how showq prints it; no address of ours looks like this


def messages(settings: PostfixSettings, listing: Listing) -> Iterator[Message]:
    """Every message, as it comes. `listing` counts what could not be read. Raises ProcessError."""
    for entry in postfix_queue.entries(settings.config_directory, listing):
        message = from_entry(entry)
        if message is None:
            listing.unreadable += 1
        else:
            yield message


def from_entry(entry: dict[str, Any]) -> Message | None:
    """The message that a checked `postqueue -j` object tells of; None for an impossible time."""
    if not 0 <= entry["arrival_time"] < 1 << 40:
        return None
    recipients = []
    for one in entry["recipients"]:
        reason = one.get("delay_reason")
        recipients.append(Recipient(one["address"], reason if isinstance(reason, str) else None))
    forced, sender = entry.get("forced_expire"), entry["sender"]
    return Message(
        instance=DEFAULT_INSTANCE,
        queue_name=entry["queue_name"],
        queue_id=entry["queue_id"],
        arrival_time=entry["arrival_time"],
        message_size=entry["message_size"],
        sender="" if sender == NULL_SENDER else sender,
        recipients=recipients,
        forced_expire=forced if isinstance(forced, bool) else None,
    )
