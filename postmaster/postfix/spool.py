"""Queue files and defer logs, read in place: the spool as Postfix keeps it, without asking Postfix.

A queue file is a sequence of records: a type byte, a length in groups of seven bits (low ones
first), data (`rec_type.h`, `record.c`). The size record `C` comes first and says how long the content
is, so the envelope is read without it; recipients can stand behind the content too (section `X`).
Milters edit a file in place: a pointer `p` leads to a heap behind the end record and back. Delivery
flips `R` to `D`; records are never moved. What lies in `maildrop` has no size record.

What it guarantees: no lock is taken, nothing is written, and any bytes at all give an `Envelope` (with
`damage` saying what is wrong) in bounded time and memory. Text is what `showq` would print: addresses in
their external form, what is not printable as `?`. A file that vanished or may not be read is the
caller's OSError.

What it does not: say what happened to a file between two reads. Sources: `rec_type.h`, `record.c`,
`showq.c`, `qmgr_message.c`, `mail_queue.c`, `mail_open_ok.c`, `bounce_log.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")

FIRST_READ = 4096  # bytes; holds the envelope of nearly every message
WINDOW = 65536  # bytes read at a time where that is not enough
ENVELOPE_LIMIT = 32 << 20  # bytes of records walked through
RECIPIENT_LIMIT = 250_000  # recipients kept of one message, done ones included
JUMP_LIMIT = 10_000  # backward pointers (REVERSE_JUMP_LIMIT); a file that has more runs in a circle
VALUE_LIMIT = 65536  # bytes of one address or attribute
DEFER_LOG_LIMIT = 32 << 20  # bytes
FOLDER_DEPTH = 8  # one-character folders within each other

OWNER_BITS = 0o700
READY = 0o700  # owner bits of a file that is complete (MAIL_QUEUE_STAT_READY)
WRITING = 0o600  # owner bits while cleanup writes it
FORCED_EXPIRE = 0o010  # set by postsuper -e (MAIL_QUEUE_STAT_EXPIRE)

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_SIZE, _TIME, _SENDER, _ORIGINAL, _TODO, _DONE = b"CTSORD"
_ATTRIBUTE, _MESSAGE, _EXTRA, _END, _POINTER = b"AMXEp"
_FILTER, _REDIRECT, _WARNING, _NORMAL, _CONTINUED = b"L>WNL"
_SIZE_LENGTH = 95  # of the size record since Postfix 3.0: six numbers of 15 places
_KNOWN = frozenset(b"CTcFILSDRO/WVA>K<ionfmMNwXrePpE")

_LONG_ID = re.compile(
    r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,20}\Z"
)
_SHORT_ID = re.compile(r"[0-9A-F]{6,24}\Z")
_PLAIN_ADDRESS = re.compile(
    rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*(?:@[\x21-\x3f\x41-\x7e]*)?\Z"
)
_SPECIAL = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\"\[\]]')
_QUOTED = re.compile(rb'["\\\r]')
_PRINTABLE_UTF8 = re.compile(rb"([\x20-\x7e]+|[\xc2-\xfe][\x80-\xbf]+)|.", re.DOTALL)
_PRINTABLE_ASCII = re.compile(rb"([\x20-\x7e]+)|.", re.DOTALL)
_USUAL_ENTRY = re.compile(  # an entry of a defer log as it is nearly always, in a quarter of the time
    rb"\n(?:<[^\n]*\n)?recipient=[^\n]+\n(?:original_recipient=[^\n]*\n)?offset=([1-9][0-9]{0,17})\n"
    rb"(?:dsn_orig_rcpt=[^\n]*\n)?(?:notify_flags=[^\n]*\n)?status=([^\n]*)\naction=[^\n]*\n"
    rb"(?:diag_type=[^\n]*\ndiag_text=[^\n]*\n)?(?:mta_type=[^\n]*\nmta_mname=[^\n]*\n)?"
    rb"reason=([^\n]*[^\s])\n\n"
)
#: Groups of the pattern of `Wanted`: where the first records end and what they say, where the originals and
#: the addresses of the first three recipients are; how many groups these are.
_AFTER_SIZE, _AT_SENDER, _ARRIVAL, _CREATED = 3, 4, 5, 12
_AT_RECIPIENTS = ((8, 11), (7, 10), (6, 9))
_HEAD_GROUPS = 12
_DIGITS = "0123456789ABCDEF"  # the names of hashed folders
_BASE_52 = {letter: at for at, letter in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}


class SpoolRecipient(NamedTuple):
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
    def recipients(self) -> list[SpoolRecipient]:
        """All recipients in the order of the file. `todo` and `done` are quicker where many are read."""
        both = [(one, False) for one in self.todo] + [(one, True) for one in self.done]
        return [SpoolRecipient(*one, done) for one, done in sorted(both, key=lambda pair: pair[0][0])]

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes, printable: `client_address`, `sasl_username` and more (`mail_proto.h`)."""
        pairs = (one.partition(b"=") for one in (*_attributes_in(self.head), *self.raw))
        return {_text(name, True): _text(value, True) for name, _, value in pairs}


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


#: The last word of the defer log about one recipient: (reason, enhanced status code or None).
Deferral = tuple[str, str | None]


def is_queue_id(text: str) -> bool:
    """Whether a text can be a queue ID, long or short (`mail_queue.h`)."""
    return _LONG_ID.match(text) is not None or _SHORT_ID.match(text) is not None


def hashed_folders(queue_id: str, depth: int) -> str:
    """The folders below a hashed queue in which a file lies: `"A/B/"` (`mail_queue_dir`, `dir_forest`).

    They are the first digits of the microseconds in the ID, which a long one holds in base 52.
    """
    base = queue_id
    separator = queue_id.rfind("z")
    if separator < 10 and depth == 1 and queue_id:
        return f"{queue_id[0]}/"
    if separator >= 10:
        microseconds = 0
        for letter in queue_id[separator - 4 : separator]:
            value = _BASE_52.get(letter)
            if value is None:
                microseconds = 0
                break
            microseconds = microseconds * 52 + value
        base = f"{microseconds:05X}"
    return "".join(f"{letter}/" for letter in base[:depth].ljust(depth, "_"))


def walk(
    spool: str, queues: Sequence[str] = QUEUES, *, share: tuple[int, int] | None = None
) -> Iterator[tuple[str, str, str]]:
    """Every queue file as (queue, ID, path), as the folders are read and in no order.

    Folders of one character are hashed ones (`hash_queue_names`), where both forms may stand beside each
    other. With `share=(k, n)`, the k-th of n parts: each file belongs to one part of a process and its
    forks. What vanishes under the walk is passed over. Raises PermissionError.
    """
    for queue in queues:
        top = os.path.join(spool, queue)
        below = [(top, share)]
        while below:
            folder, part = below.pop()
            is_deep = folder.count("/") - top.count("/") >= FOLDER_DEPTH
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name
                        if len(name) == 1:
                            is_ours = part is None or _DIGITS.find(name) % part[1] == part[0]
                            if is_ours and not is_deep and entry.is_dir(follow_symlinks=False):
                                below.append((f"{folder}/{name}", None))  # with all that is in it
                        elif part is not None and hash(name) % part[1] != part[0]:
                            continue
                        elif name.isalnum() and entry.is_file(follow_symlinks=False):  # mail_queue_id_ok
                            yield queue, name, f"{folder}/{name}"
            except (FileNotFoundError, NotADirectoryError):
                continue


def count(spool: str, queues: Sequence[str] = QUEUES, *, share: tuple[int, int] = (0, 1)) -> int:
    """How many files the walk would find, by their names alone: in a third of its time.

    With `share=(k, n)`, the k-th of n parts, which are all of them together.
    """
    number, (part, parts) = 0, share
    below: list[str] = []
    for queue in queues:
        files, folders = _names(os.path.join(spool, queue))
        below += [one for one in folders if _DIGITS.find(one[-1]) % parts == part]
        number += 0 if part else files  # those beside hashed folders are the first part's
    deepest = FOLDER_DEPTH + spool.count("/") + 1
    while below:
        folder = below.pop()
        if folder.count("/") <= deepest:
            files, folders = _names(folder)
            number += files
            below += folders
    return number


def _names(folder: str) -> tuple[int, list[str]]:
    """(how many names a queue file can have, paths with names of one character)."""
    files, folders = 0, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if len(name) > 1:
                    files += name.isalnum()
                else:
                    folders.append(f"{folder}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        pass
    return files, folders


def open_file(path: str) -> int:
    """A descriptor of a queue file. Neither a link is followed nor a pipe waited for. Raises OSError."""
    return os.open(path, _FLAGS)


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
    decode = _external_utf8 if utf8 else _external_ascii
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
                envelope.content_filter = _text(data[at:stop], utf8)
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


def external(raw: bytes, *, utf8: bool = True) -> str:
    """An address as `postqueue` prints it: quoted where RFC 5321 wants it, nothing unprintable.

    Queue files hold the internal form. Sources: `quote_822_local.c`, `printable.c`.
    """
    return _external_utf8(raw) if utf8 else _external_ascii(raw)


def _external_utf8(raw: bytes) -> str:
    if _PLAIN_ADDRESS.match(raw) is not None:
        return raw.decode("ascii")
    return _quote(raw, True)


def _external_ascii(raw: bytes) -> str:
    if _PLAIN_ADDRESS.match(raw) is not None:
        return raw.decode("ascii")
    return _quote(raw, False)


def _quote(raw: bytes, utf8: bool) -> str:
    raw = raw.partition(b"\0")[0]
    if not raw:
        return ""
    route = b""
    if raw[:1] == b"@" and b":" in raw:  # a source route stays as it is
        route, colon, raw = raw.partition(b":")
        route += colon
    local, at, domain = raw.rpartition(b"@")
    if not at:
        local, domain = raw, b""
    parts = local.split(b".")
    if not local or not all(parts) or _SPECIAL.search(local):
        local = b'"' + _QUOTED.sub(rb"\\\g<0>", local) + b'"'
    return _text(route + local + at + domain, utf8)


def _text(raw: bytes, utf8: bool) -> str:
    """Bytes as `postqueue` prints them: `?` for what is not printable."""
    if raw.isascii() and (text := raw.decode("ascii")).isprintable():  # as it nearly always is
        return text
    pattern = _PRINTABLE_UTF8 if utf8 else _PRINTABLE_ASCII
    return pattern.sub(lambda found: found[1] or b"?", raw.partition(b"\0")[0]).decode("utf-8", "replace")


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
    return _text(raw, utf8)


def read_defer_log(path: str, *, utf8: bool = True) -> tuple[dict[int, Deferral], dict[str, Deferral]]:
    """The defer log of a message: by the offset of the recipient's record, and by address where an entry
    names no offset (`bounce_log.c`). A log that is missing or cut short gives what there is of it.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return {}, {}
    try:
        data = os.pread(descriptor, FIRST_READ, 0)
        if len(data) == FIRST_READ:
            data = os.pread(descriptor, DEFER_LOG_LIMIT, 0)
    except OSError:
        return {}, {}
    finally:
        os.close(descriptor)
    return parse_defer_log(data, utf8=utf8)


def parse_defer_log(data: bytes, *, utf8: bool = True) -> tuple[dict[int, Deferral], dict[str, Deferral]]:
    """Entries of a defer log, each a paragraph of `name=value` lines; the last one of a recipient counts.

    An entry without its blank line is not counted: it is still being written.
    """
    by_offset: dict[int, Deferral] = {}
    by_address: dict[str, Deferral] = {}
    at, usual = 0, _USUAL_ENTRY.match
    while found := usual(data, at):
        offset, dsn, reason = found.groups()
        by_offset[int(offset)] = _deferral(reason, dsn, utf8)
        at = found.end()
    if at == len(data):
        return by_offset, by_address
    by_offset.clear()
    for paragraph in data.split(b"\n\n")[:-1]:
        if not paragraph:
            continue
        values: dict[bytes, bytes] = {}
        for line in paragraph.split(b"\n"):
            if line[:1] == b"<":  # all that Postfix before 2.3 wrote; now it stands before the others
                address, ends, reason = line[1:].partition(b">: ")
                if ends:
                    values[b"recipient"], values[b"reason"] = address, reason
                continue
            name, equals, value = line.partition(b"=")
            if equals:
                values[name] = value
        if b"recipient" not in values and b"offset" not in values:
            continue
        number = values.get(b"offset", b"")
        reason, dsn = _deferral(values.get(b"reason", b""), values.get(b"status", b""), utf8)
        deferral = reason or "(description unavailable)", dsn
        if number.isdigit() and 0 < len(number) < 19 and int(number):
            by_offset[int(number)] = deferral
        elif address := values.get(b"recipient", b"").strip():
            by_address[_text(address, utf8)] = deferral
    return by_offset, by_address


@lru_cache(maxsize=4096)  # reasons come again and again
def _deferral(reason: bytes, dsn: bytes, utf8: bool) -> Deferral:
    return _line(reason, utf8), _line(dsn, utf8) or None


def _line(raw: bytes, utf8: bool) -> str:
    return _text(raw.strip(b" \t\r\v\f"), utf8)
