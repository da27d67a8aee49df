"""The queue seen again and again: totals, what came and went between two looks, what is stuck.

A `Watcher` is shown the messages of one look after another and gives a `Frame` for each. What it
remembers is bounded: groups as summaries do, identities as hashes, and in a queue of more than
`REMEMBERED` of them a sample, from which arrivals and departures are estimated.

What it cannot see: a message that came and went between two looks. A requeued message has a new ID,
so it counts as gone and come.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from postmaster.queue import summary as counting
from postmaster.queue.message import Message
from postmaster.queue.summary import Summary

REMEMBERED = 100_000  # identities; some 10 MB
OLDEST = 10  # messages shown as stuck at most
STUCK = 86_400  # seconds; older than this is said to be stuck
SPAN = 60.0  # seconds over which rates are taken

#: What must be read of a message, as `expression.needs` names it.
NEEDS = counting.needs("queue") | counting.needs("recipient-domain") | counting.needs("reason") | {"sender"}


@dataclass(slots=True)
class Frame:
    """What one look saw. Rates are per minute; None before the second look."""

    now: int
    queues: Summary
    destinations: Summary
    reasons: Summary
    oldest: list[Message]
    stuck: int = 0  # messages older than STUCK that are not on hold
    arrivals: float | None = None
    departures: float | None = None
    estimated: bool = False  # whether the rates come from a sample


class Turnover:
    """How many came and went between two looks at a changing set, in bounded memory."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._mask = 0
        self._before: set[int] | None = None
        self._seen: set[int] = set()

    @property
    def is_sample(self) -> bool:
        return self._mask != 0

    def see(self, identity: Any) -> None:
        number = hash(identity)
        if number & self._mask:
            return
        self._seen.add(number)
        if len(self._seen) > self._remembered:  # look at every second one from here on
            self._mask = self._mask * 2 + 1
            self._seen = {one for one in self._seen if not one & self._mask}
            if self._before is not None:
                self._before = {one for one in self._before if not one & self._mask}

    def end_look(self) -> tuple[int, int] | None:
        """(came, went) since the last look; None at the first."""
        before, seen = self._before, self._seen
        self._before, self._seen = seen, set()
        if before is None:
            return None
        times = self._mask + 1
        if self._mask and len(seen) * times * 4 < self._remembered:  # small again: all of it next time
            self._mask, self._before = 0, None
        return len(seen - before) * times, len(before - seen) * times

    def forget_look(self) -> None:
        """Drop an unfinished look: what it did not see has not gone."""
        self._seen = set()


@dataclass(slots=True)
class Watcher:
    """Shown the queue again and again, tells what changed."""

    turnover: Turnover = field(default_factory=Turnover)
    _looks: deque[tuple[float, float, int, int]] = field(default_factory=lambda: deque(maxlen=1000))
    _last: float | None = None  # the moment of the last look that saw everything

    def look(self, messages: Iterable[Message], now: float) -> Frame:
        """One look at all messages. What the reading raises leaves the watcher as it was."""
        moment = int(now)
        frame = Frame(
            moment,
            counting.start("queue", moment),
            counting.start("recipient-domain", moment),
            counting.start("reason", moment),
            [],
        )
        oldest: list[tuple[int, int, Message]] = []
        try:
            for number, message in enumerate(messages):
                self._count(frame, message)
                if message.queue_name != "hold":
                    item = (-message.arrival_time, number, message)
                    if len(oldest) < OLDEST:
                        heapq.heappush(oldest, item)
                    elif item > oldest[0]:
                        heapq.heapreplace(oldest, item)
        except BaseException:
            self.turnover.forget_look()
            raise
        frame.oldest = [message for *_, message in sorted(oldest, reverse=True)]
        self._rate(frame, now)
        return frame

    def _count(self, frame: Frame, message: Message) -> None:
        for summary in (frame.queues, frame.destinations, frame.reasons):
            counting.add(summary, message)
            if summary.is_full:
                summary.spill()
        self.turnover.see(message.identity)
        if message.queue_name != "hold" and frame.now - message.arrival_time > STUCK:
            frame.stuck += 1

    def _rate(self, frame: Frame, now: float) -> None:
        changed = self.turnover.end_look()
        last, self._last = self._last, now
        if changed is not None and last is not None:
            self._looks.append((last, now, *changed))
        while self._looks and now - self._looks[0][1] > SPAN:
            self._looks.popleft()
        if changed is None or not self._looks:
            return
        minutes = max(now - self._looks[0][0], 1.0) / 60
        frame.arrivals = sum(came for *_, came, _ in self._looks) / minutes
        frame.departures = sum(went for *_, went in self._looks) / minutes
        frame.estimated = self.turnover.is_sample
