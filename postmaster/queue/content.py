"""What a message in the queue says, and what its queue file says beyond the list.

Read from the queue file where it may be read, else through `postcat`; understood by `mime.py`, to which
everything in it is hostile. Source: `postcat.c`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from postmaster.errors import NotFoundError
from postmaster.postfix import queue as postfix_queue
from postmaster.postfix import queue_file, spool
from postmaster.postfix.instances import chosen
from postmaster.queue import mime
from postmaster.queue.message import Message
from postmaster.settings import Settings


@dataclass(slots=True)
class Details:
    """What the queue file says beyond a Message. Recipients as (address, address before aliases)."""

    done: list[tuple[str, str | None]] = field(default_factory=list)
    content_filter: str | None = None
    redirect: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@contextmanager
def opened(settings: Settings, message: Message, *, only_header: bool = False) -> Iterator[Iterator[bytes]]:
    """The message as it is, in lines that end with `\\n`; parts of very long lines come without.

    Raises NotFoundError where it is gone meanwhile or may not be read.
    """
    if message.path is None:
        instance = next(iter(chosen(settings.postfix.config_directory, [message.instance])))
        with postfix_queue.content(
            instance.config_directory, message.queue_id, only_header=only_header
        ) as lines:
            yield lines
        return
    try:
        descriptor = spool.open_file(message.path)
    except OSError as error:
        raise NotFoundError(
            f"message {message.queue_id} is not in {message.queue_name} any more: {error.strerror}",
            hint="postmaster queue list shows the queue",
        ) from None
    try:
        envelope = queue_file.read_envelope(descriptor, attributes=False)
        yield queue_file.read_content(descriptor, envelope)
    finally:
        os.close(descriptor)


def read_details(message: Message) -> Details | None:
    """What its queue file says besides; None where that may not be read or is gone."""
    if message.path is None:
        return None
    try:
        with spool.opened(message.path) as descriptor:
            envelope = queue_file.read_envelope(descriptor)
    except OSError:
        return None
    return Details(
        [(address, original) for _, address, original in envelope.done],
        envelope.content_filter,
        envelope.redirect,
        envelope.attributes,
    )


def read_content(settings: Settings, message: Message, *, body: bool = False) -> mime.Content:
    """Header and structure of a message, and its text if asked for. Raises NotFoundError."""
    with opened(settings, message) as lines:
        return mime.parse(lines, body=body)


def header_reader(settings: Settings) -> Callable[[Message], Mapping[str, str]]:
    """A function from a message to its `subject`, `from` and `message-id`, decoded; absent ones are missing.

    For filters: a message that vanished has none of them.
    """

    def read(message: Message) -> dict[str, str]:
        try:
            with opened(settings, message, only_header=True) as lines:
                block = mime.header_block(lines)
        except NotFoundError:
            return {}
        found: dict[str, str] = {}
        for name, value in mime.decoded(block, {b"subject", b"from", b"message-id"}):
            found.setdefault(name.lower(), value)
        return found

    return read
