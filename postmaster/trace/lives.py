"""The lines of one message under one queue ID, from its first line to `removed`.

A short queue ID is used again once its message is gone: each use is a life of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from postmaster.postfix import events
from postmaster.trace.filter import Filter
from postmaster.trace.lines import Line


@dataclass(slots=True)
class Life:
    """What a queue ID's lines say, gathered. `has_ended`: its `removed` was seen."""

    instance: str
    queue_id: str
    lines: list[Line] = field(default_factory=list)
    has_ended: bool = False
    is_whole: bool = False  # its beginning was seen
    senders: list[str] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        match line.event:
            case events.Queued(sender=sender) | events.Expired(sender=sender) | events.Pickup(sender=sender):
                _note(self.senders, sender)
            case events.MessageId(message_id=message_id):
                _note(self.message_ids, message_id)
            case events.Client() as client:
                self.clients += [client.name, client.address]
                if client.orig_client and (peer := events.peer(client.orig_client)):
                    self.clients += peer
                if client.sasl_username is not None:
                    self.logins.append(client.sasl_username)
            case events.Policy(sender=str(sender)) | events.Content(sender=str(sender)):
                _note(self.senders, sender)
        if isinstance(line.event, events.Client | events.Pickup) or (
            isinstance(line.event, events.MessageId) and len(self.lines) == 1
        ):
            self.is_whole = True

    @property
    def is_over(self) -> bool:
        """Whether nothing can come after: removed, or refused or dropped before it was in the queue.

        Postfix before 3.10 says nothing of the end of a message that cleanup does not queue.
        """
        return self.has_ended or (
            any(
                isinstance(line.event, events.Policy | events.Content)
                and (line.event.effect == "discard" or _refuses_all(line.event))
                for line in self.lines
            )
            and not any(isinstance(line.event, events.Queued) for line in self.lines)
        )

    def take_rules(self, lines: Iterable[Line]) -> None:
        """Take in what restrictions did before the message had a queue ID, in its own session."""
        own, self.lines = self.lines, []
        for line in lines:
            self.add(line)
        self.lines += own

    def fits(self, wanted: Filter) -> bool:
        """Whether the message is asked for: by itself, and by a delivery or a refusal of it."""
        if not wanted.takes_message(self.senders, self.message_ids, self.clients, self.logins):
            return False
        return not wanted.asks_delivery or any(
            (isinstance(line.event, events.Delivery) and wanted.takes_delivery(line.event))
            or (isinstance(line.event, events.Policy) and wanted.takes_policy(line.event))
            for line in self.lines
        )


class Lives:
    """Gathers lines into lives. Only those that have not ended are kept."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Life] = {}

    def add(self, line: Line) -> Life | None:
        """Take a line of a message; the life that it ends, or that ended unseen before it."""
        queue_id = queue_id_of(line)
        if queue_id is None:
            return None
        key, ended = (line.instance, queue_id), None
        life = self._open.get(key)
        if life is not None and isinstance(line.event, events.Client | events.Pickup) and life.lines:
            ended, life = self._open.pop(key), None  # its `removed` is not in the log
        if life is None:
            life = self._open[key] = Life(line.instance, queue_id)
        life.add(line)
        if isinstance(line.event, events.Removed | events.Canceled) or (
            isinstance(line.event, events.Super) and line.event.action == "removed"
        ):
            life.has_ended = True
            ended = self._open.pop(key)
        return ended

    def rest(self) -> Iterator[Life]:
        """The lives that had not ended."""
        yield from self._open.values()
        self._open = {}


def of_lines(lines: Iterable[Line]) -> Iterator[Life]:
    """The lives in lines, each when it ends, those that have not ended at last."""
    lives = Lives()
    for line in lines:
        if (ended := lives.add(line)) is not None:
            yield ended
    yield from lives.rest()


def queue_id_of(line: Line) -> str | None:
    """The queue ID that a line of Postfix's begins with, None where it has none."""
    return getattr(line.event, "queue_id", None) if isinstance(line.event, events.Event) else None


def _refuses_all(event: events.Policy | events.Content) -> bool:
    """Whether a rule refused the message; at RCPT it refuses one recipient."""
    return event.effect == "reject" and not (isinstance(event, events.Policy) and event.stage == "RCPT")


def _note(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
