"""A message in the queue, whichever source told of it. What a source does not know is None, never invented.

A message's identity is its instance, queue ID and arrival: short queue IDs are used again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)  # not frozen: a hundred thousand are made, which would take three times as long
class Recipient:
    """A recipient that is still to do. Addresses are in their external form (RFC 5321)."""

    address: str
    delay_reason: str | None = None  # None: none yet
    dsn: str | None = None  # enhanced status code of the reason, such as 4.7.1
    original: str | None = None  # the address before aliases
    offset: int | None = None  # of its record in the queue file


@dataclass(slots=True)
class Message:
    """Times in seconds since the epoch, sizes in bytes. The sender is empty for a bounce."""

    instance: str
    queue_name: str
    queue_id: str
    arrival_time: int
    message_size: int
    sender: str
    recipients: list[Recipient]
    forced_expire: bool | None = None
    next_retry: int | None = None
    expires: int | None = None  # when it is returned to its sender
    recipients_done: int | None = None
    client_name: str | None = None
    client_address: str | None = None
    helo_name: str | None = None
    sasl_username: str | None = None
    damage: str | None = None  # what is wrong with its file
    path: str | None = None  # of its file

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.instance, self.queue_id, self.arrival_time


#: What can be asked for of a message: a field of it, or `reasons` (with their DSN).
ALL = frozenset(Message.__slots__) | {"reasons"}
