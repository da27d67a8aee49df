"""The messages of an action under way: each is settled once, and what we hold of them can be put back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from postmaster.errors import NotFoundError, PostmasterError
from postmaster.postfix import postsuper
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import locate
from postmaster.queue.action import Done, Options, Progress, Result
from postmaster.queue.fate import Watch
from postmaster.queue.message import Message
from postmaster.queue.store import Item, Store


@dataclass(slots=True)
class Work:
    """A message that is acted on, and where it stands. `item` is its number in the action."""

    item: int
    message: Message
    place: Instance
    held: bool = False  # by us: to be put back unless it is acted on
    until: float = 0.0  # when waiting for its lock ends
    path: str = ""
    descriptor: int = -1
    note: str | None = None
    step: str | None = None
    settled: bool = False

    @property
    def queue(self) -> str:
        """The queue in which it is acted on: what can be held is there."""
        name = self.message.queue_name
        return name if name in ("maildrop", "corrupt") else "hold"


class Run:
    """An action under way. What is settled is in `result`, and with `write` in the record."""

    def __init__(
        self,
        items: Sequence[Item],
        options: Options,
        store: Store,
        number: int,
        places: Mapping[str, Instance],
        watch: Watch,
        progress: Progress,
    ) -> None:
        self.options = options
        self.store = store
        self.number = number
        self.watch = watch
        self.result = Result(number, options.verb.value)
        self.gone: list[Work] = []  # left the queue: the log will say how
        self.marked: list[Work] = []  # expired, and followed to the bounce
        self.works = [self._work(item, places) for item in items]
        self._progress = progress
        self._unwritten: list[tuple[int, str, str | None]] = []

    @staticmethod
    def _work(item: Item, places: Mapping[str, Instance]) -> Work:
        place = places.get(item.message.instance)
        if place is None:
            raise NotFoundError(f"there is no Postfix instance {item.message.instance}")
        return Work(item.number, item.message, place, step=item.step)

    def settle(self, work: Work, outcome: str, detail: str | None = None) -> None:
        """What became of a message is known."""
        close(work)
        work.settled = True
        detail = "; ".join(filter(None, (work.note, detail))) or None
        self.result.done.append(Done(work.message, outcome, detail))
        self._unwritten.append((work.item, outcome, detail))

    def write(self) -> None:
        """Write down what is settled since the last time, and tell how many are."""
        if self._unwritten:
            self.store.settle(self.number, self._unwritten)
            self._unwritten.clear()
        self._progress(len(self.result.done))

    def abandon(self, why: str) -> None:
        """Put back what we hold, and settle the rest as it is."""
        held = [work for work in self.works if work.held and not work.settled]
        left = [work for work in self.works if not work.settled]
        for work in left:
            close(work)
        with suppress(PostmasterError):
            self.release(held)
        gone = {id(work) for work in self.gone}
        for work in left:
            if work in self.marked:
                self.settle(work, "waiting", f"it will be returned; not followed: {why}")
            elif id(work) in gone:
                self.settle(work, *self.watch.fate(work.message).outcome())
            elif not work.held:
                self.settle(work, "left", why)
            else:
                self.settle(work, "failed", f"left on hold: {why}")
        with suppress(PostmasterError):
            self.write()
            self.store.end(self.number)

    def release(self, works: Sequence[Work]) -> None:
        """Put back what we hold. Those that Postfix released are no longer ours."""
        for place, own in by_place(works):
            for work in own:
                close(work)
            answer = postsuper.release(place.config_directory, [work.message.queue_id for work in own])
            for work in own:
                if work.message.queue_id in answer.done:
                    work.held = False

    def put_back(self, place: Instance, works: Sequence[Work]) -> None:
        """What was held and not acted on goes back; what stays is told."""
        if not works:
            return
        self.release(works)
        for work in works:
            if work.held and locate(place, work.message.queue_id, ("hold",)) is not None:
                for done in self.result.done:
                    if done.message is work.message:
                        done.detail = "; ".join(filter(None, (done.detail, "it stays on hold")))
                        self._unwritten.append((work.item, done.outcome, done.detail))
            work.held = False

    def done_by(self, answer: postsuper.Answer, works: Sequence[Work]) -> list[Work]:
        """Those of which it was done, by Postfix's own words; the others are settled, still held."""
        done = []
        for work in works:
            if work.message.queue_id in answer.done:
                work.held = False
                done.append(work)
            elif locate(work.place, work.message.queue_id) is None:
                work.held = False
                self.gone.append(work)
            else:
                self.settle(work, "failed", answer.complaint or "Postfix did not do it")
        return done


def by_place(works: Iterable[Work]) -> list[tuple[Instance, list[Work]]]:
    """The works of each instance."""
    found: dict[str, tuple[Instance, list[Work]]] = {}
    for work in works:
        found.setdefault(work.place.name, (work.place, []))[1].append(work)
    return list(found.values())


def close(work: Work) -> None:
    """Let go of its file, and of the lock on it."""
    if work.descriptor >= 0:
        os.close(work.descriptor)
        work.descriptor = -1
