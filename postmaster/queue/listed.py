"""Messages as `postqueue -j` lists them, for whoever may not read the spool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.instances import NAMELESS, Instance
from postmaster.postfix.queue import Listing
from postmaster.queue.message import Message, Recipient

NULL_SENDER = "MAILER-DAEMON"  # how showq prints it unless empty_address_recipient says otherwise


def from_entry(
    entry: dict[str, Any], instance: str = NAMELESS, null_sender: str = NULL_SENDER
) -> Message | None:
    """The message that a checked `postqueue -j` object tells of; None for an impossible time.

    Of more than 1,000 deferred recipients, showq lists the rest a second time without a reason
    (`duplicate_filter_limit`); these are left out.
    """
    if not 0 <= entry["arrival_time"] < 1 << 40:
        return None
    recipients: list[Recipient] = []
    reasoned: set[str] = set()
    for one in entry["recipients"]:
        address, reason, original = one["address"], one.get("delay_reason"), one.get("orig_address")
        if isinstance(reason, str):
            reasoned.add(address)
        elif address in reasoned:
            continue
        else:
            reason = None
        recipients.append(
            Recipient(address, reason, original=original if isinstance(original, str) else None)
        )
    forced, sender = entry.get("forced_expire"), entry["sender"]
    return Message(
        instance=instance,
        queue_name=entry["queue_name"],
        queue_id=entry["queue_id"],
        arrival_time=entry["arrival_time"],
        message_size=entry["message_size"],
        sender="" if sender == null_sender else sender,
        recipients=recipients,
        forced_expire=forced if isinstance(forced, bool) else None,
    )


def from_postqueue(instance: Instance, listing: Listing) -> Iterator[Message]:
    """Every message of an instance; an entry that makes no sense is counted. Raises ProcessError."""
    for entry in postfix_queue.entries(instance.config_directory, listing):
        message = from_entry(entry, instance.name, instance.empty_address)
        if message is None:
            listing.unreadable += 1
        else:
            yield message
