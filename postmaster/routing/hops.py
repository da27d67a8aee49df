"""What explaining an address gives: hops, problems, the verdict at the door. Values only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from postmaster.postfix.tables import Difference

#: Rules that give further addresses.
CANONICAL = "canonical"
ALIAS_DOMAIN = "alias_domain"
ALIAS = "alias"
CATCH_ALL = "catch_all"
FORWARD = "forward"
VIRTUAL_ALIAS = "virtual_alias"  # a table that is not the directory's
WHOLE_DOMAIN = "whole_domain"  # an answer `@other`
LOCAL_ALIAS = "local_alias"
INCLUDE = "include"
DOT_FORWARD = "dot_forward"
LUSER_RELAY = "luser_relay"
RESUBMITTED = "resubmitted"

#: Rules at which mail ends here or leaves.
MAILBOX = "mailbox"
LOCAL_MAILBOX = "local_mailbox"
COMMAND = "command"
FILE = "file"
RELAY = "relay"
EXTERNAL = "external"
TRANSPORT = "transport"  # a transport of the administrator's own takes it
DISCARDED = "discarded"
NOWHERE = "nowhere"  # refused, returned or deferred: the problem says which

RULES = (
    *(CANONICAL, ALIAS_DOMAIN, ALIAS, CATCH_ALL, FORWARD, VIRTUAL_ALIAS, WHOLE_DOMAIN),
    *(LOCAL_ALIAS, INCLUDE, DOT_FORWARD, LUSER_RELAY, RESUBMITTED),
    *(MAILBOX, LOCAL_MAILBOX, COMMAND, FILE, RELAY, EXTERNAL, TRANSPORT, DISCARDED, NOWHERE),
)

#: What can be wrong with a hop.
LOOP = "loop"
DEAD_END = "dead_end"
CLOSED = "closed"
LIMIT = "limit"
UNREADABLE = "unreadable"

PROBLEMS = (LOOP, DEAD_END, CLOSED, LIMIT, UNREADABLE)


@dataclass(slots=True)
class Hop:
    """One address on the way, in external form, and the rule that decides what becomes of it."""

    address: str
    rule: str = ""
    reason: str = ""
    table: str | None = None
    key: str | None = None
    kept_copy: bool = False  # the address is one of its own targets
    extension: str | None = None  # what became of the extension of the address before: kept, stripped
    domain_class: str | None = None
    transport: str | None = None
    next_hop: str | None = None
    sender: str | None = None  # a new envelope sender from here on (owner-)
    problem: str | None = None
    hops: list[Hop] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[int, Hop]]:
        """(depth, hop) for itself and all below, in order; not by recursion, a chain can be long."""
        waiting = [(0, self)]
        while waiting:
            depth, hop = waiting.pop()
            yield depth, hop
            waiting.extend((depth + 1, below) for below in reversed(hop.hops))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client hears about a recipient from SMTP: `code` is 250, or that of the refusal."""

    code: int
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on the way that keeps mail from arriving."""

    code: str
    address: str
    message: str


@dataclass(frozen=True, slots=True)
class ResolveDifference:
    """The running server sends an address elsewhere than its configuration says."""

    address: str
    read: str
    live: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole way of one address. `recipients` are what Postfix writes into the queue file."""

    address: str
    sender: str
    verdict: Verdict
    tree: Hop
    copies: tuple[Hop, ...]  # automatic ones (always_bcc and the like)
    recipients: tuple[str, ...]
    problems: tuple[Problem, ...]
    differences: tuple[Difference | ResolveDifference, ...]
    asked_live: tuple[str, ...]  # tables, rewrite: which parts of the running server answered
    limits: dict[str, int]
    notes: tuple[str, ...]
