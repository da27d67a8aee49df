"""Finding the lines of a few messages in large logs, without reading most lines.

A query names text that a line must contain. The first pass looks for that text in whole blocks, and parses
only the lines that have it: it finds the queue IDs of interest. The second looks at each block's queue IDs
as a set, and parses only the lines of those wanted, and the few that link one ID to another. What else
belongs to a message (the session that brought it, Dovecot's lines) is looked for near its own lines only.
So memory grows with what is found, never with the log.
"""

from __future__ import annotations

import ipaddress
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

from postmaster.errors import UsageError
from postmaster.parallel import each
from postmaster.postfix import events as postfix
from postmaster.postfix.stamps import Clock
from postmaster.trace.blocks import blocks, placed_blocks, standard_input
from postmaster.trace.filter import Filter, matcher
from postmaster.trace.lines import Line, parse
from postmaster.trace.lives import Life
from postmaster.trace.sources import (
    STDIN,
    Notes,
    Period,
    Source,
    shares,
    within,
)

WORTH = 16 << 20  # bytes of text from which a second process pays
BEFORE, AFTER = 120.0, 30.0  # seconds around a line in which the rest of its session is looked for


@dataclass(frozen=True)
class Query:
    """What is traced: a text as a person gives it, and conditions."""

    what: str = ""
    conditions: Filter = field(default_factory=Filter)

    def needle(self) -> bytes:
        """Text in lower case that every line of interest contains. Raises UsageError when there is none."""
        wanted = self.conditions
        texts = [self.what, wanted.message_id, wanted.sasl, wanted.recipient, wanted.sender, wanted.client]
        texts += [wanted.relay, f"status={wanted.status}" if wanted.status else ""]
        texts += [f"dsn={wanted.dsn}" if wanted.dsn else "", "delay=" if wanted.min_delay else ""]
        for text in texts:
            parts = re.split(r"[*?\[\]]", text.strip().strip("<>")) if text else []
            longest = max(parts, key=len, default="")
            if longest:
                return longest.lower().encode("utf-8", "surrogateescape")
        raise UsageError(
            "nothing to look for", hint="name an address, a queue ID, a Message-ID, or a condition"
        )

    def takes(self, life: Life) -> bool:
        """Whether a message is the one that is asked for."""
        return life.fits(self.conditions) and (not self.what or any(map(self._names, life.lines)))

    def takes_refusal(self, line: Line) -> bool:
        """Whether a refusal without a queue ID is asked for."""
        event = line.event
        return (
            isinstance(event, postfix.Policy)
            and self.conditions.takes_policy(event)
            and (not self.what or self._names(line))
        )

    def _names(self, line: Line) -> bool:
        """Whether a line names what is asked for in one of its fields."""
        event = line.event
        if not isinstance(event, postfix.Event):
            return False
        if getattr(event, "queue_id", None) == self.what:
            return True
        match event:
            case postfix.Delivery():
                peer = postfix.peer(event.relay)
                names = [event.recipient, event.orig_recipient or "", *(peer or ())]
            case postfix.Queued() | postfix.Expired():
                names = [event.sender]
            case postfix.Pickup():
                names = [event.sender, event.orig_id or ""]
            case postfix.MessageId():
                return event.message_id.strip("<>").lower() == self.what.strip("<>").lower()
            case postfix.Client():
                names = [event.name, event.address, event.sasl_username or "", event.orig_queue_id or ""]
                names += postfix.peer(event.orig_client or "") or ()
            case postfix.Policy():
                names = [event.sender or "", event.recipient or "", event.name, event.address]
            case postfix.Notice():
                return event.new_id == self.what
            case _:
                return False
        return any(map(self._fits, filter(None, names)))

    @property
    def _fits(self) -> Callable[[str], bool]:
        return _what_matcher(self.what)


def _what_matcher(what: str) -> Callable[[str], bool]:
    """For WHAT: an address, a domain with its addresses, hosts below it, or a pattern."""
    try:
        address = ipaddress.ip_address(what)
    except ValueError:
        fits, below = matcher(what), f".{what.lower()}"
        return lambda text: fits(text) or ("@" not in text and text.lower().endswith(below))
    return lambda text: text == what or text == str(address)


def _kept(source: Source) -> Source:
    """Standard input comes once and is looked at several times: it goes into a file that has no name."""
    if source.path != STDIN:
        return source
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
    file.writelines(standard_input())
    file.flush()
    _files.append(file)
    return Source(Path(f"/proc/self/fd/{file.fileno()}"), source.reference, file.tell())


_files: list[IO[bytes]] = []

Key = tuple[str, str]  # instance, queue ID


#: Gives the lines that it finds in a block, in its order, each with its beginning there.
Look = Callable[[bytes, Clock], list[tuple[int, Line]]]


class Logs:
    """Some logs within a period, to be searched several times. Standard input is kept, as it comes once."""

    def __init__(self, logs: Sequence[Sequence[Source]], period: Period, notes: Notes) -> None:
        self._period, self._notes = period, notes
        self._logs = [within(map(_kept, log), period) for log in logs]

    def begin(self) -> float | None:
        """When the logs start, None where they are empty."""
        first: list[float] = []
        for log in self._logs:
            for source in log:
                clock = Clock(source.reference)
                block = next(iter(blocks(source, self._period, Notes())), b"")
                moments = (clock.of_line(line[:64]) for line in block[:65536].splitlines())
                moment = next((one for one in moments if one is not None), None)
                if moment is not None:
                    first.append(moment)
                    break
        return min(first, default=None)

    def each(
        self,
        look: Look,
        near: Period | None = None,
        only: Callable[[Source], bool] = lambda source: True,
    ) -> list[Line]:
        """What `look` finds in all blocks, in the order of time; in one period only with `near`.

        `only` says which sources are read.
        """
        found: list[Line] = []
        period = self._period if near is None else _both(self._period, near)
        for number, log in enumerate(self._logs):
            read = list(filter(only, log))
            chosen = read if near is None else within(read, period)
            names = {source.name: at for at, source in enumerate(log)}

            def part(
                sources: list[Source], number: int = number, names: dict[str, int] = names
            ) -> tuple[list[Line], list[str]]:
                lines, own = list[Line](), Notes()
                for source in sources:
                    clock, file = Clock(source.reference), names[source.name]
                    for block in placed_blocks(source, period, own):
                        seen = look(block.text, clock)
                        places = block.places([begin for begin, _ in seen]) if seen else ()
                        lines += [
                            replace(line, place=(number, file, place))
                            for place, (_, line) in zip(places, seen, strict=True)
                        ]
                return lines, own.problems

            for lines, problems in each(part, shares(chosen, WORTH)):
                found += lines
                self._notes.add(problems)
        found.sort(key=lambda line: line.order)
        return found


def seeds(logs: Logs, query: Query) -> tuple[set[Key], list[Line]]:
    """The first pass: queue IDs that a line with the query's text has, and refusals that are asked for."""
    needle = query.needle()
    whole = re.fullmatch(rb"[0-9a-z]{5,32}", needle) is not None
    found = logs.each(lambda block, clock: _lines_with(block, needle, clock))
    keys, refusals = set[Key](), list[Line]()
    for line in found:
        event = line.event
        if not isinstance(event, postfix.Event):
            continue
        queue_id = getattr(event, "queue_id", None)
        if queue_id is not None:
            keys.add((line.instance, queue_id))
        elif query.takes_refusal(line):
            refusals.append(line)
    if whole:  # it may be a queue ID that only other lines name
        keys |= {(line.instance, query.what) for line in found if isinstance(line.event, postfix.Event)}
    return keys, refusals


def _lines_with(block: bytes, needle: bytes, clock: Clock) -> list[tuple[int, Line]]:
    """The parsed lines of a block that contain a text, whatever its case."""
    folded, begins, at = block.lower(), list[int](), 0
    while (at := folded.find(needle, at)) >= 0:
        begins.append(block.rfind(b"\n", 0, at) + 1)
        end = block.find(b"\n", at)
        at = len(block) if end < 0 else end
    return _lines_at(block, begins, clock)


_find_ids = re.compile(rb"\]: (\w++): ", re.ASCII).findall
#: What stands before the queue ID of another message, in a line that begins with its own.
_LINKS = (b"orig_id=", b"orig_queue_id=", b" notification: ", b"(forwarded as ")
_match_link = re.compile(rb"[0-9A-Za-z]{5,32}").match
CHUNK = 1 << 17  # bytes whose IDs are looked at as a set


def gather(logs: Logs, keys: Iterable[Key], since: float | None = None) -> list[Line]:
    """The second pass: every line of these IDs, and the lines of others that link to them."""
    wanted = {queue_id.encode() for _, queue_id in keys}
    return logs.each(lambda block, clock: _lines_of(block, wanted, clock), Period(since))


def _lines_of(block: bytes, wanted: set[bytes], clock: Clock) -> list[tuple[int, Line]]:
    begins: set[int] = set()
    for begin, end in _chunks(block):
        for queue_id in wanted.intersection(_find_ids(block, begin, end)):
            at, text = begin, b"]: %s: " % queue_id
            while (at := block.find(text, at, end)) >= 0:
                begins.add(block.rfind(b"\n", 0, at) + 1)
                at += len(text)
    for text in _LINKS:
        at = 0
        while (at := block.find(text, at)) >= 0:
            at += len(text)
            linked = _match_link(block, at)
            if linked is not None and linked[0] in wanted:
                begins.add(block.rfind(b"\n", 0, at) + 1)
    found = _lines_at(block, sorted(begins), clock)
    return [(begin, line) for begin, line in found if isinstance(line.event, postfix.Event)]


def _chunks(block: bytes) -> Iterator[tuple[int, int]]:
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + CHUNK)
        end = len(block) if end < 0 else end + 1
        yield begin, end
        begin = end


def _lines_at(block: bytes, begins: Iterable[int], clock: Clock) -> list[tuple[int, Line]]:
    found = []
    for begin in begins:
        end = block.find(b"\n", begin)
        raw = block[begin : len(block) if end < 0 else end].decode("utf-8", "surrogateescape")
        if (line := parse(raw, clock)) is not None:
            found.append((begin, line))
    return found


def near(logs: Logs, tokens: Iterable[tuple[bytes, float]]) -> list[Line]:
    """The lines that contain one of some texts, each near its moment. No line comes twice.

    Plain files and the journal are asked for each stretch of time; a compressed file is read once for all.
    """
    ordered = sorted(tokens, key=lambda item: item[1])
    windows: list[tuple[float, float]] = []
    for _, moment in ordered:
        begin, end = moment - BEFORE, moment + AFTER
        if windows and begin <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(windows[-1][1], end))
        else:
            windows.append((begin, end))
    if not windows:
        return []
    found: dict[tuple[int, int, int], Line] = {}
    look = partial(_lines_near, ordered, [moment for _, moment in ordered])
    for begin, end in windows:
        for line in logs.each(look, Period(begin, end), lambda source: not source.program):
            found.setdefault(line.place, line)
    for line in logs.each(look, Period(windows[0][0], windows[-1][1]), lambda source: bool(source.program)):
        found.setdefault(line.place, line)
    return sorted(found.values(), key=lambda line: line.order)


def _lines_near(
    tokens: Sequence[tuple[bytes, float]], moments: Sequence[float], block: bytes, clock: Clock
) -> list[tuple[int, Line]]:
    """Of a block the lines with a text, near its moment. Only texts whose moment is near the block are looked
    for: a message of many asks for its own stretch of the log, not for all of it.
    """
    first, last = _times_of(block, clock)
    texts: dict[bytes, list[float]] = {}
    for text, moment in tokens[bisect_left(moments, first - AFTER) : bisect_right(moments, last + BEFORE)]:
        texts.setdefault(text, []).append(moment)
    begins: set[int] = set()
    for text, own in texts.items():
        at = 0
        while (at := block.find(text, at)) >= 0:
            begin = block.rfind(b"\n", 0, at) + 1
            when = clock.of_line(block[begin : begin + 64])
            if when is not None and any(one - BEFORE <= when < one + AFTER for one in own):
                begins.add(begin)
            at += len(text)
    return _lines_at(block, sorted(begins), clock)


def _times_of(block: bytes, clock: Clock) -> tuple[float, float]:
    """When the first and the last line of a block were written; without limits where they do not say."""
    first = clock.of_line(block[:64])
    at = block.rfind(b"\n", 0, -1) + 1
    last = clock.of_line(block[at : at + 64])
    return -math.inf if first is None else first, math.inf if last is None else last


def _both(one: Period, other: Period) -> Period:
    begins = [moment for moment in (one.since, other.since) if moment is not None]
    ends = [moment for moment in (one.until, other.until) if moment is not None]
    return Period(max(begins, default=None), min(ends, default=None))
