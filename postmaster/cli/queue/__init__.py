"""`postmaster queue`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

from postmaster.cli.lazy import lazy_app

app = lazy_app(
    __name__,
    "Messages waiting in Postfix's queue.",
    example="postmaster queue list",
    commands={
        "list": ("listing", "List the messages in the queue."),
        "show": ("show", "Show messages: envelope, reasons, header, text."),
        "summary": ("summary", "Count by destination, sender, reason and the like."),
        "watch": ("watch", "Watch the queue on a live screen."),
        "flush": ("act", "Try to deliver now, and tell what became of it."),
        "hold": ("act", "Put messages on hold."),
        "release": ("act", "Release messages from hold."),
        "requeue": ("act", "Take messages in once more: aliases are looked up again."),
        "bounce": ("act", "Return messages to their senders now."),
        "expire": ("act", "The same as bounce."),
        "delete": ("act", "Delete messages; a copy stays in the trash for some days."),
        "redirect": ("act", "Send messages to another address instead."),
        "trash": ("trash", "Deleted messages, which can be restored."),
        "history": ("history", "Who did what in the queue, and what was interrupted."),
    },
)
