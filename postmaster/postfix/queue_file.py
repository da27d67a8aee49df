"""Queue files, read in place: what Postfix keeps of a message, without asking Postfix.

A queue file is a sequence of records: a type byte, a length in groups of seven bits (low ones
first), data (`rec_type.h`, `record.c`). The size record `C` comes first and says how long the content
is, so the envelope is read without it; recipients can stand behind the content too (section `X`).
Milters edit a file in place: a pointer `p` leads to a heap behind the end record and back. Delivery
flips `R` to `D`; records are never moved. What lies in `maildrop` has no size record.

What it guarantees: no lock is taken, nothing is written, and any bytes at all give an `Envelope` (with
`damage` saying what is wrong) in bounded time and memory. Text is what `showq` would print (`printed.py`).
A file that vanished or may not be read is the caller's OSError.

What it does not: say what happened to a file between two reads. Sources: `rec_type.h`, `record.c`,
`showq.c`, `qmgr_message.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from postmaster.postfix.printed import external_ascii, external_utf8, printed

FIRST_READ = 4096  # bytes; holds the envelope of nearly every message
WINDOW = 65536  # bytes read at a time where that is not enough
ENVELOPE_LIMIT = 32 << 20  # bytes of records walked through
RECIPIENT_LIMIT = 250_000  # recipients kept of one message, done ones included
JUMP_LIMIT = 10_000  # backward pointers (REVERSE_JUMP_LIMIT); a file that has more runs in a circle

_SIZE, _TIME, _SENDER, _ORIGINAL, _TODO, _DONE = b"CTSORD"
_ATTRIBUTE, _MESSAGE, _EXTRA, _END, _POINTER = b"AMXEp"
_FILTER, _REDIRECT, _NORMAL, _CONTINUED = b"L>NL"
_SIZE_LENGTH = 95  # of the size record since Postfix 3.0: six numbers of 15 places
_KNOWN = frozenset(b"CTcFILSDRO/WVA>K<ionfmMNwXrePpE")

#: Groups of the pattern of `Wanted`: where the first records end and what they say, where the originals and
#: the addresses of the first three recipients are; how many groups these are.
_AFTER_SIZE, _AT_SENDER, _ARRIVAL, _CREATED = 3, 4, 5, 12
_AT_RECIPIENTS = ((8, 11), (7, 10), (6, 9))
_HEAD_GROUPS = 12


class RecipientRecord(NamedTuple):
    """A recipient record: where it stands in the file, the address, the address before aliases."""

    offset: int
    address: str
    original: str | None
    done: bool


@dataclass(slots=True)
class Envelope:
    """What the records around the content say. Sizes and offsets are in bytes, times in seconds."""

    sender: str | None = None  # None: no sender record; empty: the null sender
    arrival_time: int | None = None  # None: no time record, as in maildrop
    message_size: int | None = None  # of the content; None: no good size record, as in maildrop
    content: int | None = None  # where the content's records begin
    todo: list[tuple[int, str, str | None]] = field(default_factory=list)  # offset, address, original
    done: list[tuple[int, str, str | None]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)  # attributes as they stand in the file, `name=value`
    head: re.Match[bytes] | None = None  # what a `Wanted` read at once; its attributes are not in `raw`
    content_filter: str | None = None
    redirect: str | None = None  # an address that the message goes to instead
    damage: str | None = None  # what is wrong with the file; None: nothing

    @property
    def recipients(self) -> list[RecipientRecord]:
        """All recipients in the order of the file. `todo` and `done` are quicker where many are read."""
        both = [(one, False) for one in self.todo] + [(one, True) for one in self.done]
        return [RecipientRecord(*one, done) for one, done in sorted(both, key=lambda pair: pair[0][0])]

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes, printable: `client_address`, `sasl_username` and more (`mail_proto.h`)."""
        pairs = (one.partition(b"=") for one in (*_attributes_in(self.head), *self.raw))
        return {printed(name, True): printed(value, True) for name, _, value in pairs}


class Wanted:
    """Attributes that are looked for. For one value, several names, best first: `"log_helo_name helo_name"`.

    It also has the pattern that reads most files at once: it walks from record to record, by their lengths,
    as the loop of `read_envelope` does, and marks where a wanted value begins. What it does not know (lengths
    of two bytes, pointers, done recipients, a second sender or time, more than three recipients) it leaves,
    with all that follows, to the loop.
    """

    __slots__ = ("alternatives", "match", "nowhere")

    def __init__(self, *names: str) -> None:
        #: For each value: (name, length of `name=`, group that marks where the value begins).
        self.alternatives: list[list[tuple[bytes, int, int]]] = []
        marks, group = [], _HEAD_GROUPS
        for text in names:
            self.alternatives.append([])
            for name in text.encode().split():
                group += 1
                self.alternatives[-1].append((name, len(name) + 1, group))
                marks.append(b"%b=(?(%d)(?!)|())" % (re.escape(name), group))
        self.nowhere = ((-1, -1),) * (group + 1)
        sizes = sorted(range(128), key=lambda size: abs(size - 28))  # the most frequent ones first
        lengths = b"|".join(re.escape(bytes((size,))) + b".{%d}" % size for size in sizes)
        self.match = re.compile(
            rb"(?s)(?:C_([ 0-9]{15})[ 0-9]{17}([ 0-9]{15})[ 0-9]{48}|)()(?>(?:(?:"
            rb"S(?(4)(?!)|())"
            rb"|T(?(5)(?!)|(?=[\x0b-\x7f]([0-9]{10}) ))"
            rb"|O(?(9)(?!)|(?(10)(?(6)(?!)|())|(?(11)(?(7)(?!)|())|(?(8)(?!)|()))))"
            rb"|R(?(10)(?(9)(?!)|())|(?(11)()|()))"
            rb"|A(?=\x16create_time=(?(12)(?!)|([0-9]{10})))"
            rb"|A(?!.create_time=)(?=.(?:" + b"|".join(marks) + rb")|)"
            rb")(?:" + lengths + rb"))*)"
        ).match


class _Records:
    """What is read of a file while its records are walked through, and how much more may be."""

    __slots__ = ("budget", "data", "descriptor", "jumps", "last", "loaded")

    def __init__(self, descriptor: int, budget: int = ENVELOPE_LIMIT) -> None:
        self.descriptor = descriptor
        self.data = b""
        self.budget = budget
        self.loaded = -1  # where the last window begins
        self.jumps = 0
        self.last = 0  # the last pointer's target

    def load(self, position: int, size: int = WINDOW) -> bytes:
        """A window from a place in the file; empty at its end, or where enough was read of it."""
        self.loaded = position if size == WINDOW else -1
        self.budget -= size
        try:
            self.data = os.pread(self.descriptor, size, position) if self.budget > 0 else b""
        except OSError:
            self.data = b""
        return self.data

    def what_is_missing(self) -> str:
        """Why the record at the beginning of the window is not all there."""
        if self.budget <= 0:
            return "its envelope is too long to be read"
        if len(self.data) == WINDOW:
            return "a record is too long to make sense"
        return "a record is cut off" if self.data else "the end of the file is missing"

    def jump(self, value: bytes, walked: int) -> int | None:
        """Where a pointer leads: 0 nowhere, None astray (`rec_goto`)."""
        digits = value.partition(b"\0")[0].lstrip(b" \t\r\n\v\f")
        if digits and not digits.isdigit():
            return None
        target = int(digits or b"0") if len(digits) <= 18 else -1
        if target < 0:
            return None
        if target == 0:
            return 0
        self.budget -= walked
        if target <= self.last:
            self.jumps += 1
        self.last = target
        return None if self.jumps > JUMP_LIMIT or self.budget <= 0 else target


def read_envelope(
    descriptor: int,
    *,
    utf8: bool = True,
    recipients: bool = True,
    attributes: bool = True,
    wanted: Wanted | None = None,
    size: int | None = None,
) -> Envelope:
    """The envelope of an open queue file.

    `utf8` is Postfix's `smtputf8_enable`: without it, it prints other bytes than ASCII as `?`. Without
    `recipients` the reading ends at the first of them, without `attributes` too at the sender. Given the
    file's `size`, it ends before the content where the size record says that no recipient comes after it.
    """
    envelope = Envelope()
    records: _Records | None = None  # most files need no more than the first read
    data = os.pread(descriptor, FIRST_READ, 0)
    origin, end = 0, len(data)
    at = begun = 0
    original: bytes | None = None
    todo, done, keep = envelope.todo, envelope.done, envelope.raw.append
    expected = -1  # recipients, as the size record has it
    decode = external_utf8 if utf8 else external_ascii
    if wanted is not None and recipients and attributes:
        expected, original, at = _take_head(envelope, wanted.match(data), decode)
    while True:
        start = at
        if at + 2 > end:
            stop = end + 1
        else:
            kind, length = data[at], data[at + 1]
            at += 2
            if length > 127:
                length, at = _long_length(data, at - 1)
            stop = at + length
        if stop > end:  # the window ends within the record: read on from where the record begins
            at = origin + start
            records = records or _Records(descriptor)
            if records.loaded == at:
                envelope.damage = records.what_is_missing()
                return envelope
            data = records.load(at)
            origin, end, at, begun = at, len(data), 0, 0
            continue
        if kind == _ATTRIBUTE:
            if attributes:
                keep(data[at:stop])
            at = stop
            safe = end - 129  # a short record that begins before it is all there
            while at < safe and data[at] == _ATTRIBUTE and (length := data[at + 1]) < 128:
                stop = at + 2 + length
                if attributes:
                    keep(data[at + 2 : stop])
                at = stop
            continue
        if kind == _TODO:
            if not recipients:
                return envelope
            raw = data[at:stop]
            address = decode(raw)
            if original is None or original == raw:
                todo.append((origin + start, address, None if original is None else address))
            else:
                todo.append((origin + start, address, decode(original)))
            original = None
            if len(todo) + len(done) > RECIPIENT_LIMIT:
                envelope.damage = f"it has more than {RECIPIENT_LIMIT} recipients; the rest is not shown"
                return envelope
        elif kind == _ORIGINAL:
            original = data[at:stop] or None
        elif kind == _DONE:
            if not recipients:
                return envelope
            done.append(
                (origin + start, decode(data[at:stop]), None if original is None else decode(original))
            )
            original = None
            if len(todo) + len(done) > RECIPIENT_LIMIT:
                envelope.damage = f"it has more than {RECIPIENT_LIMIT} recipients; the rest is not shown"
                return envelope
        elif kind == _SENDER:
            if envelope.sender is not None:
                envelope.damage = "it has two senders"
                return envelope
            envelope.sender = decode(data[at:stop])
            if not recipients and not attributes:
                return envelope
        elif kind == _TIME:
            if envelope.arrival_time is None:
                envelope.arrival_time = _leading_number(data[at:stop])
        elif kind == _SIZE:
            if envelope.message_size is None:
                value = data[at:stop]
                try:
                    if length == _SIZE_LENGTH:
                        envelope.message_size = int(value[:15])
                        expected = int(value[32:47])
                    else:  # of an older Postfix, which said less
                        envelope.message_size = int(value.split()[0][:18])
                except (ValueError, IndexError):
                    envelope.message_size = None
                if value.translate(None, b" 0123456789"):
                    envelope.message_size = None
                if envelope.message_size is None and envelope.damage is None:
                    envelope.damage = "its size record makes no sense"
        elif kind == _MESSAGE:
            if not recipients:
                return envelope
            if envelope.content is None:
                envelope.content = origin + stop
            if envelope.message_size:
                at = stop + envelope.message_size
                if expected == len(todo) + len(done) and size is not None and size >= origin + at + 4:
                    return _checked(envelope)  # what comes is `X` and `E`
                if at > end:
                    at += origin
                    records = records or _Records(descriptor)
                    data = records.load(at, FIRST_READ)
                    origin, end, at = at, len(data), 0
                begun = at
                continue
        elif kind == _END:
            return _checked(envelope)
        elif kind == _POINTER:
            records = records or _Records(descriptor)
            target = records.jump(data[at:stop], at - begun)
            if target is None:
                envelope.damage = "a pointer leads astray"
                return envelope
            if target:
                at = target - origin
                if not 0 <= at < end:
                    data = records.load(target)
                    origin, end, at = target, len(data), 0
                begun = at
                continue
        elif kind == _FILTER:
            if envelope.content is None:
                envelope.content_filter = printed(data[at:stop], utf8)
        elif kind == _REDIRECT:
            envelope.redirect = decode(data[at:stop])
        elif kind not in _KNOWN:
            envelope.damage = envelope.damage or f"it has a record of unknown type {kind}"
        at = stop


def _take_head(
    envelope: Envelope, head: re.Match[bytes] | None, decode: Callable[[bytes], str]
) -> tuple[int, bytes | None, int]:
    """What was read at once goes into the envelope.

    Gives the number of recipients that the size record has, an original address that waits for its
    recipient, and where the records go on.
    """
    if head is None:
        return -1, None, 0
    data, spans = head.string, head.regs
    end = spans[0][1]  # marks behind it are of a record that was tried and not taken
    expected = -1
    if spans[1][0] >= 0:
        try:
            size, expected = int(head[1]), int(head[2])
        except ValueError:  # the loop knows what to say of it
            return -1, None, 0
        envelope.message_size = size
    envelope.head = head
    at = spans[_AT_SENDER][0]
    if 0 <= at < end:
        envelope.sender = decode(data[at + 1 : at + 1 + data[at]])
    if 0 <= spans[_ARRIVAL][0] < end:
        envelope.arrival_time = int(head[_ARRIVAL]) or None
    for before, after in _AT_RECIPIENTS:
        at = spans[before][0]
        original = data[at + 1 : at + 1 + data[at]] or None if 0 <= at < end else None
        at = spans[after][0]
        if not 0 <= at < end:
            return expected, original, end
        raw = data[at + 1 : at + 1 + data[at]]
        address = decode(raw)
        if original is not None:
            envelope.todo.append((at - 1, address, address if original == raw else decode(original)))
        else:
            envelope.todo.append((at - 1, address, None))
    return expected, None, end


def _checked(envelope: Envelope) -> Envelope:
    if envelope.sender is None and envelope.damage is None:
        envelope.damage = "it has no sender"
    return envelope


def read_content(descriptor: int, envelope: Envelope) -> Iterator[bytes]:
    """The message itself, line by line with `\\n` at the ends, as it would be sent (`postcat -hb`).

    Lines without an end are parts of long ones. Ends at what is damaged. Bounded by the file and by the
    pointers that may be followed.
    """
    if envelope.content is None:
        return
    limit = os.fstat(descriptor).st_size  # no byte of the content is there twice
    records = _Records(descriptor, 1 << 62)
    origin = envelope.content
    data = records.load(origin)
    at = 0
    while True:
        start = at
        if at + 2 > len(data):
            stop = len(data) + 1
        else:
            kind, length = data[at], data[at + 1]
            at += 2
            if length > 127:
                length, at = _long_length(data, at - 1)
            stop = at + length
        if stop > len(data):
            origin += start
            if records.loaded == origin:
                envelope.damage = records.what_is_missing()
                return
            data, at = records.load(origin), 0
            continue
        limit -= stop - start
        if kind == _NORMAL:
            yield data[at:stop] + b"\n"
        elif kind == _CONTINUED:
            yield data[at:stop]
        elif kind in (_EXTRA, _END):
            return
        elif kind == _POINTER:
            target = records.jump(data[at:stop], 0)
            if target is None or limit < 0:
                envelope.damage = "a pointer leads astray"
                return
            if target:
                at = target - origin
                if not 0 <= at < len(data):
                    data, origin, at = records.load(target), target, 0
                continue
        at = stop


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """(a record's length, where its data begins): seven bits a byte, the high bit says that more follow.

    A length that is cut off or makes no sense is longer than any window (`record.c`, `rec_get_raw`).
    """
    length = 0
    for shift in range(0, 32, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        if byte < 128:
            return length, at
    return WINDOW + 1, at


def _leading_number(value: bytes) -> int | None:
    """What `atol` makes of a text; None for none, for zero and for no time."""
    if value[10:11] == b" " and value[:10].isdigit():  # as it is until the year 2286
        return int(value[:10]) or None
    first = value.split(None, 1)[:1]
    return int(first[0]) or None if first and first[0].isdigit() and len(first[0]) <= 12 else None


def _attributes_in(head: re.Match[bytes] | None) -> Iterator[bytes]:
    """The attributes that were read at once."""
    if head is None:
        return
    data, at, end = head.string, head.end(_AFTER_SIZE), head.end()
    while at < end:
        stop = at + 2 + data[at + 1]
        if data[at] == _ATTRIBUTE:
            yield data[at + 2 : stop]
        at = stop


def created(envelope: Envelope) -> int | None:
    """When Postfix took the message, from which its lifetime counts; None where the file does not say."""
    head = envelope.head
    if head is not None and head.start(_CREATED) >= 0:
        return int(head[_CREATED])
    text = next((one[12:] for one in envelope.raw if one.startswith(b"create_time=")), b"")
    return int(text) if text.isdigit() and len(text) < 19 else None


def attributes_of(envelope: Envelope, wanted: Wanted, *, utf8: bool = True) -> list[str | None]:
    """The values of the wanted attributes, printable; None for one that is not there.

    This is quicker than `attributes` where few are wanted.
    """
    later: dict[bytes, bytes] = {}
    for one in reversed(envelope.raw):  # the first of a name counts
        name, equals, value = one.partition(b"=")
        if equals:
            later[name] = value
    head = envelope.head
    data, spans = (b"", wanted.nowhere) if head is None else (head.string, head.regs)
    values: list[str | None] = []
    for alternatives in wanted.alternatives:
        for name, length, group in alternatives:
            at = spans[group][0]
            if at >= 0:
                begin = at - length
                stop = begin + data[begin - 1]
                if at <= stop <= spans[0][1]:  # else the record ends within what looks like the name
                    values.append(_attribute(data[at:stop], utf8))
                    break
            if later and name in later:
                values.append(_attribute(later[name], utf8))
                break
        else:
            values.append(None)
    return values


@lru_cache(maxsize=4096)  # clients come again and again
def _attribute(raw: bytes, utf8: bool) -> str:
    return printed(raw, utf8)
