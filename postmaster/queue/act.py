"""Acting on messages so that none is lost, none is delivered twice, and none is mistaken for another.

A message moves while it is looked at, and a short queue ID is used again. So every action first puts the
message on hold, waits until no delivery has its file locked, and looks again: ID, arrival, sender, size and
the recipients that remain. Only then it acts, on a file that nobody moves any more. What was found:

- the same message: it is acted on;
- fewer recipients, as some were delivered meanwhile: it is acted on if the filter still selects it;
- no recipient left: its delivery had begun before it was held. It is released, and Postfix finishes it as it
  would have (sends the notifications that are due, removes it). It is told as delivered or returned;
- another message under this ID, or a recipient that was not there: left alone, and put back if we held it;
- still locked after the wait: put back, told as busy.

Put back means released from hold, into deferred with the next retry it had; what was on hold before the
action stays there. `maildrop` cannot be held: what lies there can be deleted, and one that was being
taken in at that moment is told so. Counts are of what Postfix itself said that it did.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from postmaster.errors import NotFoundError, PostmasterError, ServerError
from postmaster.postfix import postsuper, spool
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import is_ready, locate
from postmaster.queue import redirect, trash
from postmaster.queue.fate import LOG_DELAY, PAUSE, Watch
from postmaster.queue.maildrop import taken_by_pickup
from postmaster.queue.message import Message
from postmaster.queue.sameness import comparable, differs
from postmaster.queue.store import Item, Store

BATCH = 500  # messages held at a time; each has its file open
HOLD_TRIES = 3  # a message that moves between two queues can be missed once
BOUNCE_WAIT = 60.0  # seconds that a bounce is waited for
STILL = ("hold", "maildrop", "corrupt")  # queues whose messages need not, or cannot, be held
MAY_BE_SENT = "it may have been sent on before the interruption: it stays on hold; delete or release it"


class Verb(StrEnum):
    """The actions that go through hold. Flushing needs none (`pace.py`)."""

    hold = "hold"
    release = "release"
    requeue = "requeue"
    bounce = "bounce"
    delete = "delete"
    redirect = "redirect"


#: What a message is called after the action. Every other outcome says why not.
DONE = {
    Verb.hold: "held",
    Verb.release: "released",
    Verb.requeue: "requeued",
    Verb.bounce: "bounced",
    Verb.delete: "deleted",
    Verb.redirect: "redirected",
}


@dataclass(slots=True)
class Done:
    """What became of one message, and more about it where there is more to say."""

    message: Message
    outcome: str
    detail: str | None = None


@dataclass(slots=True)
class Result:
    """An action's end. `number` is its number in the history."""

    number: int
    verb: str
    done: list[Done] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter(one.outcome for one in self.done)


@dataclass(frozen=True, slots=True)
class Options:
    """How to act. `still` is the filter, asked again about a message that lost recipients meanwhile."""

    verb: Verb
    still: Callable[[Message], bool] | None = None
    keep_copy: bool = True
    address: str = ""  # where redirect sends
    lock_wait: float = 30.0
    bounce_wait: float = BOUNCE_WAIT


Progress = Callable[[int], None]  # is told how many messages are settled


@dataclass(slots=True)
class _Work:
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


def act(
    messages: Sequence[Item],
    options: Options,
    *,
    store: Store,
    number: int,
    places: Mapping[str, Instance],
    watch: Watch,
    progress: Progress = lambda _: None,
    resumed: bool = False,
) -> Result:
    """Act on the messages of an action that is written down already, and settle each of them.

    `resumed`: an interrupted action goes on, so what is on hold now and was not before is ours.
    Interrupted by the keyboard, it puts back what it holds and settles the rest as left alone.
    Raises ServerError when Postfix's tools fail altogether; then, too, nothing is left on hold.
    """
    run = _Run(options, store, number, places, watch, progress, resumed)
    return run.all(messages)


class _Run:
    def __init__(
        self,
        options: Options,
        store: Store,
        number: int,
        places: Mapping[str, Instance],
        watch: Watch,
        progress: Progress,
        resumed: bool,
    ) -> None:
        self._options = options
        self._store = store
        self._number = number
        self._places = places
        self._watch = watch
        self._progress = progress
        self._resumed = resumed
        self._result = Result(number, options.verb.value)
        self._unwritten: list[tuple[int, str, str | None]] = []
        self._waiting: list[_Work] = []  # held, and still being delivered
        self._gone: list[_Work] = []  # left the queue: the log will say how
        self._marked: list[_Work] = []  # expired, and followed to the bounce
        self._works: list[_Work] = []

    def all(self, items: Sequence[Item]) -> Result:
        self._works = [self._work(item) for item in items]
        self._watch.follow(work.message for work in self._works)
        try:
            for batch in _batches(self._works):
                self._batch(batch)
                self._write()
            self._wait_for_locks()
            self._tell_gone()
            self._follow_bounces()
            self._write()
        except BaseException as error:
            self._abandon("interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
            raise
        finally:
            for work in self._works:
                _close(work)
        self._store.end(self._number)
        return self._result

    def _work(self, item: Item) -> _Work:
        place = self._places.get(item.message.instance)
        if place is None:
            raise NotFoundError(f"there is no Postfix instance {item.message.instance}")
        return _Work(item.number, item.message, place, step=item.step)

    # Settling

    def _settle(self, work: _Work, outcome: str, detail: str | None = None) -> None:
        _close(work)
        work.settled = True
        detail = "; ".join(filter(None, (work.note, detail))) or None
        self._result.done.append(Done(work.message, outcome, detail))
        self._unwritten.append((work.item, outcome, detail))

    def _write(self) -> None:
        if self._unwritten:
            self._store.settle(self._number, self._unwritten)
            self._unwritten.clear()
        self._progress(len(self._result.done))

    def _abandon(self, why: str) -> None:
        """Put back what we hold, and settle the rest as it is."""
        held = [work for work in self._works if work.held and not work.settled]
        left = [work for work in self._works if not work.settled]
        for work in left:
            _close(work)
        with suppress(PostmasterError):
            self._release(held)
        gone = {id(work) for work in self._gone}
        for work in left:
            if work in self._marked:
                self._settle(work, "waiting", f"it will be returned; not followed: {why}")
            elif id(work) in gone:
                self._settle(work, *self._watch.fate(work.message).outcome())
            elif not work.held:
                self._settle(work, "left", why)
            else:
                self._settle(work, "failed", f"left on hold: {why}")
        with suppress(PostmasterError):
            self._write()
            self._store.end(self._number)

    def _release(self, works: Sequence[_Work]) -> None:
        """Put back what we hold. Those that Postfix released are no longer ours."""
        for place, own in _by_place(works):
            for work in own:
                _close(work)
            answer = postsuper.release(place.config_directory, [work.message.queue_id for work in own])
            for work in own:
                if work.message.queue_id in answer.done:
                    work.held = False

    # The way of a batch: hold, wait for the lock, look again, act

    def _batch(self, works: Sequence[_Work]) -> None:
        place = works[0].place
        plain = [work for work in works if work.message.queue_name not in STILL]
        if self._options.verb is Verb.release:
            looked_at = list(works)
        else:
            looked_at = self._hold(place, plain)
            looked_at += [work for work in works if work.message.queue_name in STILL]
        self._look_and_act(place, looked_at)

    def _hold(self, place: Instance, works: list[_Work]) -> list[_Work]:
        """Put them on hold; those that are there afterwards."""
        waiting, inside = works, []
        complaint: str | None = None
        for _ in range(HOLD_TRIES):
            if not waiting:
                break
            for work in waiting:
                work.held = True  # before: a kill by the keyboard between the two must put them back
            answer = postsuper.hold(place.config_directory, [work.message.queue_id for work in waiting])
            complaint = answer.complaint
            missed = []
            for work in waiting:
                work.held = work.message.queue_id in answer.done
                if work.held:
                    inside.append(work)
                    continue
                found = locate(place, work.message.queue_id)
                if found is None:
                    self._gone.append(work)
                elif found[0] == "hold":
                    work.held = self._resumed
                    inside.append(work)
                elif found[0] in ("maildrop", "corrupt"):
                    self._settle(work, "changed", f"it is in {found[0]} now")
                elif not is_ready(found[2]):
                    self._settle(work, "left", "it is being written")
                else:
                    missed.append(work)
            waiting = missed
        for work in waiting:
            self._settle(work, "failed", complaint or "Postfix did not put it on hold")
        if complaint is not None and not inside:
            raise ServerError(f"postsuper failed: {complaint}", hint="see the mail log")
        return inside

    def _look_and_act(self, place: Instance, works: Iterable[_Work]) -> None:
        ready, finished = [], []
        for work in works:
            verdict = self._look(work)
            if verdict == "ready":
                ready.append(work)
            elif verdict == "finished":
                finished.append(work)
            elif verdict == "busy":
                if not work.until:
                    work.until = time.monotonic() + self._options.lock_wait
                self._waiting.append(work)
        self._finish(place, finished)
        if ready:
            _ACTS[self._options.verb](self, place, ready)
        self._put_back(place, [work for work in works if work.settled and work.held])

    def _put_back(self, place: Instance, works: Sequence[_Work]) -> None:
        """What was held and not acted on goes back; what stays is told."""
        if not works:
            return
        self._release(works)
        for work in works:
            if work.held and locate(place, work.message.queue_id, ("hold",)) is not None:
                for done in self._result.done:
                    if done.message is work.message:
                        done.detail = "; ".join(filter(None, (done.detail, "it stays on hold")))
                        self._unwritten.append((work.item, done.outcome, done.detail))
            work.held = False

    def _look(self, work: _Work) -> str | None:
        """ready, finished or busy; None when it is settled."""
        message = work.message
        queue = message.queue_name if message.queue_name in ("maildrop", "corrupt") else "hold"
        found = locate(work.place, message.queue_id, (queue,))
        if found is None:
            elsewhere = locate(work.place, message.queue_id)
            if elsewhere is None:
                self._gone.append(work)
            elif self._options.verb is Verb.release:
                self._settle(work, "left", f"it is not on hold but in {elsewhere[0]}")
            else:
                self._settle(work, "changed", f"someone moved it to {elsewhere[0]}")
            work.held = False
            return None
        if queue != "hold" and self._options.verb is not Verb.delete:
            self._settle(work, "left", f"what is in {queue} can only be deleted")
            return None
        work.path = found[1]
        try:
            work.descriptor = os.open(work.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._gone.append(work)
            return None
        except OSError as error:
            self._settle(work, "failed", f"its file cannot be read: {error.strerror}")
            return None
        try:
            fcntl.flock(work.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _close(work)
            return "busy"
        return self._compare(work)

    def _compare(self, work: _Work) -> str | None:
        message = work.message
        envelope = spool.read_envelope(work.descriptor)
        difference = differs(message, envelope, os.fstat(work.descriptor))
        if difference is not None:
            self._settle(work, "changed", difference)
            return None
        planned = {comparable(one.address) for one in message.recipients}
        left = {comparable(one.address) for one in envelope.recipients if not one.done}
        if message.queue_name in ("maildrop", "corrupt"):
            return "ready"
        if planned and not left:
            return "finished"
        if left - planned:
            self._settle(work, "changed", "it has recipients that it did not have")
            return None
        if left < planned:
            remaining = [one for one in message.recipients if comparable(one.address) in left]
            work.note = f"{len(planned) - len(left)} of its recipients were finished meanwhile"
            fresh = replace(message, recipients=remaining, path=work.path)  # where its header is now
            if self._options.still is not None and not self._options.still(fresh):
                self._settle(work, "changed", "the filter does not select it any more")
                return None
            work.message = fresh
        return "ready"

    def _finish(self, place: Instance, works: Sequence[_Work]) -> None:
        """No recipient is left: Postfix itself ends it, with the notifications that are due."""
        if not works:
            return
        self._release(works)
        for work in works:
            work.held = False
            with suppress(PostmasterError):
                postfix_queue.flush_messages(place.config_directory, [work.message.queue_id])
            work.note = "its delivery had begun"
            self._gone.append(work)

    # What is done with messages that are ready

    def _split(self, works: Sequence[_Work], answer: postsuper.Answer) -> tuple[list[_Work], list[_Work]]:
        """(done, not done) by Postfix's own words; the latter are settled, still held."""
        done = [work for work in works if work.message.queue_id in answer.done]
        failed = [work for work in works if work.message.queue_id not in answer.done]
        for work in done:
            work.held = False
        for work in failed:
            if locate(work.place, work.message.queue_id) is None:
                work.held = False
                self._gone.append(work)
            else:
                self._settle(work, "failed", answer.complaint or "Postfix did not do it")
        return done, failed

    def _do_hold(self, _place: Instance, works: Sequence[_Work]) -> None:
        for work in works:
            self._settle(work, "held", None if work.held else "it was on hold already")
            work.held = False

    def _do_release(self, place: Instance, works: Sequence[_Work]) -> None:
        for work in works:
            _close(work)
        answer = postsuper.release(place.config_directory, [work.message.queue_id for work in works])
        for work in self._split(works, answer)[0]:
            self._settle(work, "released")

    def _do_requeue(self, place: Instance, works: Sequence[_Work]) -> None:
        for work in works:
            _close(work)
        answer = postsuper.requeue(place.config_directory, [work.message.queue_id for work in works])
        for work in self._split(works, answer)[0]:
            self._settle(work, "requeued")  # pickup takes it within a minute, under a new ID

    def _do_bounce(self, place: Instance, works: Sequence[_Work]) -> None:
        for work in works:
            _close(work)
        ids = [work.message.queue_id for work in works]
        done, _ = self._split(works, postsuper.expire(place.config_directory, ids, free=True))
        for work in done:
            self._marked.append(work)
            with suppress(PostmasterError):  # else it is returned when its turn comes
                postfix_queue.flush_messages(place.config_directory, [work.message.queue_id])

    def _do_delete(self, place: Instance, works: Sequence[_Work]) -> None:
        for queue in ("hold", "maildrop", "corrupt"):
            own = [
                work
                for work in works
                if (work.message.queue_name if work.message.queue_name in ("maildrop", "corrupt") else "hold")
                == queue
            ]
            if own:
                self._delete(place, queue, self._copied(own))

    def _copied(self, works: Sequence[_Work]) -> list[_Work]:
        """Those with a copy on disk; all of them where none is wanted."""
        if not self._options.keep_copy:
            return list(works)
        copying = trash.Copying(self._store, self._number)
        copied = []
        for work in works:
            try:
                copying.add(work.message, work.descriptor)
                copied.append(work)
            except OSError as error:
                self._settle(work, "failed", f"no copy could be made: {error.strerror}")
        try:
            copying.keep()
        except OSError as error:
            for work in copied:
                self._settle(work, "failed", f"no copy could be kept: {error.strerror}")
            return []
        return copied

    def _delete(self, place: Instance, queue: str, works: Sequence[_Work]) -> None:
        if queue == "corrupt":
            answer = _unlink_corrupt(works)
        else:
            ids = [work.message.queue_id for work in works]
            answer = postsuper.delete(place.config_directory, ids, [queue])
        done, _ = self._split(works, answer)
        taken: set[str] = set()
        if queue == "maildrop":
            taken = taken_by_pickup(place, {work.message.queue_id: work.descriptor for work in done})
        gone = answer.done - taken
        if self._options.keep_copy:
            self._store.set_copies("deleted", [w.message for w in works if w.message.queue_id in gone])
            self._discard(w.message for w in works if w.message.queue_id not in gone)
        for work in done:
            if work.message.queue_id in taken:
                self._settle(work, "changed", "it was just taken into the queue, under a new ID")
            else:
                self._settle(work, "deleted")

    def _do_redirect(self, place: Instance, works: Sequence[_Work]) -> None:
        for work in self._copied(works):
            if work.step == "sending":
                work.held = False
                self._settle(work, "failed", MAY_BE_SENT)
                continue
            try:
                if work.step is None:
                    self._store.step(self._number, work.item, "sending")
                    redirect.resend(place, work.message, work.descriptor, self._options.address)
                    self._store.step(self._number, work.item, "sent")
            except PostmasterError as error:
                self._store.step(self._number, work.item, None)
                self._settle(work, "failed", error.message)
                self._discard([work.message])
                continue
            answer = postsuper.delete(place.config_directory, [work.message.queue_id])
            if work.message.queue_id in answer.done:
                work.held = False
                self._store.set_copies("deleted", [work.message])
                self._settle(work, "redirected")
            else:
                work.held = False  # on hold is where it must stay: it was sent on
                self._settle(work, "failed", "it was sent on, but the old one could not be deleted: on hold")

    def _discard(self, messages: Iterable[Message]) -> None:
        """Away with the copies of messages that were not deleted after all."""
        copies = [copy for one in messages if (copy := self._store.copy_of(one)) is not None]
        trash.discard(self._store, copies)

    # What is told at the end

    def _wait_for_locks(self) -> None:
        while self._waiting:
            time.sleep(PAUSE)
            waiting, self._waiting = self._waiting, []
            late = [work for work in waiting if time.monotonic() > work.until]
            for place, own in _by_place(waiting):
                self._look_and_act(place, own)
            for work in [work for work in self._waiting if work in late]:
                self._waiting.remove(work)
                self._settle(work, "busy", f"still being delivered after {self._options.lock_wait:g} s")
                self._put_back(work.place, [work])
            self._write()

    def _tell_gone(self) -> None:
        messages = [work.message for work in self._gone]
        self._watch.wait(messages, lambda fate: fate.is_over, LOG_DELAY)
        for work in self._gone:
            outcome, detail = self._watch.fate(work.message).outcome()
            if outcome == "vanished" and work.note is not None:
                bounced = self._watch.fate(work.message).of_status("bounced")
                outcome, detail = ("returned", bounced[0].text) if bounced else ("delivered", None)
            self._settle(work, outcome, detail)
        self._gone.clear()

    def _follow_bounces(self) -> None:
        ends = time.monotonic() + self._options.bounce_wait
        while self._marked:
            self._watch.poll()
            for work in list(self._marked):
                fate = self._watch.fate(work.message)
                if self._watch.readable:
                    if not (fate.expired and fate.removed_by):
                        continue
                elif locate(work.place, work.message.queue_id) is not None:
                    continue
                self._marked.remove(work)
                self._settle(work, "bounced", f"notified by {fate.notified}" if fate.notified else None)
            self._write()
            if not self._marked:
                return
            if time.monotonic() > ends:
                for work in self._marked:
                    self._settle(work, "waiting", "it is marked: Postfix returns it when it opens it next")
                self._marked.clear()
                return
            time.sleep(PAUSE)


_ACTS: dict[Verb, Callable[[_Run, Instance, Sequence[_Work]], None]] = {
    Verb.hold: _Run._do_hold,
    Verb.release: _Run._do_release,
    Verb.requeue: _Run._do_requeue,
    Verb.bounce: _Run._do_bounce,
    Verb.delete: _Run._do_delete,
    Verb.redirect: _Run._do_redirect,
}


def _batches(works: Sequence[_Work]) -> Iterator[list[_Work]]:
    """Batches of one instance, in which no ID comes twice."""
    for _, own in _by_place(works):
        left = own
        while left:
            batch: dict[str, _Work] = {}
            rest = []
            for work in left:
                if len(batch) < BATCH and work.message.queue_id not in batch:
                    batch[work.message.queue_id] = work
                else:
                    rest.append(work)
            left = rest
            yield list(batch.values())


def _by_place(works: Iterable[_Work]) -> list[tuple[Instance, list[_Work]]]:
    found: dict[str, tuple[Instance, list[_Work]]] = {}
    for work in works:
        found.setdefault(work.place.name, (work.place, []))[1].append(work)
    return list(found.values())


def _close(work: _Work) -> None:
    if work.descriptor >= 0:
        os.close(work.descriptor)
        work.descriptor = -1


def _unlink_corrupt(works: Sequence[_Work]) -> postsuper.Answer:
    """Postfix has no tool for `corrupt`, and none of its daemons touches what is there."""
    done = set()
    for work in works:
        with suppress(OSError):
            Path(work.path).unlink()
            done.add(work.message.queue_id)
    return postsuper.Answer(frozenset(done), len(done), None)
