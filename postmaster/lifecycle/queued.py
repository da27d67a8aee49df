"""What lies in the queue of one login, or for one address, and what a change of it does there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from postmaster.address import EXTENSION_SEPARATOR, Address
from postmaster.postfix import postsuper
from postmaster.postfix.instances import by_name
from postmaster.postfix.queue import Listing
from postmaster.process import current_actor
from postmaster.queue import expression, read
from postmaster.queue.act import act
from postmaster.queue.action import DONE, Done, Options, Verb
from postmaster.queue.content import header_reader
from postmaster.queue.fate import Watch
from postmaster.queue.message import ALL
from postmaster.queue.plan import plan
from postmaster.queue.store import Item, open_store
from postmaster.queue.tree import AnyOf
from postmaster.settings import Settings

#: Queues whose messages can be held and requeued; in `hold` they are already, or somebody put them there.
REACHED = ("incoming", "active", "deferred")
PASSES = 3  # over the queue: what is on its way in, or moves, is missed by one


@dataclass(frozen=True, slots=True)
class Acted:
    """An action's number in the queue's history, None where nothing was there, and what became of each.

    `on_hold`: messages that were on hold already, and were left as they are.
    """

    number: int | None
    done: tuple[Done, ...]
    on_hold: int = 0

    def count(self, verb: Verb) -> int:
        return sum(one.outcome == DONE[verb] for one in self.done)

    def others(self, verb: Verb) -> tuple[Done, ...]:
        """Those of which it was not done, though they are there."""
        gone = (DONE[verb], "delivered", "returned", "vanished")
        return tuple(one for one in self.done if one.outcome not in gone)


def of_login(login: str) -> expression.Node:
    """Messages that a login sent."""
    return expression.term("sasl", "=", login)


def for_recipient(address: Address) -> expression.Node:
    """Messages with an address, with or without an extension, among the recipients they still have."""
    extended = f"{address.local.text}{EXTENSION_SEPARATOR}*@{address.domain.ascii}"
    return AnyOf(tuple(expression.term("recipient", "=", one) for one in (address.ascii, extended)))


def act_on(
    settings: Settings, verb: Verb, node: expression.Node, *, command: str, reason: str | None
) -> Acted:
    """Do one thing to all messages that fit, as a queue command would: recorded, and safe against races.

    Needs root. Raises ServerError, RightsError, StoreError.
    """
    places = by_name(settings.postfix.config_directory)
    for place in places.values():
        postsuper.check(place.config_directory)
    test = expression.compile_filter(node, time.time(), header_reader(settings))
    done: list[Done] = []
    number: int | None = None
    on_hold: int | None = None
    with open_store(settings.state) as store, Watch(places, settings.log.files) as watch:
        for _ in range(PASSES):
            found = read.select(
                settings, Listing(), test, source="spool", need=ALL, test_need=expression.needs(node)
            )
            messages = plan(found).messages
            if on_hold is None:
                on_hold = sum(one.queue_name == "hold" for one in messages)
            fresh = [one for one in messages if one.queue_name in REACHED]
            if not fresh:
                break
            number = store.begin(
                verb=verb.value,
                command=command,
                who=current_actor(),
                reason=reason,
                filter_text=str(node),
                options={"keep_copy": True, "address": "", "bounce_outsiders": False},
                messages=fresh,
            )
            options = Options(verb, still=test, lock_wait=settings.queue.lock_wait)
            items = [Item(at, message, None, None, None) for at, message in enumerate(fresh)]
            result = act(items, options, store=store, number=number, places=places, watch=watch)
            # The latest word about each: one that was missed is met again.
            known = {one.message.identity: one for one in (*done, *result.done)}
            done = list(known.values())
            if verb is not Verb.hold:
                break  # what is requeued comes in again under another name
            time.sleep(0.3)
    return Acted(number, tuple(replace(one) for one in done), on_hold or 0)
