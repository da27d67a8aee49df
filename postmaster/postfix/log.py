"""Postfix's log: one line taken apart, and a log followed from its present end.

A line may have any of the forms of `forms.py`. The tag can have several parts (`postfix/submission/smtpd`).
What the line says is an event (`shapes.py`).

What it guarantees: any text at all gives a line or None, in time linear in its length. What it does not: tell
one use of a short queue ID from the next; that takes the lines between. Source: `postlogd.c`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postmaster.postfix import journal
from postmaster.postfix.events import Event
from postmaster.postfix.forms import match_head, plain
from postmaster.postfix.shapes import LINE_LIMIT, PROGRAMS, parse

READ = 1 << 20  # bytes of a log file taken at once


@dataclass(frozen=True, slots=True)
class Line:
    """A log line taken apart. `tag` is what stands before the program: `postfix`, `postfix/submission`."""

    stamp: str
    tag: str
    program: str
    event: Event


def parse_line(text: str) -> Line | None:
    """A line of Postfix's; None for any other."""
    text = text[:LINE_LIMIT].rstrip("\r\n")
    if text.startswith(("<", "{")):
        raw = f"{text}\n".encode("utf-8", "surrogateescape")
        text = plain(raw).decode("utf-8", "surrogateescape").rstrip("\n")
    found = match_head(text)
    if found is None:
        return None
    tag, slash, program = found[3].rpartition("/")
    if not slash or program not in PROGRAMS:
        return None
    return Line(found[1], tag, program, parse(program, text[found.end() :]))


class Follower:
    """What is written into log files from now on, over their rotation; where none is there, into the journal.

    A file that is moved away is read to its end before its successor is begun; one that is cut to nothing
    in place is begun again. What may not be read is left out: `readable` says whether anything is left.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._tails: list[_Tail | journal.Tail] = []
        wanted = dict.fromkeys(files)
        for file in wanted:
            with suppress(OSError):
                self._tails.append(_Tail(file))
        if journal.stands_in_for(wanted):
            with suppress(OSError):
                self._tails.append(journal.Tail())

    @property
    def readable(self) -> bool:
        return bool(self._tails)

    def lines(self) -> Iterator[str]:
        """The complete lines that came since the last call. Never waits."""
        for tail in self._tails:
            yield from tail.lines()

    def parsed(self) -> Iterator[Line]:
        """Those of them that Postfix wrote."""
        for text in self.lines():
            line = parse_line(text)
            if line is not None:
                yield line

    def close(self) -> None:
        for tail in self._tails:
            tail.close()
        self._tails.clear()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Tail:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._at = os.lseek(self._descriptor, 0, os.SEEK_END)
        self._rest = b""

    def lines(self) -> Iterator[str]:
        while True:
            yield from self._read()
            try:
                now, own = self._file.stat(), os.fstat(self._descriptor)
            except OSError:
                return  # moved away, and the new one is not there yet
            if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino):
                yield from self._read()  # what came between the last read and the move
                try:
                    new = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    return
                os.close(self._descriptor)
                self._descriptor, self._at, self._rest = new, 0, b""
            elif own.st_size < self._at:
                self._at, self._rest = 0, b""
            else:
                return

    def _read(self) -> Iterator[str]:
        while data := os.pread(self._descriptor, READ, self._at):
            self._at += len(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > 4 * LINE_LIMIT:
                self._rest = self._rest[:LINE_LIMIT]
            for line in whole:
                yield line[:LINE_LIMIT].decode("utf-8", "replace")

    def close(self) -> None:
        os.close(self._descriptor)
