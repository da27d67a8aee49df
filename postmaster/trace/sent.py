"""What one login sent, and from where, with what looks suspicious about it. One pass over the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from postmaster.postfix import events as postfix
from postmaster.trace.sources import Notes, Period, Source
from postmaster.trace.suspicious import Finding, Limits, Suspicions, merged

SHOWN = 10  # addresses and domains that are named


@dataclass(frozen=True, slots=True)
class Sent:
    """Counts of messages and of their recipients; the first and last moment in seconds since 1970.

    `clients` and `domains` have the most frequent first: where it was sent from, and to.
    """

    messages: int
    recipients: int
    delivered: int
    bounced: int
    first: float | None
    last: float | None
    clients: tuple[tuple[str, int], ...]
    domains: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Message:
    client: str
    time: float
    accepted: bool = False  # it got to its end and into the queue
    outcomes: dict[str, str] = field(default_factory=dict)  # recipient: the last word about it


def sent(logs: Sequence[Sequence[Source]], period: Period, login: str, notes: Notes) -> Sent:
    """What a login sent in a period, as far as the logs go back. A message that was begun and refused
    does not count.
    """
    suspicions = Suspicions(Limits())
    clients: Counter[str] = Counter()
    domains: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    under_way: dict[tuple[str, str], _Message] = {}
    times: list[float] = []
    for line in merged(logs, period, notes, (_ACCEPTED,)):
        suspicions.add(line)
        key = (line.instance, getattr(line.event, "queue_id", None) or "")
        match line.event:
            case postfix.Client(sasl_username=str(name)) as event if name.lower() == login:
                _close(under_way.pop(key, None), outcomes)  # a short ID in its next life
                under_way[key] = _Message(event.address, line.time)
            case postfix.Queued() if key in under_way and not under_way[key].accepted:
                one = under_way[key]
                one.accepted = True
                clients[one.client] += 1
                times = [times[0] if times else one.time, one.time]
            case postfix.Delivery() as event if key in under_way:
                known = under_way[key].outcomes
                domains[event.recipient.rpartition("@")[2].lower()] += event.recipient not in known
                known[event.recipient] = event.status
            case postfix.Removed():
                _close(under_way.pop(key, None), outcomes)
    for one in under_way.values():
        _close(one, outcomes)
    return Sent(
        messages=clients.total(),
        recipients=outcomes.total(),
        delivered=outcomes["sent"],
        bounced=outcomes["bounced"],
        first=times[0] if times else None,
        last=times[-1] if times else None,
        clients=tuple(clients.most_common(SHOWN)),
        domains=tuple(domains.most_common(SHOWN)),
        findings=tuple(one for one in suspicions.findings() if one.login == login),
    )


_ACCEPTED = b"(queue active)"  # what the queue manager says of a message that it takes


def _close(message: _Message | None, outcomes: Counter[str]) -> None:
    if message is not None:
        outcomes.update(message.outcomes.values())
