"""The folders of mail below the mail root: opened, moved to the trash and back, deleted.

Everything goes from one open folder to the next by name, never by a path: no link is ever followed, no `..`
taken, so nothing outside the mail root can be touched, whatever a user put into the own folder. A folder must
belong to the mail account; one that does not is left alone and told.

A move is one rename within the mail root: done or not. A deletion moves the folder into the trash first, so
that one that was cut short is found there and gone on with, and is never taken for a mailbox.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from postmaster.errors import NotFoundError, RuleError, ServerError
from postmaster.settings import MailSettings

TRASH = ".trash"  # below the mail root
DEEPEST = 200  # folders in each other
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Progress = Callable[[int], None]  # is told how many entries are deleted


class Folders:
    """The mail root, open. Folders are named by their `mail_id`, which is a path below the root."""

    def __init__(self, root: Path, descriptor: int, owner: int) -> None:
        self.root = root
        self._root = descriptor
        self._owner = owner

    def exists(self, mail_id: str) -> bool:
        """Whether the folder is in its place."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(mail_id) as (parent, name):
            return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        return False

    def in_trash(self, mail_id: str) -> bool:
        with suppress(FileNotFoundError), self._trash() as trash:
            os.stat(_name(mail_id), dir_fd=trash, follow_symlinks=False)
            return True
        return False

    def trash(self) -> set[str]:
        """The mail_id of every folder in the trash."""
        with suppress(FileNotFoundError), self._trash() as trash:
            return {unquote(name) for name in os.listdir(trash)}
        return set()

    def trash_path(self, mail_id: str) -> Path:
        return self.root / TRASH / _name(mail_id)

    def to_trash(self, mail_id: str) -> bool:
        """Move a folder into the trash; False where there is none. Raises ServerError."""
        with suppress(FileNotFoundError), self._parent(mail_id) as (parent, name):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._check(status, mail_id)
            with self._trash(make=True) as trash:
                _rename(name, parent, _name(mail_id), trash)
            return True
        return False

    def from_trash(self, mail_id: str) -> bool:
        """Move a folder back; False where the trash has none. Raises ServerError for one in its place."""
        with suppress(FileNotFoundError), self._trash() as trash:
            self._check(os.stat(_name(mail_id), dir_fd=trash, follow_symlinks=False), mail_id)
            with self._parent(mail_id, make=True) as (parent, name):
                try:
                    _rename(_name(mail_id), trash, name, parent)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    raise ServerError(
                        f"{self.root / mail_id} is there already, so the mail in the trash cannot go back",
                        hint=f"move one of the two away; the other is in {self.root / TRASH}",
                    ) from None
            return True
        return False

    def delete(self, mail_id: str, progress: Progress = lambda _: None) -> int:
        """Delete a folder for good, wherever it is. Gives back how many entries went.

        Raises ServerError where something in it is not the mail account's: it stays, in the trash.
        """
        self.to_trash(mail_id)
        with suppress(FileNotFoundError), self._trash() as trash:
            name = _name(mail_id)
            self._check(os.stat(name, dir_fd=trash, follow_symlinks=False), mail_id)
            return self._delete_tree(trash, name, mail_id, 0, progress)
        return 0

    def size(self, mail_id: str) -> int:
        """Bytes of the files in a folder, in its place or in the trash; 0 where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(mail_id) as (parent, name):
            return _size(parent, name)
        with suppress(FileNotFoundError), self._trash() as trash:
            return _size(trash, _name(mail_id))
        return 0

    def files(self, mail_id: str, *names: str) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the plain files in a folder below a mail folder, as far as they can be read."""
        with suppress(OSError), self._parent(mail_id) as (parent, name):
            folder = os.open(name, _FOLDER, dir_fd=parent)
            try:
                for one in names:
                    inner = os.open(one, _FOLDER, dir_fd=folder)
                    os.close(folder)
                    folder = inner
                for one in sorted(os.listdir(folder)):
                    with suppress(OSError):
                        yield one, _content(folder, one)
            finally:
                os.close(folder)

    def content(self, mail_id: str, name: str) -> bytes | None:
        """A plain file in a mail folder, its first MiB; None where there is none that can be read."""
        with suppress(OSError), self._parent(mail_id) as (parent, own):
            folder = os.open(own, _FOLDER, dir_fd=parent)
            try:
                return _content(folder, name)
            finally:
                os.close(folder)
        return None

    def link(self, mail_id: str, name: str) -> str | None:
        """Where a link in a mail folder points; None where it is none."""
        with suppress(OSError), self._parent(mail_id) as (parent, own):
            folder = os.open(own, _FOLDER, dir_fd=parent)
            try:
                return os.readlink(name, dir_fd=folder)
            finally:
                os.close(folder)
        return None

    def _check(self, status: os.stat_result, mail_id: str) -> None:
        path = self.root / mail_id
        if not stat.S_ISDIR(status.st_mode):
            raise ServerError(f"{path} is no folder, and is left alone", hint="look at it yourself")
        if status.st_uid != self._owner:
            raise ServerError(
                f"{path} belongs to uid {status.st_uid} and not to the mail account, and is left alone",
                hint="look at it yourself; mail.user names the mail account",
            )

    @contextmanager
    def _parent(self, mail_id: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """(the open folder that has it, its name there)."""
        *before, name = _parts(mail_id)
        folder = os.dup(self._root)
        try:
            for part in before:
                if make:
                    self._make(part, folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, name
        finally:
            os.close(folder)

    @contextmanager
    def _trash(self, *, make: bool = False) -> Iterator[int]:
        if make:
            self._make(TRASH, self._root)
        try:
            trash = os.open(TRASH, _FOLDER, dir_fd=self._root)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ServerError(f"{self.root / TRASH} is no folder", hint="take it away") from None
            raise
        try:
            yield trash
        finally:
            os.close(trash)

    def _make(self, name: str, parent: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
            there = os.stat(parent)
            os.chown(name, self._owner, there.st_gid, dir_fd=parent, follow_symlinks=False)

    def _delete_tree(self, parent: int, name: str, mail_id: str, depth: int, progress: Progress) -> int:
        if depth > DEEPEST:
            raise ServerError(
                f"the folders of {self.root / TRASH / _name(mail_id)} are too deep in each other"
            )
        folder = os.open(name, _FOLDER, dir_fd=parent)
        gone = 0
        try:
            for entry in os.listdir(folder):
                status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    self._check(status, f"{TRASH}/{_name(mail_id)}/…/{entry}")
                    gone += self._delete_tree(folder, entry, mail_id, depth + 1, progress)
                else:
                    os.unlink(entry, dir_fd=folder)  # a link itself, never what it leads to
                    gone += 1
            progress(gone)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=parent)
        return gone + 1


@contextmanager
def open_folders(settings: MailSettings) -> Iterator[Folders]:
    """Open the mail root. Raises NotFoundError, ServerError."""
    try:
        owner = pwd.getpwnam(settings.user).pw_uid
    except KeyError:
        raise NotFoundError(
            f"there is no account {settings.user}, which mail belongs to",
            hint="set mail.user, or run: postmaster setup apply",
        ) from None
    try:
        descriptor = os.open(settings.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ServerError(
            f"the mail root {settings.root} cannot be opened: {error.strerror}",
            hint="run it as root; mail.root names it",
        ) from None
    try:
        yield Folders(settings.root, descriptor, owner)
    except OSError as error:
        raise ServerError(
            f"{error.filename or settings.root} in the mail root cannot be used: {error.strerror}",
            hint="run it as root",
        ) from error
    finally:
        os.close(descriptor)


def _parts(mail_id: str) -> list[str]:
    """The names on the way to a folder. Raises RuleError for one that could lead elsewhere."""
    parts = mail_id.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or parts[0] == TRASH:
        raise RuleError(f"{mail_id!r} names no mail folder below the mail root")
    return parts


def _name(mail_id: str) -> str:
    """What a folder is called in the trash."""
    _parts(mail_id)
    return quote(mail_id, safe="")


def _rename(name: str, parent: int, to: str, other: int) -> None:
    os.rename(name, to, src_dir_fd=parent, dst_dir_fd=other)
    for folder in (other, parent):
        os.fsync(folder)


def _content(folder: int, name: str) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file", name)
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


def _size(parent: int, name: str, depth: int = 0) -> int:
    if depth > DEEPEST:
        return 0
    total = 0
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        for entry in os.listdir(folder):
            with suppress(OSError):
                status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    total += _size(folder, entry, depth + 1)
                elif stat.S_ISREG(status.st_mode):
                    total += status.st_size
    finally:
        os.close(folder)
    return total
