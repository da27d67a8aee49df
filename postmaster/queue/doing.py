"""What an action does with messages that are ready for it: on hold, unlocked, the same as they were.

Each deed settles its messages, or leaves them to the end where only the log tells what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from postmaster.errors import PostmasterError
from postmaster.postfix import postsuper
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.instances import Instance
from postmaster.queue import redirect, trash
from postmaster.queue.action import MAY_BE_SENT, Verb
from postmaster.queue.maildrop import taken_by_pickup
from postmaster.queue.message import Message
from postmaster.queue.work import Run, Work, close


def _hold(run: Run, _place: Instance, works: Sequence[Work]) -> None:
    for work in works:
        run.settle(work, "held", None if work.held else "it was on hold already")
        work.held = False


def _release(run: Run, place: Instance, works: Sequence[Work]) -> None:
    for work in _told(run, place, works, postsuper.release):
        run.settle(work, "released")


def _requeue(run: Run, place: Instance, works: Sequence[Work]) -> None:
    for work in _told(run, place, works, postsuper.requeue):
        run.settle(work, "requeued")  # pickup takes it within a minute, under a new ID


def _bounce(run: Run, place: Instance, works: Sequence[Work]) -> None:
    for work in _told(run, place, works, partial(postsuper.expire, free=True)):
        run.marked.append(work)
        with suppress(PostmasterError):  # else it is returned when its turn comes
            postfix_queue.flush_messages(place.config_directory, [work.message.queue_id])


def _told(
    run: Run,
    place: Instance,
    works: Sequence[Work],
    tell: Callable[[Path, Sequence[str]], postsuper.Answer],
) -> list[Work]:
    """Let go of the files, and let Postfix do it: those of which it says that it did."""
    for work in works:
        close(work)
    answer = tell(place.config_directory, [work.message.queue_id for work in works])
    return run.done_by(answer, works)


def _delete(run: Run, place: Instance, works: Sequence[Work]) -> None:
    for queue in ("hold", "maildrop", "corrupt"):
        own = [work for work in works if work.queue == queue]
        if own:
            _delete_from(run, place, queue, _copied(run, own))


def _copied(run: Run, works: Sequence[Work]) -> list[Work]:
    """Those with a copy on disk; all of them where none is wanted."""
    if not run.options.keep_copy:
        return list(works)
    copying = trash.Copying(run.store, run.number)
    copied = []
    for work in works:
        try:
            copying.add(work.message, work.descriptor)
            copied.append(work)
        except OSError as error:
            run.settle(work, "failed", f"no copy could be made: {error.strerror}")
    try:
        copying.keep()
    except OSError as error:
        for work in copied:
            run.settle(work, "failed", f"no copy could be kept: {error.strerror}")
        return []
    return copied


def _delete_from(run: Run, place: Instance, queue: str, works: Sequence[Work]) -> None:
    if queue == "corrupt":
        answer = _unlink_corrupt(works)
    else:
        ids = [work.message.queue_id for work in works]
        answer = postsuper.delete(place.config_directory, ids, [queue])
    done = run.done_by(answer, works)
    taken: set[str] = set()
    if queue == "maildrop":
        taken = taken_by_pickup(place, {work.message.queue_id: work.descriptor for work in done})
    gone = answer.done - taken
    if run.options.keep_copy:
        run.store.set_copies("deleted", [w.message for w in works if w.message.queue_id in gone])
        _discard(run, (w.message for w in works if w.message.queue_id not in gone))
    for work in done:
        if work.message.queue_id in taken:
            run.settle(work, "changed", "it was just taken into the queue, under a new ID")
        else:
            run.settle(work, "deleted")


def _redirect(run: Run, place: Instance, works: Sequence[Work]) -> None:
    for work in _copied(run, works):
        if work.step == "sending":
            work.held = False
            run.settle(work, "failed", MAY_BE_SENT)
            continue
        try:
            if work.step is None:
                run.store.step(run.number, work.item, "sending")
                redirect.resend(place, work.message, work.descriptor, run.options.address)
                run.store.step(run.number, work.item, "sent")
        except PostmasterError as error:
            run.store.step(run.number, work.item, None)
            run.settle(work, "failed", error.message)
            _discard(run, [work.message])
            continue
        answer = postsuper.delete(place.config_directory, [work.message.queue_id])
        if work.message.queue_id in answer.done:
            work.held = False
            run.store.set_copies("deleted", [work.message])
            run.settle(work, "redirected")
        else:
            work.held = False  # on hold is where it must stay: it was sent on
            run.settle(work, "failed", "it was sent on, but the old one could not be deleted: on hold")


def _discard(run: Run, messages: Iterable[Message]) -> None:
    """Away with the copies of messages that were not deleted after all."""
    copies = [copy for one in messages if (copy := run.store.copy_of(one)) is not None]
    trash.discard(run.store, copies)


def _unlink_corrupt(works: Sequence[Work]) -> postsuper.Answer:
    """Postfix has no tool for `corrupt`, and none of its daemons touches what is there."""
    done = set()
    for work in works:
        with suppress(OSError):
            Path(work.path).unlink()
            done.add(work.message.queue_id)
    return postsuper.Answer(frozenset(done), len(done), None)


#: What is done with messages that are on hold, unlocked and the same as they were.
DEEDS: dict[Verb, Callable[[Run, Instance, Sequence[Work]], None]] = {
    Verb.hold: _hold,
    Verb.release: _release,
    Verb.requeue: _requeue,
    Verb.bounce: _bounce,
    Verb.delete: _delete,
    Verb.redirect: _redirect,
}
