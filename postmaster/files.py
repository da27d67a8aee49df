"""Files and folders with the very owner and mode that they need, whatever the umask.

The command line runs with umask 077, so that nothing secret is ever readable for a moment; what servers
are to read is opened here on purpose.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARENT_MODE = 0o755  # folders on the way that servers pass through


def replace(path: Path, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Put content in a file's place at once, with its owner and mode."""
    make_folder(path.parent, PARENT_MODE)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def complete(path: Path, mode: int) -> Iterator[Path]:
    """A new file to be filled, which takes a name, on disk, when the block ends, or is gone if it fails.

    What SQLite keeps beside it goes with it. A kill leaves it behind under a hidden name.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode))
        yield new
        _to_disk(new)
        new.replace(path)
        _to_disk(path.parent)
    finally:
        for left in (new, new.with_name(new.name + "-journal")):
            left.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path, most: int, *, follow: bool = True) -> tuple[bytes, os.stat_result]:
    """The first bytes of a file that anybody may have put there, and its status.

    Never waits: a pipe, a device or a folder is refused. Raises OSError; EINVAL for a name that is none.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "not a file name", str(path)) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most), status


def make_folder(folder: Path, mode: int) -> bool:
    """Make a folder, and its parents, with this very mode; one that is there keeps its own.

    Whether it was made.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    except FileNotFoundError:
        make_folder(folder.parent, PARENT_MODE)
        folder.mkdir()
    folder.chmod(mode)
    return True


def remedy(error: OSError) -> str | None:
    """What to do about a file that cannot be used; None where only the error itself says it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run it as root"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room, and run it again"
    return None
