"""Flushing: an attempt now for chosen messages, at a chosen pace, and what became of each.

Postfix is asked for each message by its ID (`postqueue -i`), as `-s` knows only some destinations and `-f`
takes the whole queue. The outcome is read in the log; where none can be read, from the queue, which knows
less. A pace bounds what this command triggers, and nothing else: Postfix goes on with its own attempts.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postmaster.errors import NotFoundError, ProcessError, RightsError, UsageError
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.events import Delivery, Event
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import locate
from postmaster.postfix.queue import Listing
from postmaster.queue.action import Done, Progress
from postmaster.queue.fate import PAUSE, Fate, Watch
from postmaster.queue.message import Message

STOP_ON = ("421", "4.7")  # what a paced flush takes for "slow down" unless told otherwise
WAIT = 60.0  # seconds that the last outcomes are waited for
LOOK_EVERY = 2.0  # seconds between two looks at the queue where there is no log

_SAID = re.compile(r"(?:said|refused to talk to me): (\d{3})[ -]")
_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


def parse_pace(text: str) -> float:
    """Seconds between two messages, from `20/min`, `1/s`, `500/h`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})\s*/\s*([a-z]{1,6})", text.strip().lower())
    if found is None or found[2] not in _UNITS or int(found[1]) == 0:
        raise UsageError(f"{text!r} is no pace", hint="for example 20/min, 1/s or 500/h")
    return _UNITS[found[2]] / int(found[1])


def parse_stops(text: str) -> tuple[str, ...]:
    """Replies and status codes to stop on, from `421,4.7`; `none` for none. Raises UsageError."""
    if text.strip().lower() == "none":
        return ()
    stops = tuple(item.strip() for item in text.split(",") if item.strip())
    if not stops or not all(re.fullmatch(r"[245]\d\d|[245](\.\d{1,3}){1,2}", item) for item in stops):
        raise UsageError(
            f"{text!r} is no list of replies or status codes", hint="for example 421,4.7; or none"
        )
    return stops


def is_stop(delivery: Delivery, stops: Sequence[str]) -> bool:
    """Whether an attempt failed with one of these. `4.7` has 4.7.1 in it, not 4.71.0."""
    if delivery.status == "sent":
        return False
    for stop in stops:
        if "." not in stop:
            if reply_in(delivery.text or "") == stop:
                return True
        elif delivery.dsn is not None and f"{delivery.dsn}.".startswith(f"{stop}."):
            return True
    return False


def reply_in(text: str) -> str | None:
    """The three digits that the other side said, None where the text names none."""
    found = _SAID.search(text)
    if found is not None:
        return found[1]
    return text[:3] if text[:3].isdigit() and text[3:4] in (" ", "-") else None


@dataclass(frozen=True, slots=True)
class FlushOptions:
    interval: float = 0.0  # seconds between two messages
    stops: tuple[str, ...] = ()
    wait: float = WAIT


@dataclass(slots=True)
class Flushed:
    """What became of each message, and what made it stop before the end."""

    done: list[Done]
    stopped_by: str | None = None
    is_interrupted: bool = False  # by the keyboard: what was triggered until then is told


def flush(
    messages: Sequence[Message],
    options: FlushOptions,
    places: Mapping[str, Instance],
    watch: Watch,
    progress: Progress = lambda _: None,
) -> Flushed:
    """Trigger an attempt for each message, and follow it.

    Outcomes: sent, returned, deferred (tried, with the reason), waiting (not seen to be tried yet), gone
    (left the queue; no log to say how), left (on hold or in maildrop), vanished, not tried (after a stop).
    Raises RightsError before the first one when this user may not flush, NotFoundError.
    """
    return _Flush(messages, options, places, watch, progress).all()


class _Flush:
    def __init__(
        self,
        messages: Sequence[Message],
        options: FlushOptions,
        places: Mapping[str, Instance],
        watch: Watch,
        progress: Progress,
    ) -> None:
        self._options = options
        self._places = places
        self._watch = watch
        self._progress = progress
        self._messages = messages
        self._outcomes: dict[int, Done] = {}
        self._tried: dict[int, float] = {}  # index -> when
        self._keys = {(message.instance, message.queue_id): message for message in messages}
        self._stopped: str | None = None
        self._is_interrupted = False
        self._looked = 0.0

    def all(self) -> Flushed:
        for message in self._messages:
            if message.instance not in self._places:
                raise NotFoundError(f"there is no Postfix instance {message.instance}")
        self._watch.follow(self._messages)
        self._watch.listen(self._hear)
        try:
            self._go_through()
        except KeyboardInterrupt:  # the usual end of a slow flush
            self._is_interrupted = True
            self._stopped = self._stopped or "the keyboard"
        for at, message in enumerate(self._messages):
            if at not in self._outcomes:
                self._outcomes[at] = (
                    self._so_far(message)
                    if at in self._tried
                    else Done(message, "not tried", f"stopped by: {self._stopped}")
                )
        done = [self._outcomes[at] for at in range(len(self._messages))]
        return Flushed(done, self._stopped, self._is_interrupted)

    def _go_through(self) -> None:
        """Trigger one after another at their pace, then wait for the last outcomes."""
        due = time.monotonic()
        for at, message in enumerate(self._messages):
            self._rest(due)
            if self._stopped is not None:
                break
            if self._trigger(at, message):
                due = max(due, time.monotonic() - self._options.interval) + self._options.interval
            self._collect()
        ends = time.monotonic() + self._options.wait
        while len(self._outcomes) < len(self._tried) and time.monotonic() < ends:
            time.sleep(PAUSE)
            self._collect()

    def _rest(self, due: float) -> None:
        """Wait for the next one's turn, reading what comes meanwhile."""
        while self._stopped is None and (left := due - time.monotonic()) > 0:
            time.sleep(min(left, PAUSE))
            self._collect()

    def _hear(self, key: tuple[str, str], event: Event) -> None:
        if isinstance(event, Delivery) and self._stopped is None and is_stop(event, self._options.stops):
            self._stopped = f"{key[1]} to {event.recipient}: {event.text or ''}"

    def _trigger(self, at: int, message: Message) -> bool:
        """Ask Postfix for an attempt. Whether it was asked."""
        place = self._places[message.instance]
        if message.queue_name in ("hold", "maildrop", "corrupt"):
            why = {"hold": "on hold: release it first", "maildrop": "not taken in yet"}
            self._settle(at, message, "left", why.get(message.queue_name, "corrupt"))
            return False
        self._watch.fate(message).begin()
        try:
            postfix_queue.flush_messages(place.config_directory, [message.queue_id])
        except ProcessError as error:
            if "not allowed" in error.message:
                raise RightsError(
                    f"this user may not flush: {error.message.rpartition(': ')[2]}",
                    hint="run it with sudo, or let authorized_flush_users in main.cf name the user",
                ) from error
            raise
        self._tried[at] = time.time()
        return True

    def _settle(self, at: int, message: Message, outcome: str, detail: str | None = None) -> None:
        self._outcomes[at] = Done(message, outcome, detail)
        self._tried.setdefault(at, 0.0)
        self._progress(len(self._outcomes))

    def _collect(self) -> None:
        """Settle the messages whose attempt is over."""
        if not self._watch.readable:
            self._look()
            return
        self._watch.poll()
        for at in self._tried.keys() - self._outcomes.keys():
            message = self._messages[at]
            found = _outcome(message, self._watch.fate(message))
            if found is not None:
                self._settle(at, message, *found)

    def _look(self) -> None:
        """Without a log: who left the queue, and whose next retry was put off."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        open_ones = self._tried.keys() - self._outcomes.keys()
        for place in self._places.values():
            own = {at for at in open_ones if self._messages[at].instance == place.name}
            if not own:
                continue
            try:
                self._look_into(place, own)
            except PermissionError:
                self._look_through_postqueue(place, own)

    def _look_into(self, place: Instance, own: set[int]) -> None:
        # A folder that may not be read hides its files.
        next(iter((place.spool / "deferred").iterdir()), None)
        for at in own:
            message = self._messages[at]
            found = locate(place, message.queue_id)
            if found is None:
                self._settle(at, message, "gone", "sent or returned: there is no log to tell")
            elif found[0] == "deferred" and found[2].st_mtime > self._tried[at] + 30:
                self._settle(at, message, "deferred", "there is no log to tell why")

    def _look_through_postqueue(self, place: Instance, own: set[int]) -> None:
        there = {entry["queue_id"] for entry in postfix_queue.entries(place.config_directory, Listing())}
        for at in own:
            if self._messages[at].queue_id not in there:
                self._settle(at, self._messages[at], "gone", "sent or returned: there is no log to tell")

    def _so_far(self, message: Message) -> Done:
        last = deque(self._watch.fate(message).recipients.values(), maxlen=1)
        if last:
            return Done(message, "waiting", f"so far {last[0].status}: {last[0].text or ''}")
        return Done(message, "waiting", None if self._watch.readable else "there is no log to tell")


def _outcome(message: Message, fate: Fate) -> tuple[str, str | None] | None:
    """(outcome, detail) of an attempt that is over, None while it is under way."""
    if fate.is_over:
        outcome, detail = fate.outcome()
        return ("sent" if outcome == "delivered" else outcome), detail
    deferred = fate.of_status("deferred")
    if not deferred or len(fate.recipients) < len({one.address for one in message.recipients}):
        return None
    first = deferred[0]
    more = f" (and {len(deferred) - 1} more)" if len(deferred) > 1 else ""
    sent = len(fate.of_status("sent"))
    return "deferred", (f"{sent} sent; " if sent else "") + f"{first.recipient}: {first.text or ''}{more}"
