"""`postmaster queue show`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.queue.begun import load_places
from postmaster.cli.queue.choose import InstanceOption, SourceOption
from postmaster.cli.queue.rows import row
from postmaster.cli.state import Output, print_record, say, state_of
from postmaster.errors import NotFoundError, PartialError, UsageError
from postmaster.postfix.queue import Listing
from postmaster.render.escape import printable
from postmaster.render.output import Format, as_json, duration, moment, size, timestamp

if TYPE_CHECKING:
    from postmaster.queue.attempts import Past
    from postmaster.queue.content import Details
    from postmaster.queue.message import Message
    from postmaster.queue.mime import Content, Part
    from postmaster.queue.recorded import Act

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: What people look for in a header; `--headers` shows the rest.
_HEADERS = (
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "list-id",
    "auto-submitted",
)


@app.command(
    epilog="Examples: postmaster queue show 4B7Z2K5NHbz8gQ --body; "
    "postmaster queue show 4B7Z2K5NHbz8gQ --raw > message.eml"
)
def show(
    context: typer.Context,
    queue_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Queue IDs.")],
    body: Annotated[bool, typer.Option("--body", help="Show the text as well.")] = False,
    headers: Annotated[bool, typer.Option("--headers", help="Show every header field.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the message as it is, into a pipe or file.")
    ] = False,
    escape: Annotated[
        bool, typer.Option("--escape", help="With --raw: escape what could control a terminal.")
    ] = False,
    source: SourceOption = None,
    instance: InstanceOption = None,
    output: Output = Format.table,
) -> None:
    """Show messages: envelope, recipients and reasons, header, structure, and the text on demand."""
    from postmaster.queue.read import find

    if raw and (len(set(queue_ids)) != 1 or body or headers):
        raise UsageError("--raw writes one message and nothing else", hint="postmaster queue show ID --raw")
    settings, listing = state_of(context).settings, Listing()
    where: dict[str, Any] = {"source": source and source.value, "instances": tuple(instance or ())}
    wanted = list(dict.fromkeys(queue_ids))
    by_identity = {one.identity: one for one in find(settings, listing, wanted, **where)}
    found = sorted(by_identity.values(), key=lambda one: wanted.index(one.queue_id))
    if raw and found:
        write_raw(context, found[0], escape=escape)
    elif found:
        print_messages(context, found, output, body=body, headers=headers)
    missing = [one for one in wanted if one not in {message.queue_id for message in found}]
    if not missing:
        return
    told = f"there is no message {', '.join(missing)} in the queue"
    if listing.unreadable:
        told += f"; {listing.unreadable} entries could not be read"
    if not found:
        raise NotFoundError(told, hint="it may have been delivered; postmaster queue list shows the queue")
    raise PartialError(told, hint="it may have been delivered")


def print_messages(
    context: typer.Context, found: Sequence[Message], output: Format, *, body: bool, headers: bool
) -> None:
    """One record for each message; as JSON an array where there are several."""
    from postmaster.queue.attempts import attempts
    from postmaster.queue.content import read_content, read_details
    from postmaster.queue.recorded import Record

    settings = state_of(context).settings
    pasts = attempts(found, load_places(settings), settings.log.files)
    records = []
    store = Record(settings)
    for number, message in enumerate(found):
        try:
            content = read_content(settings, message, body=body)
        except NotFoundError as error:
            say(error.message)
            content = None
        details = read_details(message)
        past = None if pasts is None else pasts[message.identity]
        acts = store.of_message(message.identity, None if past is None else past.was)
        if output is Format.table:
            if number:
                print()
            print_record(output, for_people(message, content, details, past, acts, all_headers=headers))
        else:
            records.append(record(message, content, details, past, acts))
    store.close()
    if store.problem is not None:
        say(store.problem)
    if output is Format.json and len(records) > 1:
        print(as_json(records, 2))
    else:
        for one in records:
            print_record(output, one)


def write_raw(context: typer.Context, message: Message, *, escape: bool) -> None:
    """The message byte for byte. Refuses a terminal, which it could control."""
    from postmaster.queue.content import opened

    if sys.stdout.isatty() and not escape:
        raise UsageError(
            "a message as it is could control this terminal",
            hint="write it into a file or a pipe, or add --escape",
        )
    with opened(state_of(context).settings, message) as lines:
        for line in lines:
            if escape:
                sys.stdout.write(printable(line.decode("utf-8", "surrogateescape").rstrip("\r\n")) + "\n")
            else:
                sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    if message.damage:
        raise PartialError(f"the file of {message.queue_id} is damaged: {message.damage}")


def record(
    message: Message,
    content: Content | None,
    details: Details | None,
    past: Past | None = None,
    acts: Sequence[Act] = (),
) -> dict[str, Any]:
    """All that is known, for programs. `past` comes from the log; None: there is none to read."""
    return {
        **row(message),
        "recipients_finished": None
        if details is None
        else [{"address": address, "original": original} for address, original in details.done],
        "content_filter": None if details is None else details.content_filter,
        "redirect": None if details is None else details.redirect,
        "attributes": None if details is None else details.attributes,
        "attempts": None
        if past is None
        else [
            {
                **{
                    key: getattr(one, key) for key in ("recipient", "relay", "delay", "dsn", "status", "text")
                },
                "time": moment(one.time),
            }
            for one in past.attempts
        ],
        "requeued_from": None if past is None else past.was,
        "actions": [act.as_row() for act in acts],
        "headers": None
        if content is None
        else [{"name": name, "value": value} for name, value in content.headers],
        "parts": None if content is None else [_part(one) for one in content.parts],
        "body": content and content.body,
        "body_type": content and content.body_type,
        "body_cut": None if content is None or content.body is None else content.is_body_cut,
        "notes": [] if content is None else content.notes,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "depth": part.depth,
        "type": part.type,
        "size": part.size,
        "file_name": part.file_name,
        "charset": part.charset,
        "encoding": part.encoding,
    }


def for_people(
    message: Message,
    content: Content | None,
    details: Details | None,
    past: Past | None = None,
    acts: Sequence[Act] = (),
    *,
    all_headers: bool = False,
) -> dict[str, Any]:
    """The same as lines to read; what is unknown or empty is left out."""
    now = time.time()
    client = message.client_name or message.client_address
    if client and message.client_address and client != message.client_address:
        client = f"{client} [{message.client_address}]"
    shown: dict[str, Any] = {
        "queue_id": message.queue_id,
        "instance": None if message.instance == "-" else message.instance,
        "queue": message.queue_name + (", returned at its next attempt" if message.forced_expire else ""),
        "damage": message.damage,
        "arrived": f"{_time(message.arrival_time)}, {duration(now - message.arrival_time)} ago",
        "next_retry": _coming(message.next_retry, now, "due"),
        "expires": _coming(message.expires, now, "at its next failed attempt"),
        "size": size(message.message_size),
        "sender": message.sender or "<>",
        "client": client,
        "helo": message.helo_name,
        "login": message.sasl_username,
        "requeued_from": past and past.was,
    }
    if details is not None:
        shown |= {"content_filter": details.content_filter, "redirected_to": details.redirect}
    shown["recipients"] = [
        f"todo {one.address}"
        + (f" (for {one.original})" if one.original and one.original != one.address else "")
        + (f": {one.dsn} {one.delay_reason}" if one.dsn and one.delay_reason else "")
        + (f": {one.delay_reason}" if one.delay_reason and not one.dsn else "")
        for one in message.recipients
    ]
    if details is not None:
        shown["recipients"] += [f"done {address}" for address, _ in details.done]
    shown["attempts"] = [
        f"{_time(one.time)} {one.recipient} {one.status} {one.dsn} by {one.relay}: {one.text}"
        for one in (past.attempts if past is not None else ())
    ]
    shown["actions"] = [f"{_time(act.started)} {act.text}" for act in acts]
    if content is not None:
        shown["header"] = [
            f"{name}: {value}" if name else value
            for name, value in content.headers
            if all_headers or name.lower() in _HEADERS
        ]
        shown["parts"] = list(_tree(content.parts))
        shown["note"] = content.notes
        if content.body is not None:
            cut = ["… the rest is not shown; --raw has it"] if content.is_body_cut else []
            shown["text"] = [*content.body.splitlines(), *cut] or ["(empty)"]
    return {key: value for key, value in shown.items() if value not in (None, [], "")}


def _tree(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        yield "  " * part.depth + ", ".join(
            word
            for word in (part.type, part.file_name, part.charset, part.encoding, size(part.size))
            if word is not None
        )


def _time(seconds: int) -> str:
    return timestamp(moment(seconds))


def _coming(seconds: int | None, now: float, over: str) -> str | None:
    if seconds is None:
        return None
    return f"{_time(seconds)}, " + (f"in {duration(seconds - now)}" if seconds > now else over)
