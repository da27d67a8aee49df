"""A log in figures: one pass, with memory for the messages under way and for the names that are counted.

The commonest lines are read by one expression straight from blocks of bytes; all others become events
first. Both lanes call the same counting methods, and the shapes are those of `postfix.shapes`, so a line
means the same in either. A message leaves the memory with its `removed`.

Parts of a log may be counted apart and merged: what a part says of a message that began before it (whose
size is not known there, which may have been deferred already) is kept until then.

What is counted, and where that differs from pflogsumm on purpose, stands in docs/trace.md.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import TypeVar

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.postfix import shapes
from postmaster.postfix.reasons import reason
from postmaster.postfix.stamps import Clock
from postmaster.trace.lines import Line, parse

_Key = TypeVar("_Key", bound=Hashable)

DISTINCT = 20_000  # different reasons or complaints that are kept; more are counted together
OTHERS = "(others)"
STAGES = ("before the queue manager", "in the queue", "connecting", "transmitting")
TOTALS = (
    "received", "delivered", "forwarded", "deferred", "deferrals", "bounced", "rejected", "reject_warnings",
    "held", "discarded", "expired", "bytes_received", "bytes_delivered",
)  # fmt: skip
UNKNOWN = -1  # a size
ONE = 1 << 56  # a message, where its bytes are counted in the same number
SENT, DEFERRED, BOUNCED = b"sent", (b"deferred", b"SOFTBOUNCE"), b"bounced"

# The line up to its text, with its hour and program; every loop is possessive. Whether the hour is one is
# looked at when it changes. A block's first byte tells which form it has; a line of the other form is read
# by the slow lane.
_TAG = (
    r"(?:postfix/|(?>(?:[^ \[\n/]++/)+))"
    r"(smtpd|qmgr|cleanup|lmtp|smtp|pickup|bounce|local|virtual|error|postscreen)\[\d++\]: "
)
_TLS = (
    r"[AUTV][a-z]{5,8} TLS connection (?:established|reused) (from|to) [^ \n]++ ([^ \n]++)"
    r" with cipher [^\n]*+"
)
_LMTP = r"dovecot(?:\[\d++\])?: lmtp\([^)\n]*+\)<\d++><[^>\n]*+>: (?:sieve: )?msgid=[^\n]*+"
_SHAPES = (
    rf"(?:{_TAG}(?:([0-9A-Za-z]++): (?:{shapes.DELIVERY}(?P<delivery>)|{shapes.QUEUED}(?P<queued>)"
    rf"|{shapes.CLIENT}(?P<client>)|message-id=[^\n]*+|removed(?P<removed>)|{shapes.PICKUP}(?P<pickup>))"
    rf"|(?:dis)?connect from [^\n]*+|{_TLS}(?P<tls>)|(?P<postfix>[^\n]*+))|{_LMTP})"
)
_ISO, _OLD = (
    re.compile(f"^(?:{head}{_SHAPES}|(?P<other>[^\\n]*+))\n".encode(), re.MULTILINE | re.ASCII)
    for head in (r"(\d.{12}):[^ \n]++ [^ \n]++ ", r"([A-Z].{8}):[^ \n]++ [^ \n]++ ")
)
_AT = dict(_ISO.groupindex)  # each stands after the groups of its shape


def _groups(name: str, *numbers: int) -> tuple[int, ...]:
    """Group numbers of a shape's own groups, counted back from the mark after it; 3 is the queue ID."""
    return (3, *(_AT[name] - back for back in numbers))


_DELIVERY = _groups("delivery", 10, 8, 6, 5, 2, 1)  # recipient, relay, delay, delays, status, text
_QUEUED = _groups("queued", 3, 2)  # sender, size
_CLIENT = _groups("client", 8, 7, 4)  # name, address, login
_TLS_GROUPS = (_AT["tls"] - 2, _AT["tls"] - 1)  # direction, protocol


class Way:
    """What became of the deliveries for one domain by one relay; `waits` is delay as printed: deliveries."""

    __slots__ = ("bounced", "deferrals", "sent", "waits")

    def __init__(self) -> None:
        self.sent = self.deferrals = self.bounced = 0
        self.waits: dict[bytes, int] = {}

    def merge(self, other: Way) -> None:
        self.sent += other.sent
        self.deferrals += other.deferrals
        self.bounced += other.bounced
        _sum(self.waits, other.waits)


class _Stranger:
    """A message whose beginning is not in this part of the log: a notice, or one that began before it."""

    __slots__ = ("is_deferred", "sender", "size", "unsized")

    def __init__(self) -> None:
        self.is_deferred = False
        self.size = UNKNOWN
        self.sender = b""
        self.unsized: list[bytes] = []  # recipients it was delivered to before its size was known


class Statistics:
    """Counts. Names are bytes as the log has them, addresses in lower case."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(TOTALS, 0)
        self.lines = self.unknown = 0
        self.foreign = 0  # lines of other programs, or without a time stamp that is known
        self.hours: dict[bytes, list[int]] = {}  # received, delivered, deferrals, bounced, rejected
        self.begins: dict[bytes, float] = {}  # when each hour began, in seconds since 1970
        self.senders: dict[bytes, int] = {}  # messages * ONE + bytes: half the memory of a pair
        self.recipients: dict[bytes, int] = {}  # deliveries * ONE + bytes
        self.ways: dict[tuple[bytes, bytes], Way] = {}  # by domain and relay
        self.clients: dict[bytes, int] = {}
        self.logins: dict[bytes, int] = {}
        self.reasons: dict[tuple[str, str], int] = {}  # (kind, reason)
        self.stages: list[dict[bytes, int]] = [{} for _ in STAGES]  # delay as printed: deliveries
        self.tls: dict[tuple[bytes, bytes], int] = {}  # (direction, protocol)
        self.failed_clients: dict[bytes, int] = {}
        self.failed_logins: dict[bytes, int] = {}
        self.complaints: dict[tuple[str, str, str], int] = {}  # (level, program, text)
        self._delays: dict[bytes, int] = {}  # all stages as printed, until they are told apart
        self._sizes: dict[bytes, int] = {}  # of the messages under way
        self._deferred: set[bytes] = set()
        self._strangers: dict[bytes, _Stranger] = {}
        self._ended: dict[bytes, _Stranger] = {}

    def read(self, blocks: Iterable[bytes], clock: Clock) -> None:
        """Count whole lines."""
        last, hour = b"", [0] * 5
        for block in blocks:
            self.lines += block.count(b"\n")
            if len(self._delays) > DISTINCT:
                self.finish()
            for found in (_ISO if block[:1].isdigit() else _OLD).finditer(block):
                shape = found.lastgroup
                if shape is None:
                    continue
                if shape == "other":  # a rarer program's, Dovecot's, or foreign
                    line = parse(found["other"].decode("utf-8", "surrogateescape"), clock)
                    if line is None:
                        self.foreign += 1
                    else:
                        self.add(line)
                    continue
                key = found[1]
                if key != last:
                    when = clock.of_line(block[found.start() : found.start() + 40])
                    if when is None:  # no such day
                        self.foreign += 1
                        continue
                    last, hour = key, self._hour(key, when, block[found.end(1) + 1 : found.end(1) + 6])
                if shape == "delivery":
                    self._delivery(hour, *found.group(*_DELIVERY))
                elif shape == "removed":
                    self._removed(found[3])
                elif shape == "queued":
                    self._queued(*found.group(*_QUEUED))
                elif shape == "client":
                    self._client(hour, *found.group(*_CLIENT))
                elif shape == "pickup":
                    self._received(hour, found[3])
                elif shape == "tls":
                    direction, protocol = found.group(*_TLS_GROUPS)
                    _add(self.tls, (direction, protocol))
                else:
                    program = found[2].decode("ascii")
                    text = found[shape].decode("utf-8", "surrogateescape")
                    self._postfix(hour, program, shapes.parse(program, text))
        self.finish()

    def finish(self) -> None:
        """Bring what is kept apart for speed into its place."""
        for delays, number in self._delays.items():
            for stage, value in zip(self.stages, delays.split(b"/"), strict=False):
                stage[value] = stage.get(value, 0) + number
        self._delays.clear()

    def add(self, line: Line) -> None:
        """Count one line. `finish` when there are no more."""
        event = line.event
        if isinstance(event, postfix.Event):
            ends = 9 if line.raw[3:4] == " " else 13
            hour = self._hour(_bytes(line.raw[:ends]), line.time, _bytes(line.raw[ends + 1 : ends + 6]))
            self._postfix(hour, line.program, event)
        else:
            self._dovecot(event)

    def _postfix(self, hour: list[int], program: str, event: postfix.Event) -> None:
        match event:
            case postfix.Policy():
                self._policy(hour, event.effect, event.text)
            case postfix.AuthFailure():
                _add(self.failed_clients, _bytes(f"{event.name}[{event.address}]"))
                if event.username:
                    _add(self.failed_logins, _bytes(event.username).lower())
            case postfix.Delivery():
                text = None if event.text is None else _bytes(event.text + ")" * (not event.cut))
                delays = "/".join(map(postfix.decimal, event.delays))
                self._delivery(
                    hour, _bytes(event.queue_id), _bytes(event.recipient), _bytes(event.relay),
                    postfix.decimal(event.delay).encode(), delays.encode() or None,
                    event.status.encode(), text,
                )  # fmt: skip
            case postfix.Queued():
                self._queued(_bytes(event.queue_id), _bytes(event.sender), b"%d" % event.size)
            case postfix.Client():
                login = None if event.sasl_username is None else _bytes(event.sasl_username)
                self._client(hour, _bytes(event.queue_id), _bytes(event.name), _bytes(event.address), login)
            case postfix.Pickup():
                self._received(hour, _bytes(event.queue_id))
            case postfix.Removed() | postfix.Canceled():
                self._removed(_bytes(event.queue_id))
            case postfix.Super(action="removed"):
                self._removed(_bytes(event.queue_id))
            case postfix.Tls():
                _add(self.tls, (event.direction.encode(), _bytes(event.protocol)))
            case postfix.Content():
                said = event.given or event.matched.partition(":")[0]
                self._policy(hour, event.effect, f"{event.part} check: {said}")
            case postfix.Expired():
                self.totals["expired"] += 1
            case postfix.Fault():
                self._complain(event.level, program, event.text)
            case postfix.Unknown():
                self.unknown += 1

    def _dovecot(self, event: dovecot.Event) -> None:
        match event:
            case dovecot.LoginEnd() if event.failures:
                _add(self.failed_clients, _bytes(event.address or "unknown"), event.failures)
                if event.user:
                    _add(self.failed_logins, _bytes(event.user).lower(), event.failures)
            case dovecot.Fault():
                level = (event.origin.level or "").lower()
                self._complain(level, f"dovecot {event.origin.service}", event.text)
            case dovecot.Unknown():
                self.unknown += 1

    def _hour(self, key: bytes, when: float, rest: bytes) -> list[int]:
        """The counts of an hour; `rest` is `MM:SS` of the line at `when`, which begins it."""
        hour = self.hours.get(key)
        if hour is None:
            hour = self.hours[key] = [0] * 5
            self.begins[key] = when - when % 1 - 60 * int(rest[:2]) - int(rest[3:5])
        return hour

    def _received(self, hour: list[int], queue_id: bytes) -> None:
        hour[0] += 1
        self.totals["received"] += 1
        if queue_id in self._strangers:
            self._end_stranger(queue_id)
        self._sizes[queue_id] = UNKNOWN

    def _client(
        self, hour: list[int], queue_id: bytes, name: bytes, address: bytes, login: bytes | None
    ) -> None:
        self._received(hour, queue_id)
        client = b"%s[%s]" % (name, address)
        self.clients[client] = self.clients.get(client, 0) + 1
        if login is not None:
            _add(self.logins, login.lower())

    def _queued(self, queue_id: bytes, sender: bytes, size: bytes) -> None:
        known = self._sizes.get(queue_id)
        if known is None:
            stranger = self._stranger(queue_id)
            stranger.sender, stranger.size = sender, int(size)
            self._sizes[queue_id] = stranger.size
        elif known == UNKNOWN:
            self._sizes[queue_id] = number = int(size)
            self._sized(sender, number)

    def _sized(self, sender: bytes, size: int) -> None:
        self.totals["bytes_received"] += size
        sender = sender.lower()
        self.senders[sender] = self.senders.get(sender, 0) + ONE + size

    def _stranger(self, queue_id: bytes) -> _Stranger:
        stranger = self._strangers.get(queue_id)
        if stranger is None:
            stranger = self._strangers[queue_id] = _Stranger()
        return stranger

    def _delivery(
        self,
        hour: list[int],
        queue_id: bytes,
        recipient: bytes,
        relay: bytes,
        delay: bytes,
        delays: bytes | None,
        status: bytes,
        text: bytes | None,
    ) -> None:
        totals, recipient = self.totals, recipient.lower()
        key = (recipient.rpartition(b"@")[2], relay)
        if status == SENT:
            if text is not None and text.startswith(b"forwarded as "):
                totals["forwarded"] += 1
                return
            totals["delivered"] += 1
            hour[1] += 1
            size = self._sizes.get(queue_id)
            if size is None:
                self._stranger(queue_id).unsized.append(recipient)
                size = 0
            elif size == UNKNOWN:
                size = 0
            totals["bytes_delivered"] += size
            self.recipients[recipient] = self.recipients.get(recipient, 0) + ONE + size
            way = self.ways.get(key)
            if way is None:
                way = self.ways[key] = Way()
            way.sent += 1
            way.waits[delay] = way.waits.get(delay, 0) + 1
            if delays is not None:
                self._delays[delays] = self._delays.get(delays, 0) + 1
        elif status in DEFERRED:
            totals["deferrals"] += 1
            hour[2] += 1
            if queue_id not in self._deferred:
                self._deferred.add(queue_id)
                totals["deferred"] += 1
                if queue_id not in self._sizes or queue_id in self._strangers:
                    self._stranger(queue_id).is_deferred = True
            self.ways.setdefault(key, Way()).deferrals += 1
            self._reason("deferred", text)
        elif status == BOUNCED:
            totals["bounced"] += 1
            hour[3] += 1
            self.ways.setdefault(key, Way()).bounced += 1
            self._reason("bounced", text)
        # Else deliverable or undeliverable: an address was only tried.

    def _removed(self, queue_id: bytes) -> None:
        self._sizes.pop(queue_id, None)
        self._deferred.discard(queue_id)
        if queue_id in self._strangers:
            self._end_stranger(queue_id)

    def _end_stranger(self, queue_id: bytes) -> None:
        self._ended.setdefault(queue_id, self._strangers.pop(queue_id))
        self._deferred.discard(queue_id)

    def _policy(self, hour: list[int], action: str, text: str) -> None:
        if action == "reject":
            hour[4] += 1
            self.totals["rejected"] += 1
            kind = "rejected"
        elif action in ("reject_warning", "warning", "warn"):
            self.totals["reject_warnings"] += 1
            kind = "warned"
        elif action == "hold":
            self.totals["held"] += 1
            kind = "held"
        elif action == "discard":
            self.totals["discarded"] += 1
            kind = "discarded"
        else:
            return
        self._keep(self.reasons, (kind, reason(text)), (kind, OTHERS))

    def _reason(self, kind: str, text: bytes | None) -> None:
        said = (text or b"").decode("utf-8", "surrogateescape").removesuffix(")")
        self._keep(self.reasons, (kind, reason(said)), (kind, OTHERS))

    def _complain(self, level: str, program: str, text: str) -> None:
        self._keep(self.complaints, (level, program, reason(text)), (level, program, OTHERS))

    @staticmethod
    def _keep(counts: dict[_Key, int], key: _Key, others: _Key) -> None:
        _add(counts, key if key in counts or len(counts) < DISTINCT else others)

    def merge(self, after: Statistics) -> None:
        """Take in what was counted in the part of the log that follows this one."""
        _sum(self.totals, after.totals)
        self.begins = {**after.begins, **self.begins}
        self.lines += after.lines
        self.unknown += after.unknown
        self.foreign += after.foreign
        for name, numbers in after.hours.items():
            have = self.hours.get(name)
            self.hours[name] = (
                numbers if have is None else [a + b for a, b in zip(have, numbers, strict=True)]
            )
        for key, way in after.ways.items():
            known = self.ways.setdefault(key, way)
            if known is not way:
                known.merge(way)
        for counts, more in (
            (self.senders, after.senders),
            (self.recipients, after.recipients),
            (self.clients, after.clients),
            (self.logins, after.logins),
            (self.failed_clients, after.failed_clients),
            (self.failed_logins, after.failed_logins),
        ):
            _sum(counts, more)
        _sum(self.reasons, after.reasons)
        _sum(self.tls, after.tls)
        _sum(self.complaints, after.complaints)
        for stage, values in zip(self.stages, after.stages, strict=True):
            _sum(stage, values)
        for queue_id, stranger in after._ended.items():
            self._join(queue_id, stranger)
            self._removed(queue_id)
        for queue_id, size in after._sizes.items():
            if queue_id not in after._strangers:  # begun there
                self._removed(queue_id)
                self._sizes[queue_id] = size
        for queue_id, stranger in after._strangers.items():
            self._join(queue_id, stranger)
        self._deferred |= after._deferred

    def _join(self, queue_id: bytes, later: _Stranger) -> None:
        """Settle what a later part could not know about a message that began before it."""
        size = self._sizes.get(queue_id)
        mine = self._strangers.get(queue_id)
        if later.is_deferred:
            if queue_id in self._deferred:
                self.totals["deferred"] -= 1
            self._deferred.add(queue_id)
        if size is None:
            if mine is None:
                self._strangers[queue_id] = later
            if later.size != UNKNOWN:
                self._sizes[queue_id] = later.size
        elif size == UNKNOWN:
            if later.size != UNKNOWN:
                self._sizes[queue_id] = later.size
                self._sized(later.sender, later.size)
        else:
            for recipient in later.unsized:
                self.totals["bytes_delivered"] += size
                self.recipients[recipient] += size
        if mine is not None and mine is not later:
            mine.is_deferred |= later.is_deferred
            if mine.size == UNKNOWN:
                mine.unsized += later.unsized
                mine.size, mine.sender = later.size, later.sender


def _add(counts: dict[_Key, int], key: _Key, number: int = 1) -> None:
    counts[key] = counts.get(key, 0) + number


def _sum(mine: dict[_Key, int], other: dict[_Key, int]) -> None:
    for key, number in other.items():
        mine[key] = mine.get(key, 0) + number


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
