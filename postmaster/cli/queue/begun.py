"""What a queue action has at hand (rights checked, record, log, instances), and what it tells."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from postmaster.cli.queue.choose import Chosen, chosen_test, read_chosen
from postmaster.cli.state import bar, confirm, print_record, say, state_of
from postmaster.errors import NotFoundError, PartialError, PostmasterError, UsageError
from postmaster.render.output import Format, moment, size

if TYPE_CHECKING:
    from postmaster.postfix.instances import Instance
    from postmaster.queue.action import Done, Options
    from postmaster.queue.fate import Watch
    from postmaster.queue.message import Message
    from postmaster.queue.plan import Plan
    from postmaster.queue.store import Action, Store
    from postmaster.settings import Settings

SHOWN = 50  # messages named one by one in a table

#: Outcomes with which an action has done what it was asked for.
_GOOD = {
    "flush": {"sent", "deferred", "returned", "gone"},
    "hold": {"held"},
    "release": {"released"},
    "requeue": {"requeued"},
    "bounce": {"bounced"},
    "delete": {"deleted"},
    "redirect": {"redirected"},
}
_UNDO = {
    "hold": "postmaster queue release puts them back",
    "release": "postmaster queue hold holds them again",
    "requeue": "they come in again within a minute, under new IDs",
    "delete": "postmaster queue trash restore --action {} brings them back",
}


def perform(begun: Begun, items: Sequence[Any], options: Options, number: int, **more: Any) -> list[Done]:
    """Act, with a progress bar where somebody looks."""
    from postmaster.queue.act import act

    with bar(len(items), options.verb.value) as progress:
        return act(
            items,
            options,
            store=begun.store,
            number=number,
            places=begun.places,
            watch=begun.watch,
            progress=progress,
            **more,
        ).done


class Begun:
    """What an action has at hand once its rights are checked: the record, the log, the instances."""

    def __init__(
        self,
        context: typer.Context,
        verb: str,
        store: Store | None,
        watch: Watch,
        places: Mapping[str, Instance],
    ) -> None:
        self._context = context
        self._store = store
        self.settings: Settings = state_of(context).settings
        self.verb = verb
        self.watch = watch
        self.places = places
        self.test: Callable[[Message], bool] | None = None
        self.text: str | None = None
        self.absent: tuple[str, ...] = ()  # IDs that were named and are not there

    @property
    def store(self) -> Store:
        assert self._store is not None  # only a flush without rights has none
        return self._store

    def plan(self, chosen: Chosen, everything: bool) -> Plan:
        """Collect what was chosen. Raises UsageError for nothing or everything by accident, NotFoundError."""
        from postmaster.postfix.queue import Listing
        from postmaster.queue.plan import plan

        if (chosen.node is not None) == everything:
            raise UsageError(
                "name queue IDs or a filter, or --all", hint=f"see: {self._context.command_path} --help"
            )
        listing = Listing()
        self.test = chosen_test(self.settings, chosen)
        self.text = "--all" if chosen.node is None else str(chosen.node)
        found = plan(read_chosen(self._context, chosen, listing))
        order = {queue_id: at for at, queue_id in enumerate(chosen.ids)}
        found.messages.sort(key=lambda message: order.get(message.queue_id, 0))
        there = {message.queue_id for message in found.messages}
        # With more than IDs, one that is there may just not match.
        named = chosen.ids if chosen.only_ids and chosen.needs() <= {"queue_id"} else ()
        absent = [queue_id for queue_id in named if queue_id not in there]
        self.absent = tuple(absent)
        if not found.messages:
            nothing = "the queue is empty" if everything else "no message matches"
            what = f"not in the queue: {', '.join(absent[:5])}" if absent else nothing
            raise NotFoundError(what, hint="postmaster queue list shows what is there")
        if listing.unreadable:
            say(f"{listing.unreadable} entries of the queue could not be read, and are left alone")
        return found

    def check_size(self, found: Plan, most: int) -> None:
        from postmaster.queue.plan import check_size

        check_size(found, most)

    def show(self, found: Plan, output: Format) -> None:
        """The plan alone, for --dry-run."""
        if output is Format.table:
            print_record(output, _plan_table(found))
        else:
            print_record(output, {"verb": self.verb, "dry_run": True, "plan": found.as_row()})

    def ask(self, question: str, found: Plan, yes: bool) -> None:
        """Show the plan to whoever can answer, and ask."""
        if not yes and sys.stdin.isatty() and sys.stderr.isatty():
            for key, value in _plan_table(found).items():
                say(f"{key:<13}{value if not isinstance(value, list) else ', '.join(value)}")
        confirm(question, yes=yes)

    def record(self, found: Plan, reason: str | None, options: dict[str, Any], *, flush: bool = False) -> int:
        """Write the intent down. 0 for a flush by somebody who may not."""
        from postmaster.process import current_actor

        if self._store is None:
            return 0
        words = ("queue", self.verb, self.text, options.get("address"))
        return self._store.begin(
            verb=self.verb,
            command=shlex.join(word for word in words if word),
            who=current_actor(),
            reason=reason,
            filter_text=self.text,
            options=options,
            messages=found.messages,
        )

    def close(self, number: int, done: Sequence[Done]) -> None:
        """Write a flush's outcomes down."""
        if self._store is not None:
            self._store.settle(number, [(at, one.outcome, one.detail) for at, one in enumerate(done)])
            self._store.end(number)

    def tell(
        self, output: Format, found: Plan, number: int, done: Sequence[Done], *, undo: bool = True
    ) -> None:
        """Print what became of the messages; the exit status says whether it is what was asked for."""
        counts = Counter(one.outcome for one in done)
        if self.absent:
            counts["absent"] = len(self.absent)
        good = _GOOD[self.verb]
        others = [one for one in done if one.outcome not in good or (self.verb == "flush" and one.detail)]
        history = f"postmaster queue history show {number}" if number else None
        if output is Format.table:
            shown: dict[str, Any] = {"action": number or None, **dict(counts.most_common())}
            lines = [f"{queue_id}: not in the queue" for queue_id in self.absent] + [_line(o) for o in others]
            if len(lines) > SHOWN:
                lines[SHOWN:] = [f"… and {len(lines) - SHOWN} more" + (f": {history}" if history else "")]
            if lines:
                shown["of these"] = lines
            print_record(output, shown)
        else:
            print_record(
                output,
                {
                    "action": number or None,
                    "verb": self.verb,
                    "plan": found.as_row(),
                    "counts": dict(counts.most_common()),
                    "absent": list(self.absent),
                    "messages": [outcome_row(one) for one in done],
                },
            )
        done_well = sum(count for outcome, count in counts.items() if outcome in good)
        if done_well and undo and self.verb in _UNDO and output is Format.table:
            say(_UNDO[self.verb].format(number))
        everything = sum(counts.values())
        if done_well == everything:
            return
        left = ", ".join(
            f"{count} {outcome}" for outcome, count in counts.most_common() if outcome not in good
        )
        if done_well:
            raise PartialError(f"{done_well} of {everything} done; {left}", hint=history)
        raise PostmasterError(f"none was done: {left}", hint=history)


@contextmanager
def prepared(context: typer.Context, verb: str, *, recorded: bool = True) -> Iterator[Begun]:
    """Check the rights first, then open the record and the log, before the queue is looked at."""
    from postmaster.postfix import postsuper
    from postmaster.queue.fate import Watch

    settings = state_of(context).settings
    places = load_places(settings)
    if verb != "flush":
        for place in places.values():
            postsuper.check(place.config_directory)
    with Watch(places, settings.log.files) as watch:
        if not recorded:
            yield Begun(context, verb, None, watch, places)
            return
        with opened(settings, places) as store:
            yield Begun(context, verb, store, watch, places)


def load_places(settings: Settings) -> dict[str, Instance]:
    """Every instance's queue, by the instance's name."""
    from postmaster.postfix.instances import by_name

    return by_name(settings.postfix.config_directory)


@contextmanager
def opened(settings: Settings, places: Mapping[str, Instance], *, announce: bool = True) -> Iterator[Store]:
    """The record, tidied up: what is past its grace goes, and what was interrupted is told."""
    from postmaster.queue import trash
    from postmaster.queue.interrupted import settle_gone
    from postmaster.queue.store import open_store

    with open_store(settings.state) as store:
        trash.purge(store, settings.queue)
        for action in store.unfinished():
            left = settle_gone(store, action.number, places)
            if left and announce:
                say(_interrupted(action, left))
        yield store


def _interrupted(action: Action, left: int) -> str:
    history, number = "postmaster queue history", action.number
    return (
        f"action {number} ({action.verb}, by {action.who}) was interrupted: {left} messages are unfinished"
        f" and may be on hold; {history} finish {number} goes on, {history} release"
        f" {number} puts them back"
    )


def outcome_row(one: Done) -> dict[str, Any]:
    message = one.message
    return {
        "instance": message.instance,
        "queue_id": message.queue_id,
        "arrival_time": moment(message.arrival_time),
        "sender": message.sender,
        "outcome": one.outcome,
        "detail": one.detail,
    }


def _plan_table(found: Plan) -> dict[str, Any]:
    row = found.as_row()
    return {
        "messages": row["messages"],
        "size": size(found.bytes),
        "queues": [f"{name} {count}" for name, count in row["queues"].items()],
        "senders": [f"{one['sender'] or '<>'} {one['messages']}" for one in row["senders"]],
        "destinations": [f"{one['domain'] or '-'} {one['messages']}" for one in row["destinations"]],
    }


def _line(one: Done) -> str:
    # Why a flush stopped is the same for all that it did not try, and is said once.
    detail = "" if one.outcome == "not tried" else one.detail
    return f"{one.message.queue_id}: {one.outcome}" + (f", {detail}" if detail else "")
