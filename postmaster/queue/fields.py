"""What a filter can ask about a message, and where each answer comes from.

A field has a kind (which operators and values fit), the values that a message has for it, and what
must be read for them. A field can have several values (a message has several recipients) or none.
None in a message stands for "it has none"; whether its source could know at all is `SPOOL_ONLY`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from postmaster.queue.message import Message

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")

#: What `needs` can name besides attributes of Message: the reasons and codes of recipients
#: (postqueue gives them away, in the spool they cost opening the defer log) and the header.
REASONS = "reasons"
HEADERS = "headers"


class Kind(StrEnum):
    """Which operators and values a field takes."""

    text = "text"  # = != ~ !~; compared without case
    exact = "exact text"  # the same, with case
    number = "number"
    size = "size"  # bytes, or with K, M, G
    since = "duration"  # seconds that have passed since a moment
    until = "duration until"  # seconds that are left until a moment


TEXTS = (Kind.text, Kind.exact)
DURATIONS = (Kind.since, Kind.until)


@dataclass(frozen=True, slots=True)
class Field:
    """What can be asked. `one` gives its value or None, `several` all of them; a field has either.

    Values are texts, numbers, or moments in seconds since the epoch. `reads` is what must be read.
    """

    name: str
    kind: Kind
    meaning: str
    reads: str
    one: Callable[[Message], str | int | None] | None = None
    several: Callable[[Message], Iterable[str | None]] | None = None


def domain_of(address: str) -> str:
    """The domain of an address in lower case without a final dot; empty where it has none."""
    _, at, domain = address.rpartition("@")
    return domain.lower().rstrip(".") if at else ""


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("queue", Kind.text, ", ".join(QUEUES), "queue_name", attrgetter("queue_name")),
        Field("id", Kind.exact, "queue ID", "queue_id", attrgetter("queue_id")),
        Field("sender", Kind.text, 'envelope sender; "" for a bounce', "sender", attrgetter("sender")),
        Field(
            "recipient",
            Kind.text,
            "any recipient still to do",
            "recipients",
            several=lambda m: [r.address for r in m.recipients],
        ),
        Field("sender-domain", Kind.text, "domain of the sender", "sender", lambda m: domain_of(m.sender)),
        Field(
            "recipient-domain",
            Kind.text,
            "domain of any recipient",
            "recipients",
            several=lambda m: [domain_of(r.address) for r in m.recipients],
        ),
        Field("size", Kind.size, "bytes of the message", "message_size", attrgetter("message_size")),
        Field("age", Kind.since, "time since it arrived", "arrival_time", attrgetter("arrival_time")),
        Field("retry", Kind.until, "time until the next attempt", "next_retry", attrgetter("next_retry")),
        Field("expires", Kind.until, "time until it is returned", "expires", attrgetter("expires")),
        Field(
            "recipients",
            Kind.number,
            "how many recipients are still to do",
            "recipients",
            lambda m: len(m.recipients),
        ),
        Field(
            "reason",
            Kind.text,
            "why any recipient is deferred",
            REASONS,
            several=lambda m: [r.delay_reason for r in m.recipients],
        ),
        Field(
            "dsn",
            Kind.text,
            "status code of any recipient, such as 4.7.1",
            REASONS,
            several=lambda m: [r.dsn for r in m.recipients],
        ),
        Field(
            "client",
            Kind.text,
            "name or address of the client it came from",
            "client_name",
            several=lambda m: (m.client_name, m.client_address),
        ),
        Field("helo", Kind.text, "what the client called itself", "helo_name", attrgetter("helo_name")),
        Field("sasl", Kind.text, "login that sent it", "sasl_username", attrgetter("sasl_username")),
        Field(
            "instance", Kind.exact, "Postfix instance; - for the default", "instance", attrgetter("instance")
        ),
        Field("subject", Kind.text, "Subject, decoded", HEADERS),
        Field("from", Kind.text, "From, decoded", HEADERS),
        Field("message-id", Kind.text, "Message-ID", HEADERS),
    )
}

#: What `postqueue` does not tell, and so nobody but root or the mail owner can ask for.
SPOOL_ONLY = frozenset({"retry", "expires", "dsn", "client", "helo", "sasl", "subject", "from", "message-id"})
