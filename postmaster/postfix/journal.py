"""systemd's journal, where servers log that write no file: Debian's have done so since Debian 12.

Its lines are read as JSON, one of the forms that `forms.py` knows, by journalctl(1).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from postmaster.errors import ProcessError
from postmaster.postfix.forms import plain
from postmaster.process import run

_READ = 1 << 20  # bytes taken at once
_FOLDER = Path("/run/systemd/journal")  # there while journald runs
_MAIL = "SYSLOG_FACILITY=2"
_CURSOR = "-- cursor: "


def is_kept() -> bool:
    """Whether this machine keeps a journal."""
    return _FOLDER.is_dir()


def stands_in_for(files: Iterable[Path]) -> bool:
    """Whether the journal is read in place of log files: it is kept, and none of them is there."""
    return is_kept() and not any(file.exists() for file in files)


def command(*options: str) -> list[str]:
    """A journalctl that prints the lines of mail programs, as JSON."""
    return ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", *options, _MAIL]


class Tail:
    """What is written into the journal from now on. Raises OSError where it cannot be read."""

    def __init__(self) -> None:
        now = time.time()
        try:
            last = run(["journalctl", "--quiet", "--lines=1", "--show-cursor", "--output=cat", _MAIL]).stdout
        except ProcessError as error:
            raise OSError(error.message) from error
        cursor = last.rpartition(_CURSOR)[2].strip() if _CURSOR in last else ""
        # After a cursor nothing is missed of what comes while this one starts.
        since = f"--after-cursor={cursor}" if cursor else f"--since=@{now:.6f}"
        # A session of its own: Ctrl-C is for who reads, and it is ended by `close`.
        self._process = subprocess.Popen(
            command("--follow", "--lines=all", since),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._descriptor = self._process.stdout.fileno()
        os.set_blocking(self._descriptor, False)
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The complete lines that came since the last call, in the usual form. Never waits."""
        with suppress(BlockingIOError):
            while data := os.read(self._descriptor, _READ):
                whole, end, self._rest = (self._rest + data).rpartition(b"\n")
                yield from plain(whole + end).decode("utf-8", "surrogateescape").splitlines()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
