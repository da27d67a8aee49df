"""Messages from an instance's queue files and defer logs, no more of each than is needed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from postmaster.postfix import queue_file, spool
from postmaster.postfix.defer_log import Deferral, read_defer_log
from postmaster.postfix.instances import Instance
from postmaster.postfix.queue import Listing
from postmaster.queue.message import ALL, Message, Recipient

Test = Callable[[Message], object]

#: What costs more than the first records: the end of the envelope; an fstat; a look at each attribute. The
#: reasons cost most, as they open the defer log.
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

_TYPE_AND_OWNER = 0o170000 | spool.OWNER_BITS  # S_IFMT
_WHOLE = stat.S_IFREG | spool.READY
_DELIVERED_FROM = ("incoming", "active", "deferred", "hold")  # queues whose messages expire


def from_spool(
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


def find_in_spool(
    instance: Instance, listing: Listing, queue_ids: set[str], need: frozenset[str]
) -> Iterator[Message]:
    """The messages with these IDs; no other file is opened."""
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
    wanted = queue_file.Wanted(*_WANTED) if with_attributes else None

    def read(queue: str, queue_id: str, path: str) -> Message:
        descriptor = spool.open_file(path)
        try:
            status = os.fstat(descriptor) if with_status or with_recipients else None
            envelope = queue_file.read_envelope(
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
            client, client_address, helo, login = queue_file.attributes_of(envelope, wanted, utf8=utf8)
            if queue in _DELIVERED_FROM:
                lives = lifetime if sender else bounce_lifetime
                if lives is not None:
                    expires = (queue_file.created(envelope) or arrival) + lives
        todo = envelope.todo
        if with_reasons and todo and queue != "maildrop":
            folders = spool.hashed_folders(queue_id, depth) if are_logs_hashed else ""
            recipients = _with_reasons(todo, read_defer_log(f"{logs}{folders}{queue_id}", utf8=utf8))
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
    log: tuple[dict[int, Deferral], dict[str, Deferral]],
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
