"""Sending a queued message to another address, and telling whose messages may be sent back.

Recipients in the queue cannot be edited, and Postfix keeps no way to. The supported one is taken: the content
is extracted (`postcat`), re-injected with its sender and one recipient (`sendmail -G -i -f`: no header is
rewritten), and only when Postfix has taken it in, the old one is deleted.
"""

from __future__ import annotations

import ipaddress

from postmaster.errors import ServerError
from postmaster.postfix.instances import Instance
from postmaster.postfix.postconf import split_list
from postmaster.postfix.queue import check_id
from postmaster.postfix.spool import read_envelope
from postmaster.process import run
from postmaster.queue.message import Message

TIMEOUT = 300.0  # seconds; a large message through the content filters

Networks = list[tuple[bool, ipaddress.IPv4Network | ipaddress.IPv6Network]]


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


def networks(text: str) -> Networks:
    """The networks in mynetworks, each with whether it is included. Tables and files are left out: what they
    name counts as outside, which refuses more and never less.
    """
    found: Networks = []
    for item in split_list(text):
        included = not item.startswith("!")
        plain = item.removeprefix("!").replace("[", "").replace("]", "")
        try:
            found.append((included, ipaddress.ip_network(plain, strict=False)))
        except ValueError:
            continue
    return found


def is_inside(client: str, known: Networks) -> bool:
    """Whether a client's address is in the networks; the first that has it decides."""
    try:
        address = ipaddress.ip_address(client.removeprefix("IPv6:"))
    except ValueError:
        return False
    for included, network in known:
        if address.version == network.version and address in network:
            return included
    return False
