"""Reading the queue, from the spool or from `postqueue -j`, into one message type.

`messages` reads as it is asked, so the first rows come without a walk through the whole queue. `select`,
`transform` and `gather` are for the whole of it: a large queue is then read by a process for each
core, each taking its share of the files, and a test runs where the files are read, so that only hits
travel. All of them stream: memory does not grow with the queue.

Both sources agree on every field they share. The order of recipients is theirs too: those in the defer
log as it has them, then the others as the queue file has them (without reasons: as the file has them).

What they do not: lock. A message that moves meanwhile can come twice or not at all; one that vanished is
passed over. `listing` counts what could not be read. Half-written files and `corrupt` come from the spool
alone, with `damage` saying so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from postmaster import parallel
from postmaster.errors import ServerError, UsageError
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix import spool
from postmaster.postfix.instances import NAMELESS, Instance, chosen
from postmaster.postfix.queue import Listing
from postmaster.queue.message import Message, Recipient
from postmaster.settings import Settings

T = TypeVar("T")
R = TypeVar("R")
Test = Callable[[Message], object]

SOURCES = ("spool", "postqueue")
NULL_SENDER = "MAILER-DAEMON"  # how showq prints it unless empty_address_recipient says otherwise

#: What can be asked for in `need`: a field of Message, or `reasons` (with their DSN), each costing more:
#: nothing; the end of the envelope; an fstat; a look at each attribute; opening the defer log.
_RECIPIENTS = frozenset(("recipients", "reasons", "recipients_done", "damage"))
_STATUS = frozenset(("forced_expire", "next_retry", "damage"))
_ATTRIBUTES = frozenset(("client_name", "client_address", "helo_name", "sasl_username", "expires"))
#: What XFORWARD told of goes first: there, a content filter handed the message back.
_WANTED = (
    "log_client_name client_name",
    "log_client_address client_address",
    "log_helo_name helo_name",
    "sasl_username",
)
ALL = frozenset(Message.__slots__) | {"reasons"}

SMALL = 2000  # files; so many are read by one process
BATCH = 200  # messages that travel together

_TYPE_AND_OWNER = 0o170000 | spool.OWNER_BITS  # S_IFMT
_WHOLE = stat.S_IFREG | spool.READY
_DELIVERED_FROM = ("incoming", "active", "deferred", "hold")  # queues whose messages expire


def messages(
    settings: Settings,
    listing: Listing,
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
) -> Iterator[Message]:
    """Every message, as it comes. `source` is spool or postqueue; None takes the spool where it may be read.

    `need` names the fields that must be filled in (ALL); others may be None, and recipients empty.
    Raises ProcessError, ServerError, NotFoundError for an unknown instance, UsageError for a source.
    """
    for instance in chosen(settings.postfix.config_directory, instances):
        if source_of(instance, source) == "spool":
            yield from _from_spool(instance, listing, need)
        else:
            yield from _from_postqueue(instance, listing)


def select(
    settings: Settings,
    listing: Listing,
    test: Test | None = None,
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
    test_need: frozenset[str] = ALL,
) -> Iterator[Message]:
    """The messages that pass a test, by all cores where the queue is large; in no order.

    `test` runs where the files are read, also in forked processes: what it writes elsewhere is lost.
    `test_need` names the fields that it looks at; the rest of `need` is read for hits alone.
    """

    def batches(found: Iterable[Message]) -> Iterator[_Batch]:
        return map(_Batch, _in_batches(found))

    yield from chain.from_iterable(
        _read_all(settings, listing, test, source, instances, need, test_need, batches)
    )


def transform(
    settings: Settings,
    listing: Listing,
    make: Callable[[Message], T],
    test: Test | None = None,
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
    test_need: frozenset[str] = ALL,
) -> Iterator[T]:
    """What `make` makes of each message that passes the test, as `select` finds them.

    `make` too runs where the files are read, and its results travel: texts and tuples travel well.
    """

    def batches(found: Iterable[Message]) -> Iterator[list[T]]:
        return _in_batches(map(make, found))

    yield from chain.from_iterable(
        _read_all(settings, listing, test, source, instances, need, test_need, batches)
    )


def blocks(
    settings: Settings,
    listing: Listing,
    make: Callable[[Message], str],
    separator: str,
    test: Test | None = None,
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
    test_need: frozenset[str] = ALL,
) -> Iterator[str]:
    """As `transform`, for texts that are printed: many together, with a separator between them."""

    def joined(found: Iterable[Message]) -> Iterator[str]:
        return map(separator.join, _in_batches(map(make, found)))

    return _read_all(settings, listing, test, source, instances, need, test_need, joined)


def gather(
    settings: Settings,
    listing: Listing,
    work: Callable[[Iterable[Message]], Iterator[R]],
    test: Test | None = None,
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
    test_need: frozenset[str] = ALL,
) -> Iterator[R]:
    """What `work` yields of all messages that pass a test: counts, sums, the oldest.

    Each process gives its share of the messages to `work`, which consumes them and yields what can be
    pickled (dicts, tuples, dataclasses), once at the end or in parts. The shares may be empty. So for
    counting by queue: `work=lambda found: iter((Counter(m.queue_name for m in found),))`,
    `need=frozenset({"queue_name"})`, and the sum of what comes.
    """
    return _read_all(settings, listing, test, source, instances, need, test_need, work)


def find(
    settings: Settings,
    listing: Listing,
    queue_ids: Iterable[str],
    *,
    source: str | None = None,
    instances: Sequence[str] = (),
    need: frozenset[str] = ALL,
) -> Iterator[Message]:
    """The messages with these queue IDs; an unknown one gives none. In the spool, no other file is opened."""
    wanted = {one for one in queue_ids if one.isascii() and one.isalnum()}  # nothing else is a file's name
    for instance in chosen(settings.postfix.config_directory, instances):
        if source_of(instance, source) == "spool":
            yield from _find_in_spool(instance, listing, wanted, need)
        elif wanted:
            yield from (m for m in _from_postqueue(instance, listing) if m.queue_id in wanted)


def count_files(
    settings: Settings, *, source: str | None = None, instances: Sequence[str] = ()
) -> int | None:
    """How many files the queues have, by their names alone: quick. None where the spool may not be read."""
    known = chosen(settings.postfix.config_directory, instances)
    if any(source_of(one, source) != "spool" for one in known):
        return None

    def work(share: tuple[int, int], _: Listing) -> Iterator[int]:
        yield sum(spool.count(str(one.spool), share=share) for one in known)

    return sum(_shares(work, Listing(), is_large=True))


def source_of(instance: Instance, wanted: str | None = None) -> str:
    """Where this process reads an instance's queue from: spool or postqueue. Raises ServerError."""
    if wanted not in (None, *SOURCES):
        raise UsageError(f"there is no source {wanted}", hint=f"one of: {', '.join(SOURCES)}")
    if wanted == "postqueue":
        return wanted
    try:
        with os.scandir(instance.spool / "deferred"):
            return "spool"
    except PermissionError:
        if wanted is None:
            return "postqueue"
        raise ServerError(
            f"the queue files below {instance.spool} may not be read",
            hint="run it as root, or with --source postqueue",
        ) from None
    except OSError as error:
        if wanted is None:
            return "postqueue"  # which knows best what is wrong
        raise ServerError(
            f"the queue below {instance.spool} cannot be read: {error.strerror}", hint="postfix check"
        ) from None


def from_entry(
    entry: dict[str, Any], instance: str = NAMELESS, null_sender: str = NULL_SENDER
) -> Message | None:
    """The message that a checked `postqueue -j` object tells of; None for an impossible time.

    Of more than 1,000 deferred recipients, showq lists the rest a second time without a reason
    (`duplicate_filter_limit`); these are left out.
    """
    if not 0 <= entry["arrival_time"] < 1 << 40:
        return None
    recipients: list[Recipient] = []
    reasoned: set[str] = set()
    for one in entry["recipients"]:
        address, reason, original = one["address"], one.get("delay_reason"), one.get("orig_address")
        if isinstance(reason, str):
            reasoned.add(address)
        elif address in reasoned:
            continue
        else:
            reason = None
        recipients.append(
            Recipient(address, reason, original=original if isinstance(original, str) else None)
        )
    forced, sender = entry.get("forced_expire"), entry["sender"]
    return Message(
        instance=instance,
        queue_name=entry["queue_name"],
        queue_id=entry["queue_id"],
        arrival_time=entry["arrival_time"],
        message_size=entry["message_size"],
        sender="" if sender == null_sender else sender,
        recipients=recipients,
        forced_expire=forced if isinstance(forced, bool) else None,
    )


def _from_postqueue(instance: Instance, listing: Listing) -> Iterator[Message]:
    for entry in postfix_queue.entries(instance.config_directory, listing):
        message = from_entry(entry, instance.name, instance.empty_address)
        if message is None:
            listing.unreadable += 1
        else:
            yield message


def _from_spool(
    instance: Instance,
    listing: Listing,
    need: frozenset[str],
    test: Test | None = None,
    test_need: frozenset[str] = ALL,
    share: tuple[int, int] | None = None,
) -> Iterator[Message]:
    """The messages of a spool that pass a test. What the test does not look at is read for hits alone."""
    read = _reader(instance, need | test_need if test else need)
    look = _reader(instance, test_need) if test else read
    if _cost(test_need) >= _cost(need | test_need):
        look = read
    for queue, queue_id, path in spool.walk(str(instance.spool), share=share):
        try:
            message = look(queue, queue_id, path)
            if test is not None:
                if not test(message):
                    continue
                if look is not read:
                    message = read(queue, queue_id, path)
                    if not test(message):  # it changed in between
                        continue
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            listing.unreadable += 1
            continue
        yield message


def _find_in_spool(
    instance: Instance, listing: Listing, queue_ids: set[str], need: frozenset[str]
) -> Iterator[Message]:
    read = _reader(instance, need)

    def files() -> Iterator[tuple[str, str, str]]:
        for queue_id in queue_ids:
            for queue in spool.QUEUES:
                for folders in ("", spool.hashed_folders(queue_id, instance.depth)):
                    yield queue, queue_id, f"{instance.spool}/{queue}/{folders}{queue_id}"
        # Where an old hash_queue_depth put it, or where it went meanwhile: names alone are quick.
        if left := queue_ids - found:
            yield from (one for one in spool.walk(str(instance.spool)) if one[1] in left)

    found: set[str] = set()
    for queue, queue_id, path in files():
        try:
            message = read(queue, queue_id, path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            listing.unreadable += 1
            continue
        found.add(queue_id)
        yield message


def _cost(need: frozenset[str]) -> tuple[bool, ...]:
    return tuple(not need.isdisjoint(group) for group in (_RECIPIENTS, _STATUS, _ATTRIBUTES, {"reasons"}))


def _reader(instance: Instance, need: frozenset[str]) -> Callable[[str, str, str], Message]:
    """A function from (queue, ID, path) to the message in that file. It raises OSError."""
    with_recipients, with_status, with_attributes, with_reasons = _cost(need)
    name, utf8, depth = instance.name, instance.utf8, instance.depth
    logs = f"{instance.spool}/defer/"
    are_logs_hashed = "defer" in instance.hashed
    lifetime, bounce_lifetime = instance.lifetime, instance.bounce_lifetime
    wanted = spool.Wanted(*_WANTED) if with_attributes else None

    def read(queue: str, queue_id: str, path: str) -> Message:
        descriptor = spool.open_file(path)
        try:
            status = os.fstat(descriptor) if with_status or with_recipients else None
            envelope = spool.read_envelope(
                descriptor,
                utf8=utf8,
                recipients=with_recipients,
                attributes=with_attributes,
                wanted=wanted,
                size=None if status is None else status.st_size,
            )
            if status is None and (envelope.arrival_time is None or envelope.message_size is None):
                status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        arrival, size, damage = envelope.arrival_time or 0, envelope.message_size or 0, envelope.damage
        forced = retry = expires = None
        if status is not None:
            mode, changed = status.st_mode, int(status.st_mtime)
            arrival = arrival or changed
            if envelope.message_size is None:
                size = status.st_size
            forced = mode & spool.FORCED_EXPIRE != 0
            if queue == "deferred":
                retry = changed
            if mode & _TYPE_AND_OWNER != _WHOLE or queue == "corrupt":
                if not stat.S_ISREG(mode):
                    raise OSError(f"{path} is no file")
                damage = _damage(queue, mode, damage)
        sender = envelope.sender or ""
        client = client_address = helo = login = None
        if wanted is not None:
            client, client_address, helo, login = spool.attributes_of(envelope, wanted, utf8=utf8)
            if queue in _DELIVERED_FROM:
                lives = lifetime if sender else bounce_lifetime
                if lives is not None:
                    expires = (spool.created(envelope) or arrival) + lives
        todo = envelope.todo
        if with_reasons and todo and queue != "maildrop":
            folders = spool.hashed_folders(queue_id, depth) if are_logs_hashed else ""
            recipients = _with_reasons(todo, spool.read_defer_log(f"{logs}{folders}{queue_id}", utf8=utf8))
        else:
            recipients = [Recipient(address, None, None, original, at) for at, address, original in todo]
        return Message(
            name,
            queue,
            queue_id,
            arrival,
            size,
            sender,
            recipients,
            forced,
            retry,
            expires,
            len(envelope.done) if with_recipients else None,
            client,
            client_address,
            helo,
            login,
            damage,
            path,
        )

    return read


def _damage(queue: str, mode: int, damage: str | None) -> str:
    if queue == "corrupt":
        return damage or "Postfix found it corrupt"
    if mode & spool.OWNER_BITS == spool.WRITING and queue in ("maildrop", "incoming"):
        return "half-written: it is arriving, or its arrival was cut off"
    return damage or f"its mode is {mode & 0o7777:o}: Postfix passes it over"


def _with_reasons(
    todo: list[tuple[int, str, str | None]],
    log: tuple[dict[int, spool.Deferral], dict[str, spool.Deferral]],
) -> list[Recipient]:
    """The recipients with their reasons: first those that the log has, in its order."""
    by_offset, by_address = log
    if len(todo) == 1:
        ((at, address, original),) = todo
        reason, dsn = by_offset.get(at) or by_address.get(address) or (None, None)
        return [Recipient(address, reason, dsn, original, at)]
    if not by_address and [one[0] for one in todo] == [*by_offset]:  # as it is after the first attempt
        return [
            Recipient(address, *deferral, original, at)
            for (at, address, original), deferral in zip(todo, by_offset.values(), strict=True)
        ]
    left = {at: (address, original) for at, address, original in todo}
    recipients = []
    for at, deferral in by_offset.items():
        found = left.pop(at, None)
        if found is not None:
            recipients.append(Recipient(found[0], *deferral, found[1], at))
    for at, (address, original) in left.items():
        known = by_address.get(address)
        recipients.append(Recipient(address, known and known[0], known and known[1], original, at))
    return recipients


def _read_all(
    settings: Settings,
    listing: Listing,
    test: Test | None,
    source: str | None,
    instances: Sequence[str],
    need: frozenset[str],
    test_need: frozenset[str],
    work: Callable[[Iterable[Message]], Iterator[R]],
) -> Iterator[R]:
    """What `work` makes of the messages, from as many processes as the queue is worth."""
    known = chosen(settings.postfix.config_directory, instances)
    sources = [source_of(one, source) for one in known]

    def read(share: tuple[int, int], counted: Listing) -> Iterator[R]:
        def found() -> Iterator[Message]:
            for instance, kind in zip(known, sources, strict=True):
                if kind == "spool":
                    yield from _from_spool(
                        instance, counted, need, test, test_need, share if share[1] > 1 else None
                    )
                elif share[0] == 0:
                    told = _from_postqueue(instance, counted)
                    yield from told if test is None else filter(test, told)

        return work(found())

    files = chain.from_iterable(
        spool.walk(str(one.spool)) for one, kind in zip(known, sources, strict=True) if kind == "spool"
    )
    is_large = next(islice(files, SMALL, None), None) is not None
    yield from _shares(read, listing, is_large=is_large)


def _shares(
    work: Callable[[tuple[int, int], Listing], Iterator[R]], listing: Listing, *, is_large: bool
) -> Iterator[R]:
    """What `work` yields for each share `(k, n)` of the queue. The listings of all are added up."""
    count = parallel.processes() if is_large else 1

    def share_of(number: int) -> Iterator[R | Listing]:
        counted = Listing() if number else listing  # the first share is read here
        yield from work((number, count), counted)
        if number:
            yield counted

    for one in parallel.spread(share_of, range(count)):
        if isinstance(one, Listing):
            listing.unreadable += one.unreadable
        else:
            yield one


def _in_batches(found: Iterable[T]) -> Iterator[list[T]]:
    waiting = iter(found)
    while batch := list(islice(waiting, BATCH)):
        yield batch


class _Batch(list[Message]):
    """Messages that travel as tuples: a third of the time that pickling the classes takes."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_tuples, (
            [
                [
                    *(m.instance, m.queue_name, m.queue_id, m.arrival_time, m.message_size, m.sender),
                    [(r.address, r.delay_reason, r.dsn, r.original, r.offset) for r in m.recipients],
                    *(m.forced_expire, m.next_retry, m.expires, m.recipients_done, m.client_name),
                    *(m.client_address, m.helo_name, m.sasl_username, m.damage, m.path),
                ]
                for m in self
            ],
        )


def _from_tuples(batch: list[list[Any]]) -> list[Message]:
    for one in batch:
        one[6] = [Recipient(*each) for each in one[6]]
    return [Message(*one) for one in batch]


def pack(message: Message) -> bytes:
    """A message in half a kilobyte, to hold many of them."""
    import pickle
    import zlib

    return zlib.compress(pickle.dumps(_Batch((message,))), 1)


def unpack(packed: bytes) -> Message:
    """What `pack` packed. Only for what this program packed itself."""
    import pickle
    import zlib

    message: Message = pickle.loads(zlib.decompress(packed))[0]
    return message
