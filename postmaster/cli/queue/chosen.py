"""Which messages a queue action is about: IDs, a filter, or all of them, and in which instances."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from postmaster.cli.state import state_of
from postmaster.errors import UsageError
from postmaster.postfix.queue import Listing

if TYPE_CHECKING:
    from postmaster.queue.message import Message

_ID = re.compile(r"[0-9A-Za-z]{6,64}\Z")


@dataclass(frozen=True, slots=True)
class Chosen:
    """`test` is the filter, None for IDs and for all; `text` is it as it was typed."""

    messages: Iterator[Message]
    test: Callable[[Message], bool] | None
    text: str | None
    ids: tuple[str, ...]


def choose(context: typer.Context, words: list[str], everything: bool, listing: Listing) -> Chosen:
    """The messages that the words mean. Raises UsageError when they mean none or everything by accident."""
    from postmaster.queue.read import messages as read

    if bool(words) == everything:
        raise UsageError("name queue IDs or a filter, or --all", hint=f"see: {context.command_path} --help")
    found = read(state_of(context).settings.postfix, listing)
    if everything:
        return Chosen(found, None, None, ())
    if all(_ID.match(word) and any(c.isdigit() for c in word) for word in words):
        ids = tuple(dict.fromkeys(words))
        return Chosen((m for m in found if m.queue_id in ids), None, None, ids)
    text = " ".join(words)
    test = _test(text)
    return Chosen((m for m in found if test(m)), test, text, ())


def _test(text: str) -> Callable[[Message], bool]:
    import time

    from postmaster.queue.expression import compile_filter, parse

    now = time.time()

    def domain(address: str) -> str:
        return address.rpartition("@")[2]

    values = {
        "queue": lambda m: (m.queue_name,),
        "id": lambda m: (m.queue_id,),
        "sender": lambda m: (m.sender,),
        "recipient": lambda m: tuple(r.address for r in m.recipients),
        "sender-domain": lambda m: (domain(m.sender),),
        "recipient-domain": lambda m: tuple(domain(r.address) for r in m.recipients),
        "size": lambda m: (float(m.message_size),),
        "age": lambda m: (now - m.arrival_time,),
        "recipients": lambda m: (float(len(m.recipients)),),
        "reason": lambda m: tuple(r.delay_reason for r in m.recipients if r.delay_reason),
        "instance": lambda m: (m.instance,),
    }
    return compile_filter(parse(text), values)
