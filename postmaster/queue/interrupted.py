"""Actions that were interrupted: what of them had been done, and putting back what they left on hold.

What an action meant to do is in the record, message by message, from before its first step. So what is left
can be found out by looking: at the queue, at the copies in the trash, at the steps that were written down.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from postmaster.postfix import postsuper, spool
from postmaster.postfix.instances import Instance
from postmaster.postfix.place import locate
from postmaster.postfix.queue_file import read_envelope
from postmaster.queue import trash
from postmaster.queue.action import DONE, MAY_BE_SENT, Done, Result, Verb
from postmaster.queue.message import Message
from postmaster.queue.sameness import differs
from postmaster.queue.store import Item, Store


def settle_gone(store: Store, number: int, places: Mapping[str, Instance]) -> int:
    """Settle what an interrupted action had finished without writing it down. How many are open."""
    settled: list[tuple[int, str, str | None]] = []
    left = 0
    action = store.action(number)
    deleted = []
    for item in list(store.items(number, only_open=True)):
        if action.verb == "flush":  # which holds nothing: there is nothing to go on with
            settled.append((item.number, "waiting", "not followed to the end"))
            continue
        if _is_there(item.message, places):
            left += 1
            continue
        copy = store.copy_of(item.message)
        if copy is not None and copy.state == "copied" and copy.action == number:
            deleted.append(item.message)
            done = DONE[Verb.redirect] if item.step is not None else DONE[Verb.delete]
            settled.append((item.number, done, "found out after an interruption"))
        elif copy is not None:
            settled.append((item.number, "deleted", f"by action {copy.action}"))
        else:
            settled.append((item.number, "vanished", "found out after an interruption"))
    store.set_copies("deleted", deleted)
    store.settle(number, settled)
    if not left and action.ended is None:
        store.end(number)
    return left


def _is_there(message: Message, places: Mapping[str, Instance]) -> bool:
    place = places.get(message.instance)
    return place is not None and _find(place, message) is not None


def _find(place: Instance, message: Message) -> str | None:
    """The queue that has this very message, None when none has."""
    found = locate(place, message.queue_id)
    if found is None:
        return None
    try:
        with spool.opened(found[1]) as descriptor:
            difference = differs(message, read_envelope(descriptor), os.fstat(descriptor))
    except OSError:
        return None
    return found[0] if difference is None else None


def let_go(store: Store, number: int, places: Mapping[str, Instance]) -> Result:
    """Release what an interrupted action left on hold, and close it.

    What was on hold before the action stays there.
    """
    action = store.action(number)
    result = Result(number, action.verb)
    settle_gone(store, number, places)
    items = list(store.items(number, only_open=True))
    held: dict[str, list[Item]] = {}
    for item in items:
        place = places.get(item.message.instance)
        queue = _find(place, item.message) if place is not None else None
        if item.step is not None:
            result.done.append(Done(item.message, "failed", MAY_BE_SENT))
        elif queue == "hold" and item.message.queue_name != "hold":
            held.setdefault(item.message.instance, []).append(item)
        else:
            result.done.append(Done(item.message, "left", "it had not been touched"))
    for name, own in held.items():
        answer = postsuper.release(places[name].config_directory, [one.message.queue_id for one in own])
        for item in own:
            if item.message.queue_id in answer.done:
                result.done.append(Done(item.message, "released", "put back after an interruption"))
            else:
                result.done.append(Done(item.message, "failed", answer.complaint or "it stays on hold"))
    copies = [copy for item in items if (copy := store.copy_of(item.message)) is not None]
    trash.discard(store, [copy for copy in copies if copy.state == "copied" and copy.action == number])
    numbers = {item.message.identity: item.number for item in items}
    store.settle(number, [(numbers[one.message.identity], one.outcome, one.detail) for one in result.done])
    store.end(number)
    return result
