"""Sending a queued message to another address.

Recipients in the queue cannot be edited, and Postfix keeps no way to. The supported one is taken: the content
is extracted (`postcat`), re-injected with its sender and one recipient (`sendmail -G -i -f`: no header is
rewritten), and only when Postfix has taken it in, the old one is deleted.
"""

from __future__ import annotations

from postmaster.errors import ServerError
from postmaster.postfix.instances import Instance
from postmaster.postfix.queue import check_id
from postmaster.postfix.queue_file import read_envelope
from postmaster.process import run
from postmaster.queue.message import Message

TIMEOUT = 300.0  # seconds; a large message through the content filters


def resend(place: Instance, message: Message, descriptor: int, address: str) -> None:
    """Inject a held message anew, for this one recipient. Raises ProcessError, NotFoundError, ServerError.

    The sender is read in the open file, as UTF-8 whatever Postfix prints. A `?` may stand for a byte that is
    no text: rather than alter a sender, such a message is left alone.
    """
    sender = read_envelope(descriptor, recipients=False, attributes=False).sender
    if sender is None or "?" in sender:
        raise ServerError(f"its sender {sender or ''} may not be all text, so it cannot be sent anew")
    check_id(message.queue_id)
    directory = str(place.config_directory)
    content = run(["postcat", "-c", directory, "-bhq", message.queue_id], timeout=TIMEOUT).stdout
    run(
        ["sendmail", "-C", directory, "-G", "-i", "-f", sender, "--", address],
        stdin=content.encode("utf-8", "surrogateescape"),
        timeout=TIMEOUT,
        whole=True,  # half a message would be delivered as if it were all
        hint="Postfix did not take it; the message stays where it is",
    )
