"""`postmaster queue list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.group import app
from postmaster.cli.state import Output, print_rows, say, state_of
from postmaster.errors import PartialError
from postmaster.postfix.queue import Listing
from postmaster.render.output import Column, Format, moment, size, timestamp

if TYPE_CHECKING:
    from postmaster.queue.message import Message

SCREEN_LIMIT = 50  # messages shown on a terminal unless told otherwise
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
        "arrival_time": moment(message.arrival_time),
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
        "arrived": timestamp(moment(message.arrival_time)),
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

    from postmaster.queue.read import messages as read

    settings = state_of(context).settings
    most = (
        limit if limit is not None else SCREEN_LIMIT if output is Format.table and sys.stdout.isatty() else 0
    )
    listing, more = Listing(), 0

    def wanted() -> Iterator[Message]:
        nonlocal more
        messages = read(settings, listing)
        yield from islice(messages, most) if most else messages
        more = sum(1 for _ in messages)

    print_rows(output, _COLUMNS, map(_table_row if output is Format.table else row, wanted()))
    if more:
        say(f"{more} more; --limit 0 shows all")
    if listing.unreadable:
        raise PartialError(
            f"{listing.unreadable} entries of the queue could not be read", hint="run it again"
        )


def find(context: typer.Context, queue_ids: list[str]) -> dict[str, Message]:
    """The messages with these IDs, or all of them without any."""
    from postmaster.queue.read import messages as read

    wanted = set(queue_ids)
    messages = read(state_of(context).settings, Listing())
    return {m.queue_id: m for m in messages if not wanted or m.queue_id in wanted}
