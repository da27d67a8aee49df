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
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from postmaster import parallel
from postmaster.errors import ServerError, UsageError
from postmaster.postfix import spool
from postmaster.postfix.instances import Instance, chosen
from postmaster.postfix.queue import Listing
from postmaster.queue.listed import from_postqueue
from postmaster.queue.message import ALL, Message
from postmaster.queue.packed import Batch
from postmaster.queue.spooled import Test, find_in_spool, from_spool
from postmaster.settings import Settings

T = TypeVar("T")
R = TypeVar("R")

SOURCES = ("spool", "postqueue")
SMALL = 2000  # files; so many are read by one process
BATCH = 200  # messages that travel together


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
            yield from from_spool(instance, listing, need)
        else:
            yield from from_postqueue(instance, listing)


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

    def batches(found: Iterable[Message]) -> Iterator[Batch]:
        return map(Batch, _in_batches(found))

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
            yield from find_in_spool(instance, listing, wanted, need)
        elif wanted:
            yield from (m for m in from_postqueue(instance, listing) if m.queue_id in wanted)


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
                    yield from from_spool(
                        instance, counted, need, test, test_need, share if share[1] > 1 else None
                    )
                elif share[0] == 0:
                    told = from_postqueue(instance, counted)
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
