"""The folders of mail below the mail root: opened, moved to the trash and back, deleted.

Everything goes from one open folder to the next by name, never by a path: no link is ever followed, no `..`
taken, so nothing outside the mail root can be touched, whatever a user put into the own folder. A folder must
belong to the mail account; one that does not is left alone and told.

A move is one rename within the mail root: done or not. A deletion moves the folder into the trash first, so
that one that was cut short is found there and gone on with, and is never taken for a mailbox.

A delivery that was under way makes the folder anew after it was moved: what is in it joins the other in the
trash.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from postmaster.errors import NotFoundError, RuleError, ServerError
from postmaster.settings import MailSettings

TRASH = ".trash"  # below the mail root
DEEPEST = 200  # folders in each other
PASSES = 5  # over a folder that is deleted while something is still put into it
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        with (
            suppress(FileNotFoundError),
            self._plain_errors(mail_id),
            self._parent(mail_id) as (parent, name),
        ):
            self._check(os.stat(name, dir_fd=parent, follow_symlinks=False), mail_id)
            with self._trash(make=True) as trash:
                try:
                    _rename(name, parent, _name(mail_id), trash)
                except OSError as error:
                    if error.errno not in _OCCUPIED:
                        raise
                    self._join(name, parent, _name(mail_id), trash, mail_id)
            return True
        return False

    def from_trash(self, mail_id: str) -> bool:
        """Move a folder back; False where the trash has none. Raises ServerError for one in its place."""
        with suppress(FileNotFoundError), self._plain_errors(mail_id), self._trash() as trash:
            self._check(os.stat(_name(mail_id), dir_fd=trash, follow_symlinks=False), mail_id)
            with self._parent(mail_id, make=True) as (parent, name):
                try:
                    _rename(_name(mail_id), trash, name, parent)
                except OSError as error:
                    if error.errno not in _OCCUPIED:
                        raise
                    raise ServerError(
                        f"{self.root / mail_id} is there already, so the mail in the trash cannot go back",
                        hint=f"move one of the two away; the other is in {self.root / TRASH}",
                    ) from None
            return True
        return False

    def delete(self, mail_id: str) -> int:
        """Delete a folder for good, wherever it is. Gives back how many entries went.

        Raises ServerError where something in it is not the mail account's: it stays, in the trash.
        """
        self.to_trash(mail_id)
        with suppress(FileNotFoundError), self._plain_errors(mail_id), self._trash() as trash:
            return self._delete_tree(trash, _name(mail_id), self.trash_path(mail_id), 0)
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

    def _check(self, status: os.stat_result, mail_id: str | Path) -> None:
        path = self.root / mail_id
        if not stat.S_ISDIR(status.st_mode):
            raise ServerError(f"{path} is no folder, and is left alone", hint="look at it yourself")
        if status.st_dev != os.fstat(self._root).st_dev:
            raise ServerError(
                f"{path} is on another file system than the mail root, and is left alone",
                hint="unmount it, or move it yourself",
            )
        if status.st_uid != self._owner:
            raise ServerError(
                f"{path} belongs to uid {status.st_uid} and not to the mail account, and is left alone",
                hint="look at it yourself; mail.user names the mail account",
            )

    @contextmanager
    def _plain_errors(self, mail_id: str) -> Iterator[None]:
        """One line about this folder; that it is not there is the caller's to judge."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unusable(self.root / mail_id, error) from error

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

    @contextmanager
    def _inner(self, name: str, parent: int, shown: Path, depth: int) -> Iterator[int]:
        """A folder in another one, opened first and looked at then: what is checked is what is used."""
        if depth > DEEPEST:
            raise ServerError(
                f"the folders of {shown} are too deep in each other", hint="look at it yourself"
            )
        folder = os.open(name, _FOLDER, dir_fd=parent)
        try:
            self._check(os.fstat(folder), shown)
            yield folder
        finally:
            os.close(folder)

    def _delete_tree(self, parent: int, name: str, shown: Path, depth: int) -> int:
        gone = 0
        with self._inner(name, parent, shown, depth) as folder:
            for left in reversed(range(PASSES)):
                with os.scandir(folder) as entries:
                    for entry in entries:
                        with suppress(FileNotFoundError):  # moved or deleted meanwhile
                            if entry.is_dir(follow_symlinks=False):
                                gone += self._delete_tree(folder, entry.name, shown / entry.name, depth + 1)
                            else:
                                os.unlink(entry.name, dir_fd=folder)  # a link itself, never what it leads to
                                gone += 1
                try:
                    os.rmdir(name, dir_fd=parent)
                    break
                except OSError as error:
                    if error.errno not in _OCCUPIED or not left:
                        raise
        return gone + 1

    def _join(self, name: str, parent: int, to: str, other: int, shown: str | Path, depth: int = 0) -> None:
        """Move all that is in one folder into another, and delete it; what both have gets a new name."""
        path = self.root / shown
        with (
            self._inner(name, parent, path, depth) as source,
            self._inner(to, other, path, depth) as target,
        ):
            for entry in os.listdir(source):
                try:
                    both = os.stat(entry, dir_fd=target, follow_symlinks=False)
                except FileNotFoundError:
                    os.rename(entry, entry, src_dir_fd=source, dst_dir_fd=target)
                    continue
                own = os.stat(entry, dir_fd=source, follow_symlinks=False)
                if stat.S_ISDIR(both.st_mode) and stat.S_ISDIR(own.st_mode):
                    self._join(entry, source, entry, target, path / entry, depth + 1)
                else:
                    os.rename(entry, f"{entry}.{secrets.token_hex(4)}", src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)
        os.rmdir(name, dir_fd=parent)


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
        raise _unusable(settings.root / str(error.filename or ""), error) from error
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> ServerError:
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return ServerError(
        f"{path} cannot be used: {error.strerror}",
        hint="run it as root" if denied else "look at it yourself; the next command of this kind tries again",
    )


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
