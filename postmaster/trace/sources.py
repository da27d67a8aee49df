"""Where log lines come from: files plain or compressed, rotated sets, the journal, standard input.

A log is a list of sources in the order of time, which `blocks.py` reads. In a plain file the first and the
last line between two moments are found by bisection, so nothing outside is read; of a rotated set the files
that ended before are not even opened. Lines are taken to stand in the order of time, as syslog writes them.

`split` cuts a log into parts that are read at the same time. A compressed file can be cut as well: each
part unpacks it from its start, and drops what stands before its own lines. That is unpacked twice, at a
fraction of what it takes to read it, and nothing has to be held for a part that is slower.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from postmaster import parallel
from postmaster.errors import NotFoundError
from postmaster.postfix import journal
from postmaster.postfix.forms import moment_of
from postmaster.postfix.logfiles import log_files
from postmaster.postfix.stamps import Clock
from postmaster.settings import Settings

LINE_LIMIT = 1 << 16  # bytes without an end of line after which one is put
LOOK = 1 << 12  # bytes that a step of the bisection reads
PROCESSES = 2  # that read a log; more would not pay before several GiB, and cost memory
STDIN = Path("-")

_PROGRAMS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
_PACKED = 8  # about how many times smaller a compressed log is
_PACKED_MOST = 40  # more than that is no log, or the end of a file made of several


@dataclass(slots=True)
class Notes:
    """What went wrong while reading: a line for each."""

    problems: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[str]) -> None:
        """Note what is not yet noted: parts of a file, or a second pass, meet the same."""
        self.problems += [one for one in problems if one not in self.problems]


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds since 1970; `until` is not included. None: no limit."""

    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a log. `program` unpacks it; a file may be given as a range of the bytes of its text."""

    path: Path | None  # None: the journal
    reference: float  # the log's own time, which old time stamps are read with
    size: int = 0  # bytes of text; of a compressed file about how many
    program: str = ""
    begin: int = 0
    end: int | None = None  # None: to the end of the file

    @property
    def name(self) -> str:
        return (
            "the journal" if self.path is None else "standard input" if self.path == STDIN else str(self.path)
        )

    @property
    def is_plain(self) -> bool:
        return self.is_file and not self.program

    @property
    def is_file(self) -> bool:
        return self.path not in (None, STDIN)

    @property
    def weight(self) -> int:
        """About how many bytes of text it has."""
        return (self.size if self.end is None else self.end) - self.begin


def find(settings: Settings, named: Sequence[Path] = ()) -> list[list[Source]]:
    """The logs to read, each a list of sources in the order of time.

    `named` is what the person asked for (`-` is standard input): just these, each a log of its own.
    Otherwise the server's logs with what was rotated away, or the journal. Raises NotFoundError.
    """
    if named:
        return [[_named(path)] for path in named]
    wanted = log_files(settings.log, settings.postfix)
    logs = [found for path in wanted if (found := _rotated(path))]
    if logs:
        return logs
    if journal.is_kept():
        return [[Source(None, time.time())]]
    raise NotFoundError(
        f"there is no log: {', '.join(map(str, wanted))} does not exist, and no journal is kept",
        hint="name one with --log FILE, or in the settings' log.files",
    )


def _named(path: Path) -> Source:
    if path == STDIN:
        return Source(STDIN, time.time())
    try:
        return _file(path)
    except OSError as error:
        hint = "run it as root" if isinstance(error, PermissionError) else "is the name right?"
        raise NotFoundError(f"{path} cannot be read: {error.strerror}", hint=hint) from None


def _file(path: Path) -> Source:
    with path.open("rb") as file:
        status, magic = os.fstat(file.fileno()), file.read(6)
        program = packer(magic)
        size = status.st_size
        if program:
            size *= _PACKED
        if program == "gzip" and status.st_size >= 18:
            file.seek(-4, os.SEEK_END)
            said = int.from_bytes(file.read(4), "little")  # RFC 1952, ISIZE: of the last member, modulo 2**32
            if status.st_size <= said <= status.st_size * _PACKED_MOST:
                size = said
    return Source(path, status.st_mtime, size, program)


def packer(begin: bytes) -> str:
    """The program that made a file that begins so; empty where none did."""
    return next((program for start, program in _PROGRAMS.items() if begin.startswith(start)), "")


_ROTATED = re.compile(r"(?:\.(\d{1,4})|-(\d{8}(?:-?\d{1,10})?))?(?:\.(?:gz|xz|zst|bz2))?", re.ASCII)


def _rotated(path: Path) -> list[Source]:
    """A log's file and its rotated ones, oldest first. Raises NotFoundError for one that may not be read."""
    found: list[tuple[tuple[int, str, int], Path]] = []
    try:
        names = os.listdir(path.parent)
    except OSError:
        return []
    for name in names:
        tail = _ROTATED.fullmatch(name[len(path.name) :]) if name.startswith(path.name) else None
        if tail is not None:
            # Dates first in their order, then numbers from the highest, then the log itself.
            number, date = tail.groups()
            rank = (0, date, 0) if date else (1, "", -int(number)) if number else (2, "", 0)
            found.append((rank, path.parent / name))
    return [_named(one) for _, one in sorted(found) if one.is_file()]


def within(log: Iterable[Source], period: Period) -> list[Source]:
    """The sources that can have lines of the period, plain ones cut down to it."""
    chosen = []
    for source in log:
        if period.since is not None and source.reference < period.since:
            continue  # its last line was written before
        if source.is_plain and (period.since is not None or period.until is not None):
            assert source.path is not None
            with source.path.open("rb") as file:
                clock, size = Clock(source.reference), os.fstat(file.fileno()).st_size

                def look(at: int, length: int, number: int = file.fileno()) -> bytes:
                    return os.pread(number, length, at)

                begin = 0 if period.since is None else bisect(look, size, period.since, clock)
                end = size if period.until is None else bisect(look, size, period.until, clock)
            if begin >= end:
                continue
            source = replace(source, begin=begin, end=end)
        chosen.append(source)
    return chosen


def bisect(look: Callable[[int, int], bytes], size: int, moment: float, clock: Clock) -> int:
    """Where the first line that is not before a moment begins; `size` when there is none.

    `look(at, length)` gives bytes from a place. Lines without a time stamp belong to the one before.
    """
    low, high = 0, size
    while low < high:  # the smallest place after which the next line is not before the moment
        middle = (low + high) // 2
        found = _next_line(look, middle, size, clock)
        if found is None or found[1] >= moment:
            high = middle
        else:
            low = max(middle + 1, found[0] + 1)
    found = _next_line(look, low, size, clock)
    return size if found is None else found[0]


def _next_line(
    look: Callable[[int, int], bytes], at: int, size: int, clock: Clock
) -> tuple[int, float] | None:
    """(beginning, time) of the first line with a time stamp that begins at a place or after it."""
    at = max(0, at - 1)
    data, is_begin = b"", at == 0
    while at < size:
        if len(data) < LOOK // 2:
            more = look(at + len(data), LOOK)
            if not more and not data:
                return None
            data += more
        if is_begin:
            while data.startswith(b"{") and b"\n" not in data and len(data) < LINE_LIMIT:
                more = look(at + len(data), LOOK)  # an entry of the journal has its time anywhere
                if not more:
                    break
                data += more
            if (when := moment_of(data.partition(b"\n")[0], clock)) is not None:
                return at, when
        cut = data.find(b"\n")
        if cut < 0:
            at, data, is_begin = at + len(data), b"", False
        else:
            at, data, is_begin = at + cut + 1, data[cut + 1 :], True
    return None


def shares(log: Sequence[Source], worth: int) -> list[list[Source]]:
    """A log in the parts that are read at the same time: a single one below `worth` bytes of text."""
    is_large = sum(source.weight for source in log) >= worth
    return split(log, parallel.processes(PROCESSES) if is_large else 1)


def split(log: Sequence[Source], parts: int) -> list[list[Source]]:
    """A log in so many parts of about the same size; files are cut themselves where that is needed.

    Of a compressed file only its text can tell where its lines begin: a line belongs to the part that has
    its first byte.
    """
    if parts < 2:
        return [list(log)]
    total = sum(source.weight for source in log)
    shares: list[list[Source]] = [[] for _ in range(parts)]
    seen = 0
    for source in log:
        while True:
            part = min(parts - 1, seen * parts // max(1, total))
            room = -(-total * (part + 1) // parts) - seen  # rounded up, so that each step goes on
            if not source.is_file or source.weight <= room or part == parts - 1:
                break
            cut = _line_after(source, source.begin + room) if source.is_plain else source.begin + room
            shares[part].append(replace(source, end=cut))
            seen += cut - source.begin
            source = replace(source, begin=cut)
        if source.weight > 0:
            shares[part].append(source)
            seen += source.weight
    return shares


def _line_after(source: Source, at: int) -> int:
    assert source.path is not None
    end = source.size if source.end is None else source.end
    with source.path.open("rb") as file:
        file.seek(at)
        file.readline()
        return min(end, file.tell())
