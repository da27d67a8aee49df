"""Never two runs of the checks at once: a lock file, which the system lets go of however a run ends.

Its time of change says when the reader was last told that runs cannot be kept; that needs no room on a disk.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from postmaster.errors import PostmasterError
from postmaster.files import make_folder
from postmaster.health.state import DAY, Made, open_state
from postmaster.settings import StateSettings

LOCK = "health.lock"
STUCK = 900.0  # seconds after which a run will not end any more


class BusyError(PostmasterError):
    """Another run of the checks is under way."""

    code = "busy"

    def __init__(self, before: Made | None, process: int | None = None, lasting: float = 0.0) -> None:
        """`before`: the run before it. How mail was then is how it is, until the other run has ended.

        `process` makes the other run, and has been there for `lasting` seconds.
        """
        known = "" if before is None else f"; mail was {before.status.name} in the run before it"
        self.is_stuck = process is not None and lasting > STUCK
        if self.is_stuck:
            words = f"another health check has been under way for {lasting / 60:.0f} minutes"
            super().__init__(f"{words} (process {process}){known}", hint=f"end it: kill {process}")
        else:
            super().__init__(f"another health check is under way{known}", hint="run it again in some seconds")
        self.plugin_status = 3 if before is None else int(before.status)


class Lock:
    """Held while checks run. The system lets go of it when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def complained(self) -> float:
        """When the reader was last told that runs cannot be kept; 0 where all is well."""
        return os.fstat(self._descriptor).st_mtime

    def complain(self, at: float) -> None:
        """Say when; a disk that takes no times has the reader told each time, rather than never."""
        if self.complained != at:
            with suppress(OSError):
                os.utime(self._descriptor, (at, at))

    def complains(self, at: float) -> bool:
        """Whether the reader shall be told, which is once a day. Notes that it was."""
        if 0 <= at - self.complained < DAY:
            return False
        self.complain(at)
        return True


@contextmanager
def alone(settings: StateSettings, patience: float = 0.0) -> Iterator[Lock | None]:
    """Hold the lock; None where it cannot be made.

    Raises BusyError where another run is under way, and for as many seconds has not ended.
    """
    descriptor = None
    try:
        make_folder(settings.directory, 0o755)
        descriptor = _lock_file(settings.directory / LOCK)
        _take(descriptor, patience)
    except BlockingIOError:
        assert descriptor is not None
        process = _holder(descriptor)
        os.close(descriptor)
        lasting = 0.0 if process is None else _age(process)
        raise BusyError(_before(settings), process, lasting) from None
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        descriptor = None
    try:
        yield None if descriptor is None else Lock(descriptor)
    finally:
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that a check left behind has it too
            os.close(descriptor)


def news_of_stuck(settings: StateSettings, at: float) -> bool:
    """Whether the reader shall be told that a run does not end: once a day, as that runs are not kept.

    Notes that it was. The one that is stuck takes the note back when it ends well.
    """
    try:
        descriptor = _lock_file(settings.directory / LOCK)
    except OSError:
        return True
    try:
        return Lock(descriptor).complains(at)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    """The process that has the lock (proc(5), /proc/locks); None where that cannot be told."""
    wanted = f":{os.fstat(descriptor).st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[5].endswith(wanted) and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _age(process: int) -> float:
    """Seconds since a process began; 0 where that is not known."""
    with suppress(OSError, ValueError, IndexError):
        begun = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        now = float(Path("/proc/uptime").read_text().split()[0])
        return now - begun / os.sysconf("SC_CLK_TCK")
    return 0.0


def _before(settings: StateSettings) -> Made | None:
    with suppress(PostmasterError), open_state(settings) as state:
        return state.last_run()
    return None


def _take(descriptor: int, patience: float) -> None:
    ends = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= ends:
                raise
        time.sleep(0.1)


def _lock_file(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileExistsError):
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.utime(descriptor, (0, 0))
        return descriptor
    return os.open(path, flags)
