"""What the commands that read logs share: which log, which period, which messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.sharing import Command, Options, share
from postmaster.cli.state import say, state_of
from postmaster.errors import PartialError, UsageError

if TYPE_CHECKING:
    from postmaster.trace.filter import Filter
    from postmaster.trace.sources import Notes, Period, Source


class Status(StrEnum):
    sent = "sent"
    deferred = "deferred"
    bounced = "bounced"


Logs = Annotated[
    list[Path] | None,
    typer.Option("--log", metavar="FILE", help="Read this log (plain, .gz, .xz, .zst; - is standard input)."),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="From then on: today, yesterday, 2h, 3d, 2026-05-28, 2026-05-28T20:15."
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then; as --since.")]
Sender = Annotated[
    str, typer.Option("--from", metavar="PATTERN", help="Envelope sender: address, domain, or with *.")
]
Recipient = Annotated[
    str, typer.Option("--to", metavar="PATTERN", help="Recipient, before or after aliases; as --from.")
]
MessageId = Annotated[str, typer.Option(metavar="ID", help="Message-ID, with or without < >.")]
Client = Annotated[str, typer.Option(metavar="PATTERN", help="The sending host's address or name.")]
Sasl = Annotated[str, typer.Option(metavar="PATTERN", help="The login that sent it.")]
DeliveryStatus = Annotated[Status | None, typer.Option("--status", help="How an attempt ended.")]
Dsn = Annotated[str, typer.Option(metavar="CODE", help="Its code begins so: 5, 4.2, 5.1.1.")]
Relay = Annotated[str, typer.Option(metavar="PATTERN", help="The server it was given to; as --client.")]
MinDelay = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="It took at least so long.")]


def period_of(since: str | None, until: str | None) -> Period:
    """Raises UsageError."""
    from postmaster.trace.sources import Period
    from postmaster.trace.times import moment

    now = time.time()
    begin = None if since is None else moment(since, now)
    end = None if until is None else moment(until, now)
    if begin is not None and end is not None and begin >= end:
        raise UsageError("--since is not before --until")
    return Period(begin, end)


def logs_of(context: typer.Context, named: list[Path] | None) -> list[list[Source]]:
    """The logs to read. Raises NotFoundError."""
    from postmaster.trace.sources import find

    return find(state_of(context).settings, named or [])


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the options below say of the messages that are meant."""

    sender: str
    to: str
    message_id: str
    client: str
    sasl: str
    status: Status | None
    dsn: str
    relay: str
    min_delay: float

    def filter(self) -> Filter:
        from postmaster.trace.filter import Filter

        return Filter(
            *(self.sender, self.to, self.message_id, self.client, self.sasl),
            "" if self.status is None else self.status.value,
            *(self.dsn, self.relay, self.min_delay),
        )


_CONDITIONS: Options = {
    "sender": (Sender, ""),
    "to": (Recipient, ""),
    "message_id": (MessageId, ""),
    "client": (Client, ""),
    "sasl": (Sasl, ""),
    "status": (DeliveryStatus, None),
    "dsn": (Dsn, ""),
    "relay": (Relay, ""),
    "min_delay": (MinDelay, 0.0),
}


def filtering(command: Command) -> Command:
    """Give a command these options. It takes what they say as its parameter `conditions`."""
    return share(
        command,
        _CONDITIONS,
        ("conditions",),
        lambda given: {"conditions": Conditions(**given)},
        first=False,
    )


def finish(notes: Notes) -> None:
    """Say what could not be read. Raises PartialError when there is any."""
    for problem in notes.problems:
        say(problem)
    if notes.problems:
        raise PartialError("not everything could be read, so figures may be too small", hint="see above")
