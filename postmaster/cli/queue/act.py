"""`postmaster queue flush`."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.cli.queue.group import app
from postmaster.cli.queue.listing import find
from postmaster.cli.state import Output, print_record, state_of
from postmaster.errors import NotFoundError, PartialError, UsageError
from postmaster.render.output import Format


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
    found = find(context, queue_ids or [])
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
