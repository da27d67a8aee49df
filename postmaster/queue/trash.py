"""The trash: a copy of each message that was deleted or redirected, kept for some days, and the way back.

A copy is the queue file itself, byte for byte, in a folder that is root's alone and no part of the queue. It
is on disk before the original is deleted. To restore one is to put a file with the same bytes into `hold`
under an ID that nobody has, and to release it: Postfix delivers it with the envelope and content it had.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import NotFoundError, PostmasterError, ServerError
from postmaster.postfix import postsuper
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import locate, make_id
from postmaster.queue.message import Message
from postmaster.queue.store import STATES, Copy, Store
from postmaster.settings import QueueSettings

MIB = 1 << 20
DAY = 86400
TOGETHER = 10  # files that are brought to disk by one call
PIECE = 1 << 20  # bytes copied at once


class SpaceError(PostmasterError):
    """There is too little room for the copies."""

    code = "space"


@dataclass(frozen=True, slots=True)
class Restored:
    """A message that is in the queue again. `outlived`: its lifetime is over, one more failure returns it."""

    copy: Copy
    new_id: str
    outlived: bool


def file_name(message: Message) -> str:
    """The same for the same message, so that a repeated copy replaces the first."""
    instance = re.sub(r"[^0-9A-Za-z.-]", "_", message.instance)[:64]
    postfix_queue.check_id(message.queue_id)
    return f"{instance}_{message.queue_id}_{message.arrival_time}"


def check_space(store: Store, settings: QueueSettings, needed: int) -> None:
    """Refuse copies that would leave too little room. Raises SpaceError."""
    status = os.statvfs(store.trash)
    free = status.f_bavail * status.f_frsize
    if free - needed < settings.trash_free_space * MIB:
        raise SpaceError(
            f"a copy of each would need {needed >> 20} MiB, and less than {settings.trash_free_space} MiB"
            f" would stay free in {store.trash}",
            hint="make room, run postmaster queue trash purge, or add --now to delete without a copy",
        )


class Copying:
    """Copies of a batch: made one by one, then brought to disk and entered into the record together."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._number = number
        self._made: list[tuple[Message, int, str, int]] = []

    def add(self, message: Message, descriptor: int) -> None:
        """Copy an open queue file. Raises OSError; then nothing of it is left."""
        name = file_name(message)
        path = self._store.trash / name
        status = os.fstat(descriptor)
        copy = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _copy(descriptor, copy)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(copy)
        self._made.append((message, status.st_uid, name, status.st_size))

    def keep(self) -> None:
        """Everything on disk, then in the record. Raises OSError, StoreError."""
        _to_disk(self._store.trash, [name for _, _, name, _ in self._made])
        self._store.add_copies(self._number, self._made)
        self._made.clear()


def _to_disk(folder: Path, names: Sequence[str]) -> None:
    """Wait until files of a folder are on disk. Raises OSError.

    Many are quicker together (`syncfs(2)`, which waits and reports failed writes): each fsync alone costs a
    turn of the journal.
    """
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if len(names) >= TOGETHER:
            import ctypes

            if ctypes.CDLL(None).syncfs(place) == 0:
                return
        for name in names:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.fsync(place)
    finally:
        os.close(place)


def _copy(source: int, target: int) -> None:
    at = 0
    while data := os.pread(source, PIECE, at):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        at += len(data)


def discard(store: Store, copies: Iterable[Copy]) -> int:
    """Delete copies for good. Gives back how many."""
    numbers = []
    for copy in copies:
        (store.trash / copy.file).unlink(missing_ok=True)
        numbers.append(copy.number)
    store.forget_copies(numbers)
    return len(numbers)


def purge(store: Store, settings: QueueSettings, now: float | None = None) -> int:
    """Delete what is past its grace, and forget old actions. Gives back how many copies went."""
    now = time.time() if now is None else now
    before = now - settings.trash_days * DAY
    gone = discard(store, [copy for copy in store.copies(("deleted",)) if copy.since < before])
    store.prune(int(now - settings.history_days * DAY))
    _sweep(store, before)
    return gone


def _sweep(store: Store, before: float) -> None:
    """Delete files that the record does not know: a kill between a copy and its entry leaves one."""
    known: set[str] | None = None
    for entry in os.scandir(store.trash):
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                if known is None:
                    known = {one.file for one in store.copies(STATES)}
                if entry.name not in known:
                    Path(entry.path).unlink()


def find(store: Store, wanted: Iterable[str]) -> list[Copy]:
    """Copies by the queue ID they had, or by their number in the trash. Raises NotFoundError."""
    held = store.copies()
    found: dict[int, Copy] = {}
    for word in wanted:
        matching = [one for one in held if word in (one.message.queue_id, str(one.number))]
        if not matching:
            raise NotFoundError(
                f"there is no {word[:64]} in the trash", hint="postmaster queue trash list shows what is"
            )
        if len(matching) > 1 and all(one.message.queue_id == word for one in matching):
            numbers = ", ".join(str(one.number) for one in matching)
            raise NotFoundError(
                f"several messages in the trash had the ID {word}", hint=f"name one by number: {numbers}"
            )
        found[matching[0].number] = matching[0]
    return list(found.values())


def restore(
    store: Store,
    copies: Iterable[Copy],
    places: Mapping[str, Instance],
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Restored | tuple[Copy, str]]:
    """Put messages back into the queue, and let Postfix try them at once.

    Gives, for each, Restored, or the copy with what was in the way. Safe to repeat after a kill: the new ID
    is written down before the file can be delivered, so no copy is brought back twice.
    """
    for at, copy in enumerate(copies):
        try:
            place = places.get(copy.message.instance)
            if place is None:
                raise ServerError(f"there is no instance {copy.message.instance} any more")
            yield _restore(store, copy, place)
        except (OSError, PostmasterError) as error:
            reason = f"{error.strerror}" if isinstance(error, OSError) else error.message
            yield copy, reason
        progress(at + 1)


def _restore(store: Store, copy: Copy, place: Instance) -> Restored:
    message = copy.message
    queue = "maildrop" if message.queue_name == "maildrop" else "hold"
    if message.queue_name == "corrupt":
        raise ServerError(f"it was corrupt: no queue takes it; the copy is {store.trash / copy.file}")
    new_id = copy.new_id
    if copy.state == "deleted" or new_id is None or not _is_waiting(copy, place, queue, new_id):
        new_id = _put(store, copy, place, queue)
    store.set_copy(copy.number, "restoring", new_id)
    with suppress(FileNotFoundError):  # an interrupted run had brought it back already
        (place.spool / queue / new_id).chmod(0o700)
        if queue == "hold":
            answer = postsuper.release(place.config_directory, [new_id])
            if new_id not in answer.done:
                raise ServerError(f"it stands in hold as {new_id}: {answer.complaint or 'not released'}")
            with suppress(PostmasterError):  # only sooner: the queue manager finds it by itself
                postfix_queue.flush_messages(place.config_directory, [new_id])
    (store.trash / copy.file).unlink(missing_ok=True)
    store.set_restored(copy.number)
    age = time.time() - message.arrival_time
    lifetime = place.lifetime_of(message.sender)
    return Restored(copy, new_id, outlived=lifetime is not None and age > lifetime)


def _is_waiting(copy: Copy, place: Instance, queue: str, new_id: str) -> bool:
    """Whether an interrupted run needs only to be gone on with. Nothing is delivered before `restoring`."""
    return copy.state == "restoring" or os.path.lexists(os.path.join(place.spool, queue, new_id))


def _put(store: Store, copy: Copy, place: Instance, queue: str) -> str:
    """Write the file under a free ID, not yet fit to be delivered, and note the ID. Gives it back.

    The ID names the file's inode, as Postfix's own do: otherwise a restart of Postfix would rename it, and
    no other file can come by the same name.
    """
    folder = place.spool / queue
    account = pwd.getpwnam(place.owner)
    source = os.open(store.trash / copy.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        temporary = folder / f"FFFFFFFF{copy.number:X}"
        with suppress(FileNotFoundError):
            if temporary.lstat().st_mode & 0o777 == 0o600:
                temporary.unlink()  # of an interrupted run
        target = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            _copy(source, target)
            os.fchown(target, copy.owner if queue == "maildrop" else account.pw_uid, account.pw_gid)
            os.fsync(target)
            new_id = make_id(place, os.fstat(target).st_ino, time.time())
            if locate(place, new_id) is not None:
                raise ServerError(f"the queue ID {new_id} is in use", hint="run it again")
            store.set_copy(copy.number, "preparing", new_id)
            temporary.rename(folder / new_id)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(target)
        _to_disk(folder, [new_id])
        return new_id
    finally:
        os.close(source)
