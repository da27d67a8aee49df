"""What an action would touch: the messages, and what a person wants to know of them before saying yes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from postmaster.errors import UsageError
from postmaster.queue.message import Message

TOP = 5  # senders and destinations that a plan names


@dataclass(slots=True)
class Plan:
    """The messages of an action, each once, and their totals. Sizes in bytes."""

    messages: list[Message] = field(default_factory=list)
    bytes: int = 0
    senders: Counter[str] = field(default_factory=Counter)
    destinations: Counter[str] = field(default_factory=Counter)
    queues: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)

    def as_row(self) -> dict[str, Any]:
        """The plan as JSON has it."""
        return {
            "messages": len(self.messages),
            "bytes": self.bytes,
            "queues": dict(self.queues.most_common()),
            "instances": dict(self.instances.most_common()),
            "senders": [{"sender": name, "messages": count} for name, count in self.senders.most_common(TOP)],
            "destinations": [
                {"domain": name, "messages": count} for name, count in self.destinations.most_common(TOP)
            ],
        }


def plan(messages: Iterable[Message]) -> Plan:
    """Collect the messages of an action. One that was seen twice while it moved is taken once."""
    found = Plan()
    seen: set[tuple[str, str, int]] = set()
    for message in messages:
        if message.identity in seen:
            continue
        seen.add(message.identity)
        found.messages.append(message)
        found.bytes += message.message_size
        found.senders[message.sender] += 1
        found.queues[message.queue_name] += 1
        found.instances[message.instance] += 1
        found.destinations.update({one.address.rpartition("@")[2].lower() for one in message.recipients})
    return found


def check_size(found: Plan, most: int) -> None:
    """Refuse more messages than were meant. 0: any number. Raises UsageError."""
    if most and len(found.messages) > most:
        raise UsageError(
            f"{len(found.messages)} messages match, and no more than {most} are touched without being told",
            hint=f"look with --dry-run, then add --max {len(found.messages)}",
        )
