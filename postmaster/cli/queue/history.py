"""`postmaster queue history`: what was done to the queue, by whom and why; and what was interrupted."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.begun import load_places, opened, perform, prepared
from postmaster.cli.state import Output, Yes, print_record, print_rows, say, state_of
from postmaster.errors import PartialError, UsageError
from postmaster.render.output import Column, Format, moment, size, timestamp, with_room

if TYPE_CHECKING:
    from postmaster.queue.store import Action, Item, Store

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    invoke_without_command=True,
    help="What was done to the queue, by whom and why; finish or undo what was interrupted.",
    epilog="Examples: postmaster queue history; postmaster queue history show 12",
)

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the action.")]

_COLUMNS = [
    Column("number", "NO", right=True),
    Column("started", "STARTED"),
    Column("who", "WHO"),
    Column("verb", "ACTION"),
    Column("messages", "MESSAGES", right=True),
    Column("outcomes", "OUTCOMES"),
    Column("state", "STATE"),
    Column("filter", "FILTER"),
    Column("reason", "REASON"),
]
ROOM = {"reason": 100, "messages": 110, "state": 110, "filter": 70}
_ITEMS = [
    Column("queue_id", "QUEUE ID"),
    Column("sender", "SENDER"),
    Column("queue_name", "QUEUE"),
    Column("outcome", "OUTCOME"),
    Column("detail", "DETAIL"),
]


def row(action: Action, state: str) -> dict[str, Any]:
    return {
        "number": action.number,
        "verb": action.verb,
        "who": action.who,
        "reason": action.reason,
        "filter": action.filter,
        "command": action.command,
        "options": action.options,
        "started": moment(action.started),
        "ended": None if action.ended is None else moment(action.ended),
        "state": state,
        "messages": action.messages,
        "bytes": action.bytes,
        "outcomes": action.outcomes,
        "unfinished": action.open,
    }


def _state(action: Action, store: Store) -> str:
    if action.ended is not None:
        return "finished"
    return "running" if store.is_running(action.number) else "interrupted"


@app.callback()
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many; 0 for all.")] = 50,
    output: Output = Format.table,
) -> None:
    """List queue actions, the latest first."""
    if context.invoked_subcommand is not None:
        return
    settings = state_of(context).settings
    with opened(settings, load_places(settings)) as store:
        rows = []
        columns = with_room(_COLUMNS, ROOM, sys.stdout)
        for action in store.actions(limit):
            one = row(action, _state(action, store))
            if output is Format.table:
                one["started"] = timestamp(one["started"])
                one["outcomes"] = [f"{count} {name}" for name, count in action.outcomes.items()]
                if one["state"] != "finished" and len(columns) < len(_COLUMNS):
                    one["outcomes"].append(one["state"])
            rows.append(one)
        if not rows and output is Format.table:
            say("nothing was done to the queue yet")
        print_rows(output, columns if output is Format.table else _COLUMNS, rows)


@app.command(epilog="Example: postmaster queue history show 12 -o json")
def show(context: typer.Context, number: Number, output: Output = Format.table) -> None:
    """Show one action, with what became of each message."""
    settings = state_of(context).settings
    with opened(settings, load_places(settings)) as store:
        action = store.action(number)
        shown = row(action, _state(action, store))
        items = [_item_row(item) for item in store.items(number)]
        if output is Format.table:
            shown["bytes"] = size(action.bytes)
            print_record(output, {key: value for key, value in shown.items() if value not in (None, {}, "")})
            print_rows(output, _ITEMS, items)
        else:
            print_record(output, {**shown, "items": items})


def _item_row(item: Item) -> dict[str, Any]:
    message = item.message
    return {
        "instance": message.instance,
        "queue_id": message.queue_id,
        "arrival_time": moment(message.arrival_time),
        "sender": message.sender,
        "queue_name": message.queue_name,
        "outcome": item.outcome,
        "detail": item.detail,
    }


@app.command(epilog="Example: postmaster queue history finish 12")
def finish(context: typer.Context, number: Number, yes: Yes = False, output: Output = Format.table) -> None:
    """Go on with an action that was interrupted: the messages that are left are acted on."""
    from postmaster.queue.action import Options, Verb
    from postmaster.queue.plan import plan

    with prepared(context, "finish") as begun:
        action = _interrupted(begun.store, number)
        begun.verb = action.verb
        items = list(begun.store.items(number, only_open=True))
        found = plan(item.message for item in items)
        begun.ask(f"Finish action {number} ({action.verb}) on {len(items)} messages?", found, yes)
        begun.store.run(number)
        options = Options(
            Verb(action.verb),
            keep_copy=action.options.get("keep_copy", True),
            address=action.options.get("address", ""),
            lock_wait=begun.settings.queue.lock_wait,
        )
        done = perform(begun, items, options, number, resumed=True)
        begun.tell(output, found, number, done)


@app.command(epilog="Example: postmaster queue history release 12")
def release(context: typer.Context, number: Number, output: Output = Format.table) -> None:
    """Undo an action that was interrupted: what it left on hold is put back where it was."""
    from postmaster.queue.interrupted import let_go

    with prepared(context, "release") as begun:
        _interrupted(begun.store, number)
        result = let_go(begun.store, number, begun.places)
        counts = Counter(one.outcome for one in result.done)
        print_record(output, {"action": number, **dict(counts.most_common())})
        for one in result.done:
            if one.outcome == "failed":
                say(f"{one.message.queue_id}: {one.detail}")
        if counts["failed"]:
            raise PartialError(f"{counts['failed']} of {len(result.done)} stay on hold")


def _interrupted(store: Store, number: int) -> Action:
    action = store.action(number)
    if action.ended is not None:
        raise UsageError(f"action {number} is finished", hint="postmaster queue history lists the others")
    if store.is_running(number):
        raise UsageError(f"action {number} is running", hint="wait until it has ended")
    return action
