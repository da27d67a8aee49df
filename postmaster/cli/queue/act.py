"""`postmaster queue flush | hold | release | requeue | bounce | delete | redirect`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.choose import Chosen, choosing, chosen_test, read_chosen
from postmaster.cli.sharing import Command, share
from postmaster.cli.sharing import Options as Shared
from postmaster.cli.state import DryRun, Output, Yes, confirm, print_record, say, state_of
from postmaster.errors import NotFoundError, PartialError, PostmasterError, UsageError
from postmaster.render.output import Format, moment, size

if TYPE_CHECKING:
    from postmaster.postfix.instances import Instance
    from postmaster.queue.act import Done, Options
    from postmaster.queue.fate import Watch
    from postmaster.queue.message import Message
    from postmaster.queue.plan import Plan
    from postmaster.queue.store import Action, Store
    from postmaster.settings import Settings

app = typer.Typer(rich_markup_mode=None, add_completion=False)

All = Annotated[bool, typer.Option("--all", help="Every message in the queue.")]
Why = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why; kept in the history.")]
Most = Annotated[
    int, typer.Option("--max", min=0, metavar="N", help="Refuse to touch more than this; 0: any number.")
]
Now = Annotated[bool, typer.Option("--now", help="Keep no copy: it cannot be restored.")]
MOST = 1000  # messages that an action touches without being told
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
    "delete": "postmaster queue trash restore brings them back",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What every action is told besides which messages."""

    everything: bool
    why: str | None
    most: int
    yes: bool
    dry_run: bool
    output: Format


_OPTIONS: Shared = {
    "everything": (All, False),
    "why": (Why, None),
    "most": (Most, MOST),
    "yes": (Yes, False),
    "dry_run": (DryRun, False),
    "output": (Output, Format.table),
}


def acting(command: Command) -> Command:
    """Give a command what every action takes: which messages as `chosen`, the rest as `asked`."""
    return choosing(
        share(command, _OPTIONS, ("asked",), lambda given: {"asked": Asked(**given)}, first=False)
    )


@app.command(
    epilog="Examples: postmaster queue flush 4B7Z2K5NHbz8gQ; "
    "postmaster queue flush 'recipient-domain=example.com' --pace 20/min --stop-on 421,4.7"
)
@acting
def flush(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
    pace: Annotated[
        str | None, typer.Option(metavar="N/UNIT", help="At most so many: 20/min, 1/s, 500/h.")
    ] = None,
    stop_on: Annotated[
        str | None,
        typer.Option(
            "--stop-on",
            metavar="CODES",
            help="Stop at these replies or status codes; none: never. With a pace: 421,4.7.",
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="For the last outcomes.")] = 60.0,
) -> None:
    """Try to deliver now, and tell what became of each message.

    A pace bounds what this command triggers, and nothing else: Postfix goes on with its own attempts.
    """
    import os

    from postmaster.queue import pace as pacing

    interval = pacing.parse_pace(pace) if pace else 0.0
    stops = pacing.parse_stops(stop_on) if stop_on is not None else pacing.STOP_ON if pace else ()
    options = pacing.FlushOptions(interval, stops, wait)
    with prepared(context, "flush", recorded=os.geteuid() == 0) as begun:
        found = begun.plan(chosen, asked.everything)
        if asked.dry_run:
            begun.show(found, asked.output)
            return
        begun.check_size(found, asked.most)
        if len(found.messages) > 1:
            begun.ask(f"Try to deliver {_messages(found)} now?", found, asked.yes)
        if pace:
            say("the pace bounds what this command triggers; Postfix goes on with its own attempts")
        if not begun.watch.readable:
            say("no mail log can be read here: outcomes are looked up in the queue, which knows less")
        number = begun.record(found, asked.why, {"pace": pace, "stop_on": list(stops)}, flush=True)
        with _bar(len(found.messages), "flush") as progress:
            told = pacing.flush(found.messages, options, begun.places, begun.watch, progress)
        begun.close(number, told.done)
        if told.stopped_by:
            say(f"stopped: {told.stopped_by}")
        begun.tell(asked.output, found, number, told.done)


@app.command(epilog="Examples: postmaster queue hold 4B7Z2K5NHbz8gQ; postmaster queue hold 'age>2d' --yes")
@acting
def hold(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
) -> None:
    """Put messages on hold: no delivery is tried until they are released."""
    _perform(context, "hold", chosen, asked)


@app.command(epilog="Example: postmaster queue release 'queue=hold and sender=*@shop.example'")
@acting
def release(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
) -> None:
    """Release messages from hold: they are tried again when their turn comes."""
    _perform(context, "release", chosen, asked)


@app.command(epilog="Example: postmaster queue requeue 'recipient=*@old.example' --why 'the alias changed'")
@acting
def requeue(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
) -> None:
    """Take messages in once more, under new IDs: aliases are looked up again. Milters are passed by."""
    _perform(context, "requeue", chosen, asked)


@app.command(epilog="Example: postmaster queue bounce 'recipient=*@gone.example' --why 'the domain is gone'")
@acting
def bounce(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
    bounce_outsiders: Annotated[
        bool,
        typer.Option(
            "--bounce-outsiders", help="Also mail from strangers, though its senders may be forged."
        ),
    ] = False,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="For the notifications.")] = 60.0,
) -> None:
    """Return messages to their senders now, as undeliverable."""
    _perform(
        *(context, "bounce", chosen, asked),
        bounce_outsiders=bounce_outsiders,
        bounce_wait=wait,
    )


@app.command(epilog="Example: postmaster queue expire 4B7Z2K5NHbz8gQ")
@acting
def expire(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
    bounce_outsiders: Annotated[
        bool, typer.Option("--bounce-outsiders", help="Also mail from strangers.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="For the notifications.")] = 60.0,
) -> None:
    """The same as bounce."""
    _perform(
        *(context, "bounce", chosen, asked),
        bounce_outsiders=bounce_outsiders,
        bounce_wait=wait,
    )


@app.command(
    epilog="Examples: postmaster queue delete 4B7Z2K5NHbz8gQ; "
    "postmaster queue delete 'sender=*@shop.example and age>2h' --why 'stolen account' --yes"
)
@acting
def delete(
    context: typer.Context,
    chosen: Chosen,
    asked: Asked,
    now: Now = False,
) -> None:
    """Delete messages. A copy of each is kept in the trash for some days, unless --now is given."""
    _perform(context, "delete", chosen, asked, keep_copy=not now)


@app.command(epilog="Example: postmaster queue redirect 'recipient=amy@old.example' amy@new.example")
@acting
def redirect(
    context: typer.Context,
    chosen: Chosen,
    last: str,
    asked: Asked,
    now: Now = False,
) -> None:
    """Send messages to another address, the last word, instead of the recipients they still have."""
    from postmaster.address import parse_address

    address = str(parse_address(last))
    _perform(
        *(context, "redirect", chosen, asked),
        keep_copy=not now,
        address=address,
    )


def _perform(
    context: typer.Context,
    verb: str,
    chosen: Chosen,
    asked: Asked,
    *,
    keep_copy: bool = True,
    address: str = "",
    bounce_outsiders: bool = False,
    bounce_wait: float = 60.0,
) -> None:
    from postmaster.queue import act, trash
    from postmaster.queue.store import Item

    with prepared(context, verb) as begun:
        found = begun.plan(chosen, asked.everything)
        if asked.dry_run:
            begun.show(found, asked.output)
            return
        begun.check_size(found, asked.most)
        if verb == "bounce" and not bounce_outsiders:
            _refuse_outsiders(act.outsiders(found.messages, begun.places), found)
        if verb in ("delete", "redirect") and keep_copy:
            trash.check_space(begun.store, begun.settings.queue, found.bytes)
        begun.ask(_question(verb, found, address, keep_copy), found, asked.yes)
        given = {"keep_copy": keep_copy, "address": address, "bounce_outsiders": bounce_outsiders}
        number = begun.record(found, asked.why, given)
        options = act.Options(
            act.Verb(verb),
            still=begun.test,
            keep_copy=keep_copy,
            address=address,
            lock_wait=begun.settings.queue.lock_wait,
            bounce_wait=bounce_wait,
        )
        items = [Item(at, message, None, None, None) for at, message in enumerate(found.messages)]
        result = perform(begun, items, options, number)
        begun.tell(asked.output, found, number, result, undo=keep_copy)


def perform(begun: Begun, items: Sequence[Any], options: Options, number: int, **more: Any) -> list[Done]:
    """Act, with a progress bar where somebody looks."""
    from postmaster.queue.act import act

    with _bar(len(items), options.verb.value) as progress:
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
            what = f"not in the queue: {', '.join(absent[:5])}" if absent else "no message matches"
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
        return self._store.begin(
            verb=self.verb,
            command=" ".join(["queue", self.verb, self.text or ""]).strip(),
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
            say(_UNDO[self.verb])
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
    from postmaster.postfix.instances import instances

    return {one.name: one for one in instances(settings.postfix.config_directory)}


@contextmanager
def opened(settings: Settings, places: Mapping[str, Instance], *, announce: bool = True) -> Iterator[Store]:
    """The record, tidied up: what is past its grace goes, and what was interrupted is told."""
    from postmaster.queue import trash
    from postmaster.queue.act import settle_gone
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


def _refuse_outsiders(strangers: Sequence[Message], found: Plan) -> None:
    if strangers:
        some = ", ".join(message.queue_id for message in strangers[:3])
        raise UsageError(
            f"{len(strangers)} of {len(found.messages)} came from strangers ({some}"
            + (", …" if len(strangers) > 3 else "")
            + "): their senders may be forged, and would get mail that they never sent",
            hint="postmaster queue delete takes them away quietly; --bounce-outsiders returns them anyway",
        )


def _messages(found: Plan) -> str:
    count = len(found.messages)
    return f"{count} message{'' if count == 1 else 's'} ({size(found.bytes)})"


def _question(verb: str, found: Plan, address: str, keep_copy: bool) -> str:
    what = _messages(found)
    if verb == "redirect":
        return f"Send {what} to {address} instead?"
    if verb == "delete":
        return f"Delete {what}{'' if keep_copy else ' for good'}?"
    if verb == "hold":
        return f"Put {what} on hold?"
    return f"{verb.capitalize()} {what}?"


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
    return f"{one.message.queue_id}: {one.outcome}" + (f", {one.detail}" if one.detail else "")


@contextmanager
def _bar(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, for work that is long enough to be looked at."""
    if total < 20 or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)
