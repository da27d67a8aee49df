"""Whether a queue file still is the message that was seen there: short queue IDs are used again."""

from __future__ import annotations

import os

from postmaster.postfix.queue_file import Envelope
from postmaster.queue.message import Message


def differs(message: Message, envelope: Envelope, status: os.stat_result) -> str | None:
    """Why a queue file is not this message; None when it is."""
    if message.queue_name == "corrupt":
        return None  # what it says of itself cannot be relied on, and nobody writes there any more
    arrival = envelope.arrival_time if envelope.arrival_time is not None else status.st_mtime
    if int(arrival) != message.arrival_time:
        return "the ID is another message's now"
    if envelope.sender is None:
        return f"its file cannot be read: {envelope.damage or 'it has no envelope'}"
    if comparable(envelope.sender) != comparable(message.sender):
        return "the ID is another message's now"
    size = envelope.message_size if envelope.message_size is not None else status.st_size
    if size != message.message_size:
        return "the ID is another message's now"
    return None


def comparable(text: str) -> str:
    """An address as both sources show it: postqueue prints `?` for what it cannot print."""
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in raw)
