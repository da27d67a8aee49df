"""Reading a log's lines: blocks of whole lines between two moments, and where each line stands.

A last line without an end is not yet written and left out. Compressed files go through the programs `gzip`,
`xz`, `zstd` and `bzip2`, each a process of its own, so that reading and unpacking share two processors;
Python has no module for all of them before 3.14, and a library for one would weigh more than the program
that made the file. What cannot be read to its end is noted in `Notes` and never passed over in silence.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate

from postmaster.errors import ProcessError, UsageError
from postmaster.postfix import journal
from postmaster.postfix.forms import plain
from postmaster.postfix.stamps import Clock
from postmaster.process import stream
from postmaster.trace.sources import LINE_LIMIT, STDIN, Notes, Period, Source, bisect, packer

BLOCK = 1 << 20  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines in the usual form.

    `at` is where they begin in the source, in bytes. `raw` has them as they were where they had another form,
    after `skipped` lines that are not in `text`. `is_numbered`: they are the journal's.
    """

    text: bytes
    at: int
    raw: bytes | None = None
    skipped: int = 0
    is_numbered: bool = False

    def places(self, begins: Sequence[int]) -> list[int]:
        """Where in the source lines stand that begin so in `text`, in the order of the source.

        A line has the same place whenever it is read. The journal's is its number there, as what journalctl
        prints begins elsewhere each time.
        """
        if self.raw is None:
            return [self.at + begin for begin in begins]
        lines, found, number, counted = self.raw.split(b"\n"), [], self.skipped, 0
        starts = [0, *accumulate(len(line) + 1 for line in lines)]
        for begin in begins:
            number, counted = number + self.text.count(b"\n", counted, begin), begin
            numbered = _find_number(lines[number]) if self.is_numbered else None
            found.append(int(numbered[1], 16) if numbered else self.at + starts[number])
        return found


_find_number = re.compile(rb'"__CURSOR" ?: ?"[^"]{0,200}?;i=([0-9a-f]{1,16});', re.ASCII).search


def blocks(source: Source, period: Period, notes: Notes) -> Generator[bytes]:
    """The source's lines of the period, in blocks of whole lines of the usual form."""
    for block in placed_blocks(source, period, notes):
        yield block.text


def placed_blocks(source: Source, period: Period, notes: Notes) -> Iterator[Block]:
    """The same with the places of their lines."""
    if source.is_plain:
        for at, raw in _read_plain(source, notes):
            text = plain(raw)
            yield Block(text, at, None if text is raw else raw)
        return
    clock = Clock(source.reference)
    with closing(_read(source, period, notes)) as chunks:
        for at, raw in _between(whole_lines(chunks), source.begin, source.end):
            text = plain(raw)
            begin, end = clip(text, period, clock)
            if begin < end:
                if text is raw:
                    yield Block(text[begin:end], at + begin)
                else:
                    skipped = text.count(b"\n", 0, begin)
                    yield Block(text[begin:end], at, raw, skipped, source.path is None)
            if end < len(text):
                return  # no later block can have a line of the period


def _between(found: Iterable[bytes], begin: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Of blocks of whole lines the lines that begin between two places, each block with its own place."""
    at = 0
    for block in found:
        after = at + len(block)
        if end is not None and at >= end:
            return
        if after > begin:
            first = block.find(b"\n", begin - at - 1) + 1 if at < begin else 0
            last = block.find(b"\n", end - at - 1) + 1 if end is not None and after > end else len(block)
            if first < last:
                yield at + first, block[first:last]
        at = after


def clip(block: bytes, period: Period, clock: Clock) -> tuple[int, int]:
    """Where in a block the lines of a period begin and end."""

    def look(at: int, length: int) -> bytes:
        return block[at : at + length]

    begin = 0 if period.since is None else bisect(look, len(block), period.since, clock)
    end = len(block) if period.until is None else bisect(look, len(block), period.until, clock)
    return begin, end


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end with a line. What comes after the last end of a line is left out."""
    rest = b""
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = chunk[cut:]
        elif len(rest) > LINE_LIMIT:
            yield rest + b"\n"
            rest = chunk
        else:
            rest += chunk


def _read_plain(source: Source, notes: Notes) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file, with their place. What is read beyond the last of them is read again."""
    assert source.path is not None
    at, end = source.begin, source.end
    try:
        with source.path.open("rb", buffering=0) as file:
            while end is None or at < end:
                block = os.pread(file.fileno(), BLOCK if end is None else min(BLOCK, end - at), at)
                if not block:
                    return
                cut = block.rfind(b"\n") + 1
                if cut:
                    yield at, block if cut == len(block) else block[:cut]
                elif len(block) < BLOCK:
                    return  # the last line is not yet written
                at += cut or BLOCK  # a line longer than a block is none
    except OSError as error:
        notes.problems.append(f"{source.name} could not be read: {error.strerror}")


def _read(source: Source, period: Period, notes: Notes) -> Generator[bytes, None, None]:
    if source.path == STDIN:
        yield from standard_input()
        return
    if source.path is None:
        # Whole seconds on either side; the lines of the period are cut out of them.
        since = [f"--since=@{math.floor(period.since)}"] if period.since is not None else []
        until = [f"--until=@{math.ceil(period.until)}"] if period.until is not None else []
        argv = journal.command(*since, *until)
    else:
        argv = [source.program, "-dc", "--", str(source.path)]
    try:
        with stream(argv, block=BLOCK, hint=f"install the program {source.program}") as chunks:
            yield from chunks
    except ProcessError as error:
        notes.problems.append(f"{source.name} could not be read to its end: {error.message}")


def standard_input() -> Iterator[bytes]:
    """What comes there, in blocks. Raises UsageError when it is compressed."""
    block = sys.stdin.buffer.read(BLOCK)
    if program := packer(block):
        hint = f"name the file with --log, or unpack it first: {program} -dc FILE | …"
        raise UsageError("standard input is compressed", hint=hint)
    while block:
        yield block
        block = sys.stdin.buffer.read(BLOCK)
