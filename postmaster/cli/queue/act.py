"""`postmaster queue flush | hold | release | requeue | bounce | delete | redirect`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.begun import perform, prepared
from postmaster.cli.queue.choose import Chosen, choosing
from postmaster.cli.sharing import Command, share
from postmaster.cli.sharing import Options as Shared
from postmaster.cli.state import DryRun, Output, Yes, bar, check_reason, say
from postmaster.errors import PostmasterError, UsageError
from postmaster.render.output import Format, size

if TYPE_CHECKING:
    from postmaster.queue.message import Message
    from postmaster.queue.plan import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False)

All = Annotated[bool, typer.Option("--all", help="Every message in the queue.")]
Why = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why; kept in the history.")]
Most = Annotated[
    int, typer.Option("--max", min=0, metavar="N", help="Refuse to touch more than this; 0: any number.")
]
Now = Annotated[bool, typer.Option("--now", help="Keep no copy: it cannot be restored.")]
MOST = 1000  # messages that an action touches without being told


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

    def fill(given: dict[str, Any]) -> dict[str, Any]:
        check_reason(given["why"])
        return {"asked": Asked(**given)}

    return choosing(share(command, _OPTIONS, ("asked",), fill, first=False))


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
        with bar(len(found.messages), "flush") as progress:
            told = pacing.flush(found.messages, options, begun.places, begun.watch, progress)
        begun.close(number, told.done)
        if told.stopped_by:
            say(f"stopped: {told.stopped_by}")
        if told.is_interrupted:
            with suppress(PostmasterError):  # that not all was done is known
                begun.tell(asked.output, found, number, told.done)
            raise KeyboardInterrupt
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


@app.command("expire", help="The same as bounce.", epilog="Example: postmaster queue expire 4B7Z2K5NHbz8gQ")
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
    from postmaster.queue import trash
    from postmaster.queue.action import Options, Verb
    from postmaster.queue.outsiders import outsiders
    from postmaster.queue.store import Item

    with prepared(context, verb) as begun:
        found = begun.plan(chosen, asked.everything)
        if asked.dry_run:
            begun.show(found, asked.output)
            return
        begun.check_size(found, asked.most)
        if verb == "bounce" and not bounce_outsiders:
            _refuse_outsiders(outsiders(found.messages, begun.places), found)
        if verb in ("delete", "redirect") and keep_copy:
            trash.check_space(begun.store, begun.settings.queue, found.bytes)
        begun.ask(_question(verb, found, address, keep_copy), found, asked.yes)
        given = {"keep_copy": keep_copy, "address": address, "bounce_outsiders": bounce_outsiders}
        number = begun.record(found, asked.why, given)
        options = Options(
            Verb(verb),
            still=begun.test,
            keep_copy=keep_copy,
            address=address,
            lock_wait=begun.settings.queue.lock_wait,
            bounce_wait=bounce_wait,
        )
        items = [Item(at, message, None, None, None) for at, message in enumerate(found.messages)]
        result = perform(begun, items, options, number)
        begun.tell(asked.output, found, number, result, undo=keep_copy)


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
