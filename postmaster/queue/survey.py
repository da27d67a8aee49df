"""The condition of the queue in one pass: what waits where, since when and why, and what is left over.

A survey is a fold over messages with small, picklable state, so all cores read a large queue. Where this
process has threads it must not fork; then a process of its own surveys a large queue (`survey` does that
by itself), and the threads keep the interpreter meanwhile.

Left over are half-written files that nobody writes any more, and logs in `defer`, `bounce` and `trace`
whose message is gone; both are told from a moment's state by their age. What it does not: lock, or tell how
long a message was on hold where the spool may not be read.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix import place, spool
from postmaster.postfix.instances import Instance, chosen
from postmaster.postfix.queue import Listing
from postmaster.process import one_reading, run
from postmaster.queue import summary
from postmaster.queue.message import Message
from postmaster.queue.read import SMALL, count_files, gather, source_of
from postmaster.queue.summary import Group, Summary
from postmaster.settings import Settings

DAY = 86400  # seconds
LONGEST = 600.0  # seconds that a survey by a process of its own may take
PATIENCE = 1.2  # times the time that is left, in which such a process must have told what it has
NAMED = 20  # files that are named of each kind
LOGS = ("defer", "bounce", "trace")
NEED = summary.needs("reason") | {"queue_name", "instance", "expires", "damage", "path"}
WAITING = ("maildrop", "incoming", "active", "deferred")  # queues that empty themselves

_HALF_WRITTEN = "half-written"


@dataclass(slots=True)
class Waiting:
    """The messages of one queue. `oldest` is when the oldest arrived, `since` when the first was held."""

    messages: int = 0
    oldest: int | None = None
    oldest_id: str = ""
    reason: str | None = None  # of the oldest
    since: int | None = None


@dataclass(slots=True)
class Survey:
    """What was found, at `now`. Files are paths, at most NAMED of each kind beside their number."""

    now: int
    stale: int  # seconds
    queues: dict[tuple[str, str], Waiting] = field(default_factory=dict)  # by instance and queue
    expiring: dict[str, int] = field(default_factory=dict)  # messages by instance
    first_to_expire: dict[str, int] = field(default_factory=dict)
    half_written: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)
    orphans: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)  # by instance and kind of file
    reasons: Summary = field(default_factory=lambda: summary.start("reason", 0))  # while it is made
    top: Group | None = None  # what most recipients wait for
    incidents: int = 0  # different reasons
    put_off: int = 0  # recipients that wait for any of them
    unreadable: int = 0
    is_cut: bool = False  # time was up before all was looked at
    instances: list[str] = field(default_factory=list)
    by_postqueue: list[str] = field(default_factory=list)  # instances whose spool may not be read

    @property
    def messages(self) -> int:
        return sum(one.messages for one in self.queues.values())

    def waiting(self, instance: str) -> int:
        """How many messages wait for Postfix, those on hold not counted."""
        return sum(self.queue(instance, queue).messages for queue in WAITING)

    def queue(self, instance: str, queue: str) -> Waiting:
        return self.queues.get((instance, queue)) or Waiting()

    def complete(self, counted: Survey) -> dict[str, int]:
        """Where time was up, take the numbers that names told; gives how many messages were not looked at."""
        unseen: dict[str, int] = {}
        for key, named in counted.queues.items():
            seen = self.queues.setdefault(key, Waiting())
            unseen[key[0]] = unseen.get(key[0], 0) + max(0, named.messages - seen.messages)
            seen.messages = max(seen.messages, named.messages)
        return unseen

    def _note(self, files: dict[str, list[str]], kind: str, instance: str, path: str) -> None:
        self.counts[instance, kind] = self.counts.get((instance, kind), 0) + 1
        named = files.setdefault(instance, [])
        if len(named) < NAMED:
            named.append(path)

    def take(self, message: Message) -> None:
        """Count a message."""
        instance, queue = message.instance, message.queue_name
        key = instance, queue
        if message.damage is not None and queue != "corrupt":
            if not message.damage.startswith(_HALF_WRITTEN):
                self._note(self.damaged, "damaged", instance, message.path or message.queue_id)
            elif (changed := _changed(message.path)) is not None and self.now - changed > self.stale:
                self._note(self.half_written, "half_written", instance, message.path or message.queue_id)
        found = self.queues.get(key)
        if found is None:
            found = self.queues[key] = Waiting()
        found.messages += 1
        if found.oldest is None or message.arrival_time < found.oldest:
            found.oldest, found.oldest_id = message.arrival_time, message.queue_id
            found.reason = next((one.delay_reason for one in message.recipients if one.delay_reason), None)
        if queue == "hold":
            # A rename into the queue changes the file's ctime; nothing changes a held file after it.
            since = max(message.arrival_time, _changed(message.path, of_inode=True) or 0)
            found.since = since if found.since is None else min(found.since, since)
        elif queue != "corrupt":
            summary.add(self.reasons, message)
            if message.expires is not None and message.expires - self.now < DAY:
                self.expiring[instance] = self.expiring.get(instance, 0) + 1
                first = self.first_to_expire.get(instance, message.expires)
                self.first_to_expire[instance] = min(first, message.expires)


def survey(
    settings: Settings, *, now: int, stale: float, ends: float = math.inf, files: int | None = None
) -> Survey:
    """Look at every message of every instance. `stale` in seconds. Raises ProcessError, ServerError.

    At `ends`, on the monotonic clock, it tells of what was looked at by then; of what is left over nothing.
    `files`: how many there are, where that is known.
    """
    if files is None:
        files = count_files(settings) or 0
    if threading.active_count() > 1 and files > SMALL:
        return _elsewhere(settings, now, stale, ends)
    return look(settings, now=now, stale=stale, ends=ends)


def count(settings: Settings, *, now: int, stale: float, ends: float = math.inf) -> Survey:
    """How many messages are where, by the files' names alone: a moment's work in a large queue too.

    Instances whose spool may not be read are not in it, nor what could not be counted until `ends`, on the
    monotonic clock. Raises ServerError.
    """
    found = _start(now, stale)
    for instance in chosen(settings.postfix.config_directory):
        if source_of(instance) == "spool":
            found.instances.append(instance.name)
            for queue in spool.QUEUES:
                here = found.queues[instance.name, queue] = Waiting()
                for number in spool.counts(str(instance.spool), [queue]):
                    here.messages += number
                    if time.monotonic() > ends:
                        found.is_cut = True
                        break
    return found


def look(settings: Settings, *, now: int, stale: float, ends: float = math.inf) -> Survey:
    """The same in this process and its forks, all of which end soon after `ends`."""
    listing = Listing()

    def parts(messages: Iterable[Message]) -> Iterator[Survey]:
        part = _start(now, stale)
        for message in messages:
            part.take(message)
            if time.monotonic() > ends:
                part.is_cut = True
                break
            if part.reasons.is_full:
                yield part
                part = _start(now, stale)
        yield part

    whole = _start(now, stale)
    known = chosen(settings.postfix.config_directory)
    for part in gather(settings, listing, parts, need=NEED):
        _merge(whole, part)
    _sum_up(whole)
    for instance in known:
        whole.instances.append(instance.name)
        if source_of(instance) != "spool":
            whole.by_postqueue.append(instance.name)
        elif not whole.is_cut:
            _add_orphans(whole, instance)
    whole.unreadable = listing.unreadable
    return whole


def _start(now: int, stale: float) -> Survey:
    return Survey(now, int(stale), reasons=summary.start("reason", now))


def _sum_up(whole: Survey) -> None:
    """Keep of the reasons what is told, which does not grow with them."""
    for key, group in whole.reasons.whole():
        if key is not None:
            whole.top = whole.top or group
            whole.incidents += 1
            whole.put_off += group.recipients
    whole.reasons = summary.start("reason", whole.now)


def _merge(one: Survey, other: Survey) -> Survey:
    for key, theirs in other.queues.items():
        mine = one.queues.setdefault(key, Waiting())
        mine.messages += theirs.messages
        if theirs.oldest is not None and (mine.oldest is None or theirs.oldest < mine.oldest):
            mine.oldest, mine.oldest_id, mine.reason = theirs.oldest, theirs.oldest_id, theirs.reason
        if theirs.since is not None:
            mine.since = theirs.since if mine.since is None else min(mine.since, theirs.since)
    for instance, first in other.first_to_expire.items():
        one.first_to_expire[instance] = min(first, one.first_to_expire.get(instance, first))
        one.expiring[instance] = one.expiring.get(instance, 0) + other.expiring[instance]
    for key_, number in other.counts.items():
        one.counts[key_] = one.counts.get(key_, 0) + number
    for own, more in ((one.half_written, other.half_written), (one.damaged, other.damaged)):
        for instance, paths in more.items():
            own[instance] = [*own.get(instance, ()), *paths][:NAMED]
    summary.merge(one.reasons, other.reasons)
    one.is_cut = one.is_cut or other.is_cut
    return one


def _add_orphans(whole: Survey, instance: Instance) -> None:
    """Logs whose message no queue has: listed before the messages, so that none is missed on its way."""
    root = str(instance.spool)
    logs = list(spool.walk(root, LOGS))
    known = {queue_id for _, queue_id, _ in spool.walk(root)}
    for _, queue_id, path in logs:
        if queue_id in known:
            continue
        changed = _changed(path)
        if changed is None or whole.now - changed <= whole.stale:
            continue
        if place.locate(instance, queue_id) is None:
            whole._note(whole.orphans, "orphans", instance.name, path)


def _changed(path: str | None, *, of_inode: bool = False) -> int | None:
    """When a file, or its name and rights, changed last; None where it is gone."""
    if path is None:
        return None
    try:
        status = Path(path).lstat()
    except OSError:
        return None
    return int(status.st_ctime if of_inode else status.st_mtime)


def _elsewhere(settings: Settings, now: int, stale: float, ends: float) -> Survey:
    """A survey by a process of its own, which may fork; the clock is one for all processes."""
    import base64
    import pickle

    left = min(LONGEST, (ends - time.monotonic()) * PATIENCE)
    if left <= 0:
        raise ProcessError("no time was left to read the queue's files")
    asked = base64.b64encode(pickle.dumps((settings, now, stale, ends)))
    done = run([sys.executable, "-P", "-m", "postmaster.queue.survey"], stdin=asked, timeout=left)
    try:
        found = pickle.loads(base64.b64decode(done.stdout))
    except (ValueError, pickle.UnpicklingError, EOFError) as error:
        raise ProcessError(f"the survey of the queue was cut off: {error}", hint="try again") from None
    assert isinstance(found, Survey)
    return found


def _serve() -> None:
    import base64
    import pickle

    # Not __main__'s own classes, which could not be read where they are wanted.
    from postmaster.queue import survey as named

    settings, now, stale, ends = pickle.loads(base64.b64decode(sys.stdin.buffer.read()))
    with one_reading():
        found = named.look(settings, now=now, stale=stale, ends=ends)
    sys.stdout.buffer.write(base64.b64encode(pickle.dumps(found)))


if __name__ == "__main__":
    _serve()
