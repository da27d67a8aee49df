"""`postmaster queue show`."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.cli.queue.group import app
from postmaster.cli.queue.listing import find, row
from postmaster.cli.state import Output, print_record, state_of
from postmaster.errors import NotFoundError
from postmaster.render.output import Format

BODY_CHARACTERS = 20_000


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
    message = find(context, [queue_id]).get(queue_id)
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
