"""`postmaster queue`: list, show, flush."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.state import Output, print_record, print_rows, say, state_of
from postmaster.errors import NotFoundError, PartialError, UsageError
from postmaster.postfix.queue import Listing
from postmaster.render.output import Column, Format, size, timestamp

if TYPE_CHECKING:
    from postmaster.queue.message import Message

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Messages waiting in Postfix's queue.",
    epilog="Example: postmaster queue list",
)

SCREEN_LIMIT = 50  # messages shown on a terminal unless told otherwise
BODY_CHARACTERS = 20_000
REASON_CHARACTERS = 100  # of a reason in the table

_COLUMNS = [
    Column("queue_id", "QUEUE ID"),
    Column("queue_name", "QUEUE"),
    Column("arrived", "ARRIVED"),
    Column("size", "SIZE", right=True),
    Column("from", "SENDER"),
    Column("to", "RECIPIENTS"),
    Column("reason", "REASON"),
]


def row(message: Message) -> dict[str, Any]:
    return {
        "queue_name": message.queue_name,
        "queue_id": message.queue_id,
        "arrival_time": message.arrival_time,
        "message_size": message.message_size,
        "forced_expire": message.forced_expire,
        "sender": message.sender,
        "recipients": [
            {"address": recipient.address, "delay_reason": recipient.delay_reason}
            for recipient in message.recipients
        ],
    }


def _table_row(message: Message) -> dict[str, Any]:
    first = message.recipients[0].address if message.recipients else ""
    more = len(message.recipients) - 1
    reason = next((r.delay_reason for r in message.recipients if r.delay_reason), None) or ""
    return {
        "queue_id": message.queue_id,
        "queue_name": message.queue_name,
        "arrived": timestamp(message.arrival_time),
        "size": size(message.message_size),
        "from": message.sender or "<>",
        "to": f"{first} (+{more})" if more > 0 else first,
        "reason": reason if len(reason) <= REASON_CHARACTERS else reason[: REASON_CHARACTERS - 1] + "…",
    }


@app.command("list", epilog="Examples: postmaster queue list; postmaster queue list -o jsonl")
def list_(
    context: typer.Context,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="At most so many; 0 for all. On a terminal 50.")
    ] = None,
    output: Output = Format.table,
) -> None:
    """List the messages in the queue, as they come."""
    from itertools import islice

    from postmaster.queue.message import read

    settings = state_of(context).settings
    most = (
        limit if limit is not None else SCREEN_LIMIT if output is Format.table and sys.stdout.isatty() else 0
    )
    listing, more = Listing(), 0

    def wanted() -> Iterator[Message]:
        nonlocal more
        messages = read(settings.postfix, listing)
        yield from islice(messages, most) if most else messages
        more = sum(1 for _ in messages)

    print_rows(output, _COLUMNS, map(_table_row if output is Format.table else row, wanted()))
    if more:
        say(f"{more} more; --limit 0 shows all")
    if listing.unreadable:
        raise PartialError(
            f"{listing.unreadable} entries of the queue could not be read", hint="run it again"
        )


@app.command(epilog="Example: postmaster queue show 4B7Z2K5NHbz8gQ --body")
def show(
    context: typer.Context,
    queue_id: Annotated[str, typer.Argument(metavar="ID", help="Queue ID.")],
    body: Annotated[bool, typer.Option("--body", help="Show the body as well.")] = False,
    output: Output = Format.table,
) -> None:
    """Show one message: envelope, reasons, headers, and the body on demand."""
    from postmaster.postfix import queue as postfix_queue

    settings = state_of(context).settings
    message = _find(context, [queue_id]).get(queue_id)
    if message is None:
        raise NotFoundError(f"there is no message {queue_id} in the queue", hint="it may have been delivered")
    directory = settings.postfix.config_directory
    shown = row(message)
    if output is Format.table:
        shown["recipients"] = [
            f"{r.address}: {r.delay_reason}" if r.delay_reason else r.address for r in message.recipients
        ]
    shown["headers"] = postfix_queue.headers(directory, queue_id).splitlines()
    if body:
        text, cut = postfix_queue.body(directory, queue_id, BODY_CHARACTERS)
        shown["body"] = text.splitlines() if output is Format.table else text
        shown["body_cut"] = cut
    print_record(output, shown)


@app.command(epilog="Examples: postmaster queue flush 4B7Z2K5NHbz8gQ; postmaster queue flush --all")
def flush(
    context: typer.Context,
    queue_ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Queue IDs.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every deferred message.")] = False,
    output: Output = Format.table,
) -> None:
    """Try to deliver now. This only triggers an attempt; look at the queue again to see what became of it."""
    from postmaster.postfix import queue as postfix_queue

    if bool(queue_ids) == all_:
        raise UsageError("name queue IDs, or --all", hint="postmaster queue flush --help")
    directory = state_of(context).settings.postfix.config_directory
    found = _find(context, queue_ids or [])
    if all_:
        triggered = [m.queue_id for m in found.values() if m.queue_name == "deferred"]
        if triggered:
            postfix_queue.flush(directory)
        left: dict[str, str] = {}
    else:
        left = {
            queue_id: "not in the queue" if queue_id not in found else f"in {found[queue_id].queue_name}"
            for queue_id in dict.fromkeys(queue_ids or [])
            if queue_id not in found or found[queue_id].queue_name not in ("deferred", "incoming")
        }
        triggered = [queue_id for queue_id in dict.fromkeys(queue_ids or []) if queue_id not in left]
        postfix_queue.flush_messages(directory, triggered)
    print_record(output, {"triggered": triggered, "left": [f"{key}: {why}" for key, why in left.items()]})
    if left and triggered:
        raise PartialError(f"{len(left)} of {len(left) + len(triggered)} were not tried")
    if left:
        raise NotFoundError("none of these can be tried now", hint="postmaster queue list shows the queue")


def _find(context: typer.Context, queue_ids: list[str]) -> dict[str, Message]:
    """The messages with these IDs, or all of them without any."""
    from postmaster.queue.message import read

    wanted = set(queue_ids)
    messages = read(state_of(context).settings.postfix, Listing())
    return {m.queue_id: m for m in messages if not wanted or m.queue_id in wanted}
