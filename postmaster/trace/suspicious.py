"""Logins that look stolen, from what the logs say of them: each finding with its evidence.

One pass, in which only lines about logins and about the messages of logins are parsed. Memory is taken for
logins, for the addresses whose passwords were refused, and for messages under way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.postfix.stamps import Clock
from postmaster.trace.blocks import blocks
from postmaster.trace.lines import Line, parse
from postmaster.trace.sources import Notes, Period, Source, within

ADDRESSES = 100_000  # with refused passwords that are remembered; the oldest are forgotten
SHOWN = 10  # addresses that a finding names
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is told of."""

    places: int = 5  # networks (/24, /48) that one login sent from within a day
    burst: int = 50  # messages of one login in an hour, when that is BURST_TIMES its usual
    burst_times: float = 10.0
    bounces: int = 20  # recipients of one login that bounced, when that is BOUNCE_SHARE of all
    bounce_share: float = 0.2
    guesses: int = 5  # passwords refused before one was taken, from one address


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is places, burst, bounces or guessed; `count` what its limit is about."""

    kind: str
    login: str
    count: int
    evidence: str
    first: float
    last: float
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Login:
    first: float
    last: float
    hours: dict[int, int] = field(default_factory=dict)  # messages
    places: dict[int, dict[str, str]] = field(default_factory=dict)  # day: network: an address of it
    recipients: int = 0
    bounced: int = 0


@dataclass(slots=True)
class _Guess:
    count: int
    last: float


class Suspicions:
    """Takes lines in the order of time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._logins: dict[str, _Login] = {}
        self._guesses: dict[str, _Guess] = {}  # by address
        self._senders: dict[tuple[str, str], str] = {}  # login, by the message under way
        self._guessed: dict[tuple[str, str], Finding] = {}

    def add(self, line: Line) -> None:
        match line.event:
            case postfix.Client(sasl_username=str(login)) as event:
                login = login.lower()
                self._senders[line.instance, event.queue_id] = login
                self._sent(login, event.address, line.time)
                self._taken(login, event.address, line.time)
            case postfix.Delivery() as event:
                owner = self._senders.get((line.instance, event.queue_id))
                if owner is not None and event.status in ("sent", "bounced"):
                    self._logins[owner].recipients += 1
                    self._logins[owner].bounced += event.status == "bounced"
            case postfix.Removed() as event:
                self._senders.pop((line.instance, event.queue_id), None)
            case postfix.AuthFailure() as event:
                self._refused(event.address, 1, line.time)
            case dovecot.LoginEnd() as event if event.failures and event.address:
                self._refused(event.address, event.failures, line.time)
            case dovecot.Login() as event if event.address:
                self._taken(event.user.lower(), event.address, line.time)

    def _sent(self, login: str, address: str, time: float) -> None:
        known = self._logins.get(login)
        if known is None:
            known = self._logins[login] = _Login(time, time)
        known.last = time
        hour = int(time // HOUR)
        known.hours[hour] = known.hours.get(hour, 0) + 1
        known.places.setdefault(hour // 24, {}).setdefault(_network(address), address)

    def _refused(self, address: str, number: int, time: float) -> None:
        guess = self._guesses.pop(address, None) or _Guess(0, time)
        self._guesses[address] = _Guess(guess.count + number, time)
        if len(self._guesses) > ADDRESSES:
            del self._guesses[next(iter(self._guesses))]

    def _taken(self, login: str, address: str, time: float) -> None:
        guess = self._guesses.get(address)
        if guess is None or guess.count < self._limits.guesses or (login, address) in self._guessed:
            return
        evidence = f"{guess.count} passwords from {address} were refused, then one was taken for {login}"
        self._guessed[login, address] = Finding(
            "guessed", login, guess.count, evidence, guess.last, time, (address,)
        )

    def findings(self) -> list[Finding]:
        """What was found, the surest first."""
        found = list(self._guessed.values())
        for login, known in self._logins.items():
            found += self._places(login, known)
            found += self._burst(login, known)
            found += self._bounces(login, known)
        kinds = ("guessed", "places", "burst", "bounces")
        return sorted(found, key=lambda one: (kinds.index(one.kind), -one.count, one.login))

    def _places(self, login: str, known: _Login) -> Iterator[Finding]:
        day = max(known.places, key=lambda one: len(known.places[one]))
        places = known.places[day]
        if len(places) >= self._limits.places:
            evidence = f"sent from {len(places)} networks within a day"
            addresses = tuple(list(places.values())[:SHOWN])
            yield Finding("places", login, len(places), evidence, known.first, known.last, addresses)

    def _burst(self, login: str, known: _Login) -> Iterator[Finding]:
        peak = max(known.hours, key=lambda hour: known.hours[hour])
        most, others = known.hours[peak], [n for hour, n in known.hours.items() if hour != peak]
        usual = sum(others) / len(others) if others else 0.0
        if most >= self._limits.burst and most >= self._limits.burst_times * usual:
            before = f"{usual:.1f} in its other hours" if others else "none in any other hour"
            evidence = f"sent {most} messages in one hour, {before}"
            addresses = tuple(known.places[peak // 24].values())[:SHOWN]
            yield Finding("burst", login, most, evidence, peak * HOUR, (peak + 1) * HOUR, addresses)

    def _bounces(self, login: str, known: _Login) -> Iterator[Finding]:
        if known.bounced >= self._limits.bounces and (
            known.bounced >= self._limits.bounce_share * known.recipients
        ):
            evidence = f"{known.bounced} of {known.recipients} recipients bounced"
            yield Finding("bounces", login, known.bounced, evidence, known.first, known.last, ())


def _network(address: str) -> str:
    """The network that stands for a place: /24 of IPv4, /48 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/{24 if parsed.version == 4 else 48}", strict=False))


_WORDS = (b"sasl_username=", b"authentication failed", b"-login: ", b"status=", b": removed")


def look(logs: Sequence[Sequence[Source]], period: Period, limits: Limits, notes: Notes) -> list[Finding]:
    """The findings of a period. Logs of one server in several files are read side by side in time."""
    suspicions = Suspicions(limits)
    for line in merged(logs, period, notes):
        suspicions.add(line)
    return suspicions.findings()


def merged(
    logs: Sequence[Sequence[Source]], period: Period, notes: Notes, more: Sequence[bytes] = ()
) -> Iterator[Line]:
    """The lines about logins and about the messages of logins, in the order of time.

    `more`: also lines with one of these in them.
    """
    import heapq

    words = (*_WORDS, *more)
    streams = [_lines(within(log, period), period, notes, words) for log in logs]
    return heapq.merge(*streams, key=lambda one: one.time)


def _lines(sources: Iterable[Source], period: Period, notes: Notes, words: Sequence[bytes]) -> Iterator[Line]:
    for source in sources:
        clock = Clock(source.reference)
        for block in blocks(source, period, notes):
            for raw in block.split(b"\n"):
                if any(word in raw for word in words):
                    line = parse(raw.decode("utf-8", "surrogateescape"), clock)
                    if line is not None:
                        yield line
