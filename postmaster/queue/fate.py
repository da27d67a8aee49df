"""What becomes of messages while a command works on them: read from the log as it is written.

Without a readable log nothing is known here, and whoever asks looks at the queue instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from postmaster.postfix.events import Delivery, Event, Expired, Notice, Pickup, Queued, Removed, Super
from postmaster.postfix.instances import Instance
from postmaster.postfix.log import Follower
from postmaster.postfix.logfiles import named_or_usual
from postmaster.queue.message import Message

PAUSE = 0.1  # seconds between two looks
_TOLD = (Delivery, Queued, Removed, Super, Expired, Notice)  # what happens to a message in the queue
LOG_DELAY = 3.0  # seconds that a line may take into the log


@dataclass(slots=True)
class Fate:
    """What the log has told of one message since it is watched."""

    recipients: dict[str, Delivery] = field(default_factory=dict)  # the last word about each
    attempts: int = 0
    removed_by: str | None = None  # qmgr or postsuper
    expired: bool = False
    notified: str | None = None  # ID of the bounce
    new_id: str | None = None  # after it was requeued

    @property
    def is_over(self) -> bool:
        return self.removed_by is not None or self.new_id is not None

    def begin(self) -> None:
        """Forget earlier attempts: a new one is asked for."""
        if not self.is_over:
            self.recipients.clear()

    def of_status(self, status: str) -> list[Delivery]:
        return [one for one in self.recipients.values() if one.status == status]

    def take(self, event: Event) -> None:
        if self.is_over and not isinstance(event, Notice):
            return  # a short ID in its next life
        match event:
            case Delivery():
                self.recipients[event.recipient] = event
            case Queued():
                self.attempts += 1
            case Removed():
                self.removed_by = "qmgr"
            case Super(action="removed"):
                self.removed_by = "postsuper"
            case Expired():
                self.expired = True
            case Notice() if "non-delivery" in event.kind:
                self.notified = event.new_id
            case Pickup():
                self.new_id = event.queue_id

    def outcome(self) -> tuple[str, str | None]:
        """(delivered, returned or vanished; detail) of a message that left the queue."""
        if self.new_id is not None:
            return "vanished", f"someone requeued it as {self.new_id}"
        if self.removed_by == "postsuper":
            return "vanished", "someone deleted it"
        if self.removed_by is None:
            return "vanished", None
        bounced = self.of_status("bounced")
        if self.expired or bounced:
            return "returned", bounced[0].text if bounced else "its time was over"
        sent = self.of_status("sent")
        return "delivered", sent[-1].text if sent else None


def logs_of(places: Mapping[str, Instance], files: Iterable[Path]) -> list[Path]:
    """Where instances log: what the settings name and what each writes itself, else where syslog does."""
    return named_or_usual([*files, *(place.log_file for place in places.values())])


def instance_of(tag: str, places: Mapping[str, Instance]) -> str:
    """The instance that a line's tag (`postfix/submission`) is of; empty for none of these."""
    names = sorted(((one.syslog_name, name) for name, one in places.items()), key=lambda pair: -len(pair[0]))
    return next((name for own, name in names if tag == own or tag.startswith(f"{own}/")), "")


class Watch:
    """The logs of some instances, from now on. Begun before the queue is listed, it misses nothing."""

    def __init__(self, places: Mapping[str, Instance], files: Iterable[Path]) -> None:
        self._places = places
        self._follower = Follower(logs_of(places, files))
        self._fates: dict[tuple[str, str], Fate] = {}
        self._listeners: list[Callable[[tuple[str, str], Event], None]] = []

    @property
    def readable(self) -> bool:
        """Whether there is a log to read. Without one every fate stays empty."""
        return self._follower.readable

    def follow(self, messages: Iterable[Message]) -> None:
        """Take these messages into view, with what the log has said of them since the beginning."""
        for message in messages:
            self._fates.setdefault((message.instance, message.queue_id), Fate())
        self.poll()

    def listen(self, listener: Callable[[tuple[str, str], Event], None]) -> None:
        """Be told of each event of a watched message, after its fate took it."""
        self._listeners.append(listener)

    def fate(self, message: Message) -> Fate:
        return self._fates.setdefault((message.instance, message.queue_id), Fate())

    def poll(self) -> None:
        """Read what came."""
        for line in self._follower.parsed():
            event = line.event
            if isinstance(event, Pickup):
                queue_id = event.orig_id
            else:
                queue_id = event.queue_id if isinstance(event, _TOLD) else None
            if queue_id is None:
                continue
            key = (instance_of(line.tag, self._places), queue_id)
            fate = self._fates.get(key)
            if fate is not None:
                fate.take(event)
                for listener in self._listeners:
                    listener(key, event)

    def wait(self, messages: Iterable[Message], done: Callable[[Fate], bool], seconds: float) -> None:
        """Read on until all of these are done, or the time is over."""
        left = list(messages)
        ends = time.monotonic() + seconds
        while self.readable:
            self.poll()
            left = [message for message in left if not done(self.fate(message))]
            if not left or time.monotonic() > ends:
                return
            time.sleep(PAUSE)

    def close(self) -> None:
        self._follower.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
