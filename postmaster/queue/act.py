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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from postmaster.errors import PostmasterError, ServerError
from postmaster.postfix import postsuper, spool
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import is_ready, locate
from postmaster.postfix.queue_file import read_envelope
from postmaster.queue.action import Options, Progress, Result, Verb
from postmaster.queue.doing import DEEDS
from postmaster.queue.fate import LOG_DELAY, PAUSE, Watch
from postmaster.queue.sameness import comparable, differs
from postmaster.queue.store import Item, Store
from postmaster.queue.work import Run, Work, by_place, close

BATCH = 500  # messages held at a time; each has its file open
HOLD_TRIES = 3  # a message that moves between two queues can be missed once
STILL = ("hold", "maildrop", "corrupt")  # queues whose messages need not, or cannot, be held


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
    run = Run(messages, options, store, number, places, watch, progress)
    return _Acting(run, resumed=resumed).all()


class _Acting:
    """The way of all messages of an action, to the word about each."""

    def __init__(self, run: Run, *, resumed: bool) -> None:
        self._run = run
        self._options = run.options
        self._watch = run.watch
        self._resumed = resumed
        self._waiting: list[Work] = []  # held, and still being delivered

    def all(self) -> Result:
        run = self._run
        self._watch.follow(work.message for work in run.works)
        try:
            for batch in _batches(run.works):
                self._batch(batch)
                run.write()
            self._wait_for_locks()
            self._tell_gone()
            self._follow_bounces()
            run.write()
        except BaseException as error:
            run.abandon("interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
            raise
        finally:
            for work in run.works:
                close(work)
        run.store.end(run.number)
        return run.result

    # The way of a batch: hold, wait for the lock, look again, act

    def _batch(self, works: Sequence[Work]) -> None:
        place = works[0].place
        plain = [work for work in works if work.message.queue_name not in STILL]
        if self._options.verb is Verb.release:
            looked_at = list(works)
        else:
            looked_at = self._hold(place, plain)
            looked_at += [work for work in works if work.message.queue_name in STILL]
        self._look_and_act(place, looked_at)

    def _hold(self, place: Instance, works: list[Work]) -> list[Work]:
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
                    self._run.gone.append(work)
                elif found[0] == "hold":
                    work.held = self._resumed
                    inside.append(work)
                elif found[0] in ("maildrop", "corrupt"):
                    self._run.settle(work, "changed", f"it is in {found[0]} now")
                elif not is_ready(found[2]):
                    self._run.settle(work, "left", "it is being written")
                else:
                    missed.append(work)
            waiting = missed
        for work in waiting:
            self._run.settle(work, "failed", complaint or "Postfix did not put it on hold")
        if complaint is not None and not inside:
            raise ServerError(f"postsuper failed: {complaint}", hint="see the mail log")
        return inside

    def _look_and_act(self, place: Instance, works: Iterable[Work]) -> None:
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
            DEEDS[self._options.verb](self._run, place, ready)
        self._run.put_back(place, [work for work in works if work.settled and work.held])

    def _look(self, work: Work) -> str | None:
        """ready, finished or busy; None when it is settled."""
        message = work.message
        found = locate(work.place, message.queue_id, (work.queue,))
        if found is None:
            elsewhere = locate(work.place, message.queue_id)
            if elsewhere is None:
                self._run.gone.append(work)
            elif self._options.verb is Verb.release:
                self._run.settle(work, "left", f"it is not on hold but in {elsewhere[0]}")
            else:
                self._run.settle(work, "changed", f"someone moved it to {elsewhere[0]}")
            work.held = False
            return None
        if work.queue != "hold" and self._options.verb is not Verb.delete:
            self._run.settle(work, "left", f"what is in {work.queue} can only be deleted")
            return None
        work.path = found[1]
        try:
            work.descriptor = spool.open_file(work.path)
        except FileNotFoundError:
            self._run.gone.append(work)
            return None
        except OSError as error:
            self._run.settle(work, "failed", f"its file cannot be read: {error.strerror}")
            return None
        try:
            fcntl.flock(work.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            close(work)
            return "busy"
        return self._compare(work)

    def _compare(self, work: Work) -> str | None:
        message = work.message
        envelope = read_envelope(work.descriptor)
        difference = differs(message, envelope, os.fstat(work.descriptor))
        if difference is not None:
            self._run.settle(work, "changed", difference)
            return None
        planned = {comparable(one.address) for one in message.recipients}
        left = {comparable(one.address) for one in envelope.recipients if not one.done}
        if work.queue != "hold":
            return "ready"
        if planned and not left:
            return "finished"
        if left - planned:
            self._run.settle(work, "changed", "it has recipients that it did not have")
            return None
        if left < planned:
            remaining = [one for one in message.recipients if comparable(one.address) in left]
            work.note = f"{len(planned) - len(left)} of its recipients were finished meanwhile"
            fresh = replace(message, recipients=remaining, path=work.path)  # where its header is now
            if self._options.still is not None and not self._options.still(fresh):
                self._run.settle(work, "changed", "the filter does not select it any more")
                return None
            work.message = fresh
        return "ready"

    def _finish(self, place: Instance, works: Sequence[Work]) -> None:
        """No recipient is left: Postfix itself ends it, with the notifications that are due."""
        if not works:
            return
        self._run.release(works)
        for work in works:
            work.held = False
            with suppress(PostmasterError):
                postfix_queue.flush_messages(place.config_directory, [work.message.queue_id])
            work.note = "its delivery had begun"
            self._run.gone.append(work)

    # What is told at the end

    def _wait_for_locks(self) -> None:
        while self._waiting:
            time.sleep(PAUSE)
            waiting, self._waiting = self._waiting, []
            late = [work for work in waiting if time.monotonic() > work.until]
            for place, own in by_place(waiting):
                self._look_and_act(place, own)
            for work in [work for work in self._waiting if work in late]:
                self._waiting.remove(work)
                self._run.settle(work, "busy", f"still being delivered after {self._options.lock_wait:g} s")
                self._run.put_back(work.place, [work])
            self._run.write()

    def _tell_gone(self) -> None:
        messages = [work.message for work in self._run.gone]
        self._watch.wait(messages, lambda fate: fate.is_over, LOG_DELAY)
        for work in self._run.gone:
            outcome, detail = self._watch.fate(work.message).outcome()
            if outcome == "vanished" and work.note is not None:
                bounced = self._watch.fate(work.message).of_status("bounced")
                outcome, detail = ("returned", bounced[0].text) if bounced else ("delivered", None)
            self._run.settle(work, outcome, detail)
        self._run.gone.clear()

    def _follow_bounces(self) -> None:
        ends = time.monotonic() + self._options.bounce_wait
        while self._run.marked:
            self._watch.poll()
            for work in list(self._run.marked):
                fate = self._watch.fate(work.message)
                if self._watch.readable:
                    if not (fate.expired and fate.removed_by):
                        continue
                elif locate(work.place, work.message.queue_id) is not None:
                    continue
                self._run.marked.remove(work)
                self._run.settle(work, "bounced", f"notified by {fate.notified}" if fate.notified else None)
            self._run.write()
            if not self._run.marked:
                return
            if time.monotonic() > ends:
                for work in self._run.marked:
                    self._run.settle(
                        work, "waiting", "it is marked: Postfix returns it when it opens it next"
                    )
                self._run.marked.clear()
                return
            time.sleep(PAUSE)


def _batches(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Batches of one instance, in which no ID comes twice."""
    for _, own in by_place(works):
        left = own
        while left:
            batch: dict[str, Work] = {}
            rest = []
            for work in left:
                if len(batch) < BATCH and work.message.queue_id not in batch:
                    batch[work.message.queue_id] = work
                else:
                    rest.append(work)
            left = rest
            yield list(batch.values())
