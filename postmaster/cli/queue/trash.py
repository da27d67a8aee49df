"""`postmaster queue trash list | restore | purge`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.begun import load_places, opened
from postmaster.cli.state import DryRun, Output, Yes, bar, confirm, print_record, print_rows, say, state_of
from postmaster.errors import PartialError, PostmasterError, UsageError
from postmaster.render.output import Column, Format, moment, size, timestamp, with_room

if TYPE_CHECKING:
    from postmaster.queue.store import Copy

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Deleted and redirected messages, which can be restored for some days.",
    epilog="Example: postmaster queue trash restore 4B7Z2K5NHbz8gQ",
)

STAY = "they stay in the trash"
Which = Annotated[
    list[str] | None, typer.Argument(metavar="[ID…]", help="Queue IDs they had, or numbers in the trash.")
]
ByAction = Annotated[
    int | None, typer.Option("--action", metavar="N", help="Everything that this action put there.")
]

_COLUMNS = [
    Column("number", "NO", right=True),
    Column("queue_id", "QUEUE ID"),
    Column("deleted", "DELETED"),
    Column("size", "SIZE", right=True),
    Column("from", "SENDER"),
    Column("to", "RECIPIENTS"),
    Column("action", "ACTION", right=True),
]

ROOM = {"size": 100, "action": 90, "from": 70}


def row(copy: Copy, days: int) -> dict[str, Any]:
    message = copy.message
    return {
        "number": copy.number,
        "action": copy.action,
        "instance": message.instance,
        "queue_name": message.queue_name,
        "queue_id": message.queue_id,
        "arrival_time": moment(message.arrival_time),
        "message_size": message.message_size,
        "sender": message.sender,
        "recipients": [one.address for one in message.recipients],
        "deleted_at": moment(copy.since),
        "kept_until": moment(copy.since + days * 86400),
    }


def _table_row(copy: Copy) -> dict[str, Any]:
    message = copy.message
    first = message.recipients[0].address if message.recipients else ""
    more = len(message.recipients) - 1
    return {
        "number": copy.number,
        "queue_id": message.queue_id,
        "deleted": timestamp(moment(copy.since)),
        "size": size(message.message_size),
        "from": message.sender or "<>",
        "to": f"{first} (+{more})" if more > 0 else first,
        "action": copy.action,
    }


@app.command("list", epilog="Example: postmaster queue trash list -o jsonl")
def list_(context: typer.Context, output: Output = Format.table) -> None:
    """List what can be restored, the oldest first."""
    settings = state_of(context).settings
    with opened(settings, load_places(settings)) as store:
        copies = store.copies()
        days = settings.queue.trash_days
        if not copies and output is Format.table:
            say("the trash is empty")
        _print(copies, days, output)


@app.command(
    epilog="Examples: postmaster queue trash restore 4B7Z2K5NHbz8gQ; "
    "postmaster queue trash restore --action 12 --yes"
)
def restore(
    context: typer.Context,
    which: Which = None,
    action: ByAction = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Put messages back into the queue, under new IDs: they are delivered as they were."""
    from postmaster.postfix import postsuper
    from postmaster.queue import trash

    settings = state_of(context).settings
    places = load_places(settings)
    for place in places.values():
        postsuper.check(place.config_directory)
    with opened(settings, places) as store:
        copies = _chosen(store, which, action)
        if dry_run:
            _print(copies, settings.queue.trash_days, output)
            return
        if action is not None:
            confirm(f"Restore {len(copies)} messages?", yes=yes)
        restored: list[dict[str, Any]] = []
        failed: list[str] = []
        with bar(len(copies), "restore") as tell:
            done = list(trash.restore(store, copies, places, tell))
        for one in done:
            if isinstance(one, trash.Restored):
                old_id = one.copy.message.queue_id
                restored.append({"queue_id": old_id, "new_id": one.new_id, "outlived": one.outlived})
                if one.outlived:
                    say(f"{old_id} has outlived its time in the queue: if this attempt fails, it is returned")
            else:
                failed.append(f"{one[0].message.queue_id}: {one[1]}")
        if output is Format.table:
            shown = [f"{one['queue_id']} as {one['new_id']}" for one in restored]
            print_record(output, {"restored": shown, "failed": failed})
        else:
            print_record(output, {"restored": restored, "failed": failed})
        if failed and restored:
            raise PartialError(f"{len(failed)} of {len(copies)} were not restored", hint=STAY)
        if failed:
            raise PostmasterError(f"none was restored: {failed[0]}", hint=STAY)


@app.command(
    epilog="Examples: postmaster queue trash purge; postmaster queue trash purge --all --yes; "
    "by timer: see docs/queue.md"
)
def purge(
    context: typer.Context,
    which: Which = None,
    action: ByAction = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything, though its time is not over.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Delete copies for good: those past their grace, or the ones that are named."""
    from postmaster.queue import trash

    settings = state_of(context).settings
    with opened(settings, load_places(settings)) as store:
        if all_ and (which or action is not None):
            raise UsageError(
                "name messages or give --all, not both", hint=f"see: {context.command_path} --help"
            )
        if not all_ and not which and action is None:
            print_record(output, {"purged": trash.purge(store, settings.queue)})
            return
        copies = store.copies() if all_ else _chosen(store, which, action)
        if dry_run:
            _print(copies, settings.queue.trash_days, output)
            return
        if copies:
            confirm(f"Delete {len(copies)} messages for good?", yes=yes)
        print_record(output, {"purged": trash.discard(store, copies)})


def _print(copies: list[Copy], days: int, output: Format) -> None:
    if output is Format.table:
        print_rows(output, with_room(_COLUMNS, ROOM, sys.stdout), map(_table_row, copies))
    else:
        print_rows(output, _COLUMNS, (row(copy, days) for copy in copies))


def _chosen(store: Any, which: list[str] | None, action: int | None) -> list[Copy]:
    from postmaster.errors import NotFoundError
    from postmaster.queue import trash

    if bool(which) == (action is not None):
        raise UsageError("name messages, or an action with --action", hint="postmaster queue trash list")
    if which:
        return trash.find(store, which)
    copies = [copy for copy in store.copies() if copy.action == action]
    if not copies:
        raise NotFoundError(
            f"nothing in the trash is from action {action}", hint="postmaster queue trash list"
        )
    return copies
