"""Asking name servers, many questions at once and each only once.

An answer tells apart what is not there from what could not be asked: records, no records, no such name,
a failure of the servers, an answer that fails validation, and none in time. Aliases are followed, and the
name that they led to is told. `validated` is the resolver's word (AD) that DNSSEC vouches for the answer;
it is worth as much as the way to that resolver.

It guarantees: no question takes longer than is left of the check, and no more than PARALLEL are under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Any

from postmaster.errors import SettingsError

PARALLEL = 32
LONGEST = 3.0  # seconds for one question
SHARE = 0.3  # of what is left, so that questions that follow from answers have their time
TRY = 1.0  # second before a server is asked again
PAYLOAD = 1232  # bytes that a UDP answer may have (DNS flag day 2020)


class Outcome(Enum):
    found = "found"
    empty = "there is no such record"
    absent = "there is no such name"
    failed = "the name servers fail"
    bogus = "the answer fails DNSSEC validation"
    late = "no answer in time"


@dataclass(frozen=True, slots=True)
class Answer:
    """Records are dnspython's. `alias` is where aliases led to, None where the name has none."""

    name: str
    kind: str
    outcome: Outcome
    records: tuple[Any, ...] = ()
    alias: str | None = None
    validated: bool = False
    detail: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the answer says what there is, be it nothing."""
        return self.outcome in (Outcome.found, Outcome.empty, Outcome.absent)

    @property
    def texts(self) -> list[bytes]:
        """The strings of each TXT record, joined as RFC 7208 and RFC 6376 want it."""
        return [b"".join(one.strings) for one in self.records]

    def __str__(self) -> str:
        return f"{self.kind} of {self.name}: {self.detail or self.outcome.value}"


class Unanswered(Exception):
    """A question that has no answer to go on with."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class Asker:
    """Asks, remembers, and gives the same answer to whoever asks again. Safe between threads."""

    def __init__(self, servers: Sequence[str], left: Callable[[float], float]) -> None:
        """`servers` as `ADDRESS[@PORT]`, none for the system's. Raises SettingsError."""
        self._left = left
        self._room = threading.BoundedSemaphore(PARALLEL)
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], Future[Answer]] = {}
        self._resolvers = [_resolver(servers, validate) for validate in (True, False)]

    def ask(self, name: str, kind: str) -> Answer:
        """The records of a kind at a name. Never raises for what the servers do."""
        key = name.lower().rstrip("."), kind
        with self._lock:
            future = self._answers.get(key)
            is_ours = future is None
            if future is None:
                future = self._answers[key] = Future()
        if is_ours:
            try:
                with self._room:
                    future.set_result(self._ask(*key))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def know(self, name: str, kind: str) -> Answer:
        """The same. Raises Unanswered unless it says what there is."""
        answer = self.ask(name, kind)
        if not answer.is_known:
            raise Unanswered(answer)
        return answer

    def addresses(self, name: str) -> list[str]:
        """The addresses of a name, IPv4 first. Raises Unanswered."""
        return [
            str(ip_address(one.address)) for kind in ("A", "AAAA") for one in self.know(name, kind).records
        ]

    def _ask(self, name: str, kind: str) -> Answer:
        import dns.exception
        import dns.resolver

        careful, lax = self._resolvers
        try:
            return self._resolve(careful, name, kind)
        except dns.resolver.NoNameservers as error:
            said = _complaint(error)
        except dns.exception.Timeout:
            return Answer(name, kind, Outcome.late)
        except dns.resolver.NXDOMAIN:
            return Answer(name, kind, Outcome.absent)
        except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
            detail = f"it cannot be asked for: {error or type(error).__name__}"
            return Answer(name, kind, Outcome.failed, detail=" ".join(detail.split()))
        failed = Answer(name, kind, Outcome.failed, detail=f"the name servers fail ({said})")
        if said != "SERVFAIL":
            return failed
        # Bogus is what is there without validation and fails with it, before and after that: a failure
        # that comes and goes is none.
        try:
            self._resolve(lax, name, kind)
        except dns.exception.DNSException:
            return failed
        try:
            return self._resolve(careful, name, kind)
        except dns.resolver.NoNameservers:
            return Answer(name, kind, Outcome.bogus)
        except dns.exception.DNSException:
            return failed

    def _resolve(self, resolver: Any, name: str, kind: str) -> Answer:
        import dns.flags
        import dns.name

        found = resolver.resolve(
            dns.name.from_text(name + "."),
            kind,
            raise_on_no_answer=False,
            lifetime=min(LONGEST, self._left(SHARE)),
            search=False,
        )
        canonical = str(found.canonical_name).lower().rstrip(".")
        return Answer(
            name,
            kind,
            Outcome.found if found.rrset else Outcome.empty,
            tuple(found.rrset or ()),
            canonical if canonical != name else None,
            bool(found.response.flags & dns.flags.AD),
        )


def _resolver(servers: Sequence[str], validate: bool) -> Any:
    import dns.flags
    import dns.nameserver
    import dns.resolver

    if servers:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [_server(one) for one in servers]
    else:
        try:
            resolver = dns.resolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            raise SettingsError(
                "/etc/resolv.conf names no name server", hint="name one in the settings' health.resolver"
            ) from None
    # AD in a question asks for the resolver's word on DNSSEC (RFC 6840 5.7); CD forgoes its validation.
    resolver.flags = dns.flags.RD | (dns.flags.AD if validate else dns.flags.CD)
    resolver.use_edns(0, 0, PAYLOAD)
    resolver.timeout = TRY
    return resolver


def _server(text: str) -> Any:
    import dns.nameserver

    address, at, port = text.partition("@")
    try:
        number = int(port) if at else 53
        if not 0 < number < 65536:
            raise ValueError
        return dns.nameserver.Do53Nameserver(str(ip_address(address)), number)
    except ValueError:
        raise SettingsError(
            f"health.resolver names {text!r}, which is no address", hint="for example 127.0.0.1 or ::1@5353"
        ) from None


def _complaint(error: Any) -> str:
    """What the last server answered, as its response code."""
    import dns.rcode

    codes = [
        dns.rcode.to_text(one[4].rcode()) for one in error.kwargs.get("errors", ()) if one[4] is not None
    ]
    return codes[-1] if codes else "unreachable"
