"""`postmaster queue`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

import typer

from postmaster.cli.lazy import lazy_group

_HERE = "postmaster.cli.queue"
COMMANDS = {
    "list": (f"{_HERE}.listing", "List the messages in the queue."),
    "show": (f"{_HERE}.show", "Show messages: envelope, reasons, header, text."),
    "summary": (f"{_HERE}.summary", "Count by destination, sender, reason and the like."),
    "watch": (f"{_HERE}.watch", "Watch the queue on a live screen."),
    "flush": (f"{_HERE}.act", "Try to deliver now, and tell what became of it."),
    "hold": (f"{_HERE}.act", "Put messages on hold."),
    "release": (f"{_HERE}.act", "Release messages from hold."),
    "requeue": (f"{_HERE}.act", "Take messages in once more: aliases are looked up again."),
    "bounce": (f"{_HERE}.act", "Return messages to their senders now."),
    "expire": (f"{_HERE}.act", "The same as bounce."),
    "delete": (f"{_HERE}.act", "Delete messages; a copy stays in the trash for some days."),
    "redirect": (f"{_HERE}.act", "Send messages to another address instead."),
    "trash": (f"{_HERE}.trash", "Deleted messages, which can be restored."),
    "history": (f"{_HERE}.history", "Who did what in the queue, and what was interrupted."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: postmaster queue list",
)


@app.callback()
def queue() -> None:
    """Messages waiting in Postfix's queue."""
