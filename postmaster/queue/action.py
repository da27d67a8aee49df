"""What an action on messages is: its verb, how to act, and what became of each message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from postmaster.queue.message import Message

BOUNCE_WAIT = 60.0  # seconds that a bounce is waited for
MAY_BE_SENT = "it may have been sent on before the interruption: it stays on hold; delete or release it"


class Verb(StrEnum):
    """The actions that go through hold. Flushing needs none (`pace.py`)."""

    hold = "hold"
    release = "release"
    requeue = "requeue"
    bounce = "bounce"
    delete = "delete"
    redirect = "redirect"


#: What a message is called after the action. Every other outcome says why not.
DONE = {
    Verb.hold: "held",
    Verb.release: "released",
    Verb.requeue: "requeued",
    Verb.bounce: "bounced",
    Verb.delete: "deleted",
    Verb.redirect: "redirected",
}


@dataclass(slots=True)
class Done:
    """What became of one message, and more about it where there is more to say."""

    message: Message
    outcome: str
    detail: str | None = None


@dataclass(slots=True)
class Result:
    """An action's end. `number` is its number in the history."""

    number: int
    verb: str
    done: list[Done] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter(one.outcome for one in self.done)


@dataclass(frozen=True, slots=True)
class Options:
    """How to act. `still` is the filter, asked again about a message that lost recipients meanwhile."""

    verb: Verb
    still: Callable[[Message], bool] | None = None
    keep_copy: bool = True
    address: str = ""  # where redirect sends
    lock_wait: float = 30.0
    bounce_wait: float = BOUNCE_WAIT


Progress = Callable[[int], None]  # is told how many messages are settled
