"""What Postfix's log lines say, as typed events, field by field.

`str(event)` is the line's text after `TAG/PROGRAM[PID]: `, and parses into an equal event (`shapes.py`).
Source: `src/global/log_adhoc.c`, `src/smtpd/smtpd.c` (log_whatsup), `src/cleanup/cleanup_message.c`,
`src/postsuper/postsuper.c`, `src/postscreen/`; Postfix 3.5 to 3.11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: An address as Postfix prints it between angle brackets: a quoted local part may hold `>` and `, `.
ADDRESS = r'([^">\n]*+(?>(?:"(?>(?:[^"\\\n]++|\\.)*)"[^">\n]*+)*)|[^>\n]*+)'
#: A host: name, address and, with `smtpd_client_port_logging`, port.
PEER = r"([^\[\s]*+)\[([^\]\n]*+)\](?::(\d{1,5}))?"
_match_peer = re.compile(rf"{PEER}(?:\n)?", re.ASCII).fullmatch
#: The envelope as a line of a restriction or of a header check ends: sender, recipient, protocol.
match_envelope = re.compile(
    rf"(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)?(?: proto=([A-Za-z]+))?", re.ASCII
).match


class Event:
    """What one line says. Each kind below is frozen and prints as the line it came from."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """A line of Postfix's that has none of the shapes here."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Remark(Event):
    """A line about the daemons themselves, of no message: started, reloaded, statistics."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """A complaint: `level` is warning, error, fatal or panic."""

    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}"


@dataclass(frozen=True, slots=True)
class AuthFailure(Event):
    """A password that was refused by smtpd. `username` where Postfix is new enough to say it."""

    name: str
    address: str
    port: str | None
    mechanism: str
    reason: str
    username: str | None = None

    def __str__(self) -> str:
        tail = f", sasl_username={self.username}" if self.username is not None else ""
        peer = _peer(self.name, self.address, self.port)
        return f"warning: {peer}: SASL {self.mechanism} authentication failed: {self.reason}{tail}"


@dataclass(frozen=True, slots=True)
class Connect(Event):
    name: str
    address: str
    port: str | None = None

    def __str__(self) -> str:
        return f"connect from {_peer(self.name, self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Disconnect(Event):
    """The end of a session; `commands` is Postfix's own count: `ehlo=1 mail=1 rcpt=0/1 commands=3/4`."""

    name: str
    address: str
    port: str | None
    commands: str

    def __str__(self) -> str:
        tail = f" {self.commands}" if self.commands else ""
        return f"disconnect from {_peer(self.name, self.address, self.port)}{tail}"


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A session that broke: `what` after `command`; since 3.10 with the message under way."""

    queue_id: str | None
    what: str
    command: str
    name: str
    address: str
    port: str | None
    detail: str | None = None

    def __str__(self) -> str:
        head = f"{self.queue_id}: " if self.queue_id else ""
        tail = f": {self.detail}" if self.detail is not None else ""
        peer = _peer(self.name, self.address, self.port)
        return f"{head}{self.what} after {self.command} from {peer}{tail}"


@dataclass(frozen=True, slots=True)
class Tls(Event):
    """A TLS session: `trust` Anonymous, Untrusted, Trusted or Verified; `direction` from or to."""

    queue_id: str | None
    trust: str
    how: str
    direction: str
    name: str
    address: str
    port: str | None
    protocol: str
    cipher: str
    detail: str

    def __str__(self) -> str:
        head = f"{self.queue_id}: " if self.queue_id else ""
        peer = _peer(self.name, self.address, self.port)
        return (
            f"{head}{self.trust} TLS connection {self.how} {self.direction} {peer}: "
            f"{self.protocol} with cipher {self.cipher}{self.detail}"
        )


@dataclass(frozen=True, slots=True)
class Client(Event):
    """smtpd begins a message. `orig_queue_id` and `orig_client` come from a content filter's XFORWARD."""

    queue_id: str
    name: str
    address: str
    port: str | None = None
    sasl_method: str | None = None
    sasl_username: str | None = None
    sasl_sender: str | None = None
    orig_queue_id: str | None = None
    orig_client: str | None = None

    def __str__(self) -> str:
        more = "".join(
            f", {name}={value}"
            for name, value in (
                ("sasl_method", self.sasl_method),
                ("sasl_username", self.sasl_username),
                ("sasl_sender", self.sasl_sender),
                ("orig_queue_id", self.orig_queue_id),
                ("orig_client", self.orig_client),
            )
            if value is not None
        )
        return f"{self.queue_id}: client={_peer(self.name, self.address, self.port)}{more}"


@dataclass(frozen=True, slots=True)
class Pickup(Event):
    """A message from the maildrop queue: sent on this host by `uid`, or requeued (`orig_id`)."""

    queue_id: str
    uid: int
    sender: str
    orig_id: str | None = None

    def __str__(self) -> str:
        tail = f" orig_id={self.orig_id}" if self.orig_id else ""
        return f"{self.queue_id}: uid={self.uid} from=<{self.sender}>{tail}"


@dataclass(frozen=True, slots=True)
class MessageId(Event):
    """The Message-ID as the header has it: may be empty, unbracketed or junk."""

    queue_id: str
    message_id: str
    resent: bool = False

    def __str__(self) -> str:
        return f"{self.queue_id}: {'resent-' * self.resent}message-id={self.message_id}"


@dataclass(frozen=True, slots=True)
class Queued(Event):
    """The queue manager takes a message up; again at each attempt. `size` in bytes."""

    queue_id: str
    sender: str
    size: int
    recipients: int

    def __str__(self) -> str:
        return (
            f"{self.queue_id}: from=<{self.sender}>, size={self.size}, nrcpt={self.recipients} (queue active)"
        )


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """Too old; goes back to the sender. `status` is expired or force-expired."""

    queue_id: str
    sender: str
    status: str

    def __str__(self) -> str:
        return f"{self.queue_id}: from=<{self.sender}>, status={self.status}, returned to sender"


@dataclass(frozen=True, slots=True)
class Delivery(Event):
    """One attempt for one recipient, by any delivery agent.

    `delays` are seconds before the queue manager, in the queue, to connect, to transmit. `status` is sent,
    deferred, bounced, SOFTBOUNCE, deliverable or undeliverable; `text` what stands in the brackets; `cut`
    when the line ended before the closing one.
    """

    queue_id: str
    recipient: str
    orig_recipient: str | None
    relay: str
    conn_use: int | None
    delay: float
    delays: tuple[float, ...]
    tls: str | None
    dsn: str | None
    status: str
    text: str | None
    cut: bool = False

    def __str__(self) -> str:
        parts = [f"{self.queue_id}: to=<{self.recipient}>"]
        if self.orig_recipient is not None:
            parts.append(f"orig_to=<{self.orig_recipient}>")
        parts.append(f"relay={self.relay}")
        if self.conn_use is not None:
            parts.append(f"conn_use={self.conn_use}")
        parts.append(f"delay={decimal(self.delay)}")
        if self.delays:
            parts.append("delays=" + "/".join(map(decimal, self.delays)))
        if self.tls is not None:
            parts.append(f"tls={self.tls}")
        if self.dsn is not None:
            parts.append(f"dsn={self.dsn}")
        tail = "" if self.text is None else f" ({self.text}{'' if self.cut else ')'}"
        return ", ".join([*parts, f"status={self.status}{tail}"])


@dataclass(frozen=True, slots=True)
class Policy(Event):
    """A restriction, milter or proxy filter that acted: `action` reject, reject_warning, hold, discard, …

    `queue_id` is None for NOQUEUE. `stage` is the SMTP command, or CONNECT, END-OF-MESSAGE.
    """

    queue_id: str | None
    action: str
    stage: str
    name: str
    address: str
    port: str | None
    text: str
    sender: str | None = None
    recipient: str | None = None
    protocol: str | None = None
    helo: str | None = None
    more: str = ""

    @property
    def effect(self) -> str:
        """The action, whoever asked for it: a milter's and a proxy's reject is a reject."""
        return effect(self.action)

    def __str__(self) -> str:
        peer = _peer(self.name, self.address, self.port)
        head = f"{self.queue_id or 'NOQUEUE'}: {self.action}: {self.stage} from {peer}: {self.text}"
        fields = [
            f" from=<{self.sender}>" if self.sender is not None else "",
            f" to=<{self.recipient}>" if self.recipient is not None else "",
            f" proto={self.protocol}" if self.protocol is not None else "",
            f" helo=<{self.helo}>" if self.helo is not None else "",
        ]
        tail = "".join(fields) + self.more
        return f"{head};{tail}" if tail else head


@dataclass(frozen=True, slots=True)
class Content(Event):
    """A header or body check of cleanup's that matched; `text` is the line of the mail and what followed."""

    queue_id: str
    action: str
    part: str
    text: str

    @property
    def effect(self) -> str:
        return effect(self.action)

    @property
    def matched(self) -> str:
        """The line of the mail."""
        return self.text[: self._envelope()].rpartition(" from ")[0] or self.text

    @property
    def given(self) -> str:
        """What the rule said; empty where it said nothing."""
        _, envelope, given = self.text[self._envelope() :].rpartition(">: ")
        return given if envelope else ""

    @property
    def sender(self) -> str | None:
        found = match_envelope(self.text, self._envelope() + 1)
        return found[1] if found else None

    @property
    def recipient(self) -> str | None:
        found = match_envelope(self.text, self._envelope() + 1)
        return found[2] if found else None

    def _envelope(self) -> int:
        """Where the envelope begins: the last place, as the mail's own line stands before it."""
        at = self.text.rfind("; from=<")
        return at if at >= 0 else len(self.text)

    def __str__(self) -> str:
        return f"{self.queue_id}: {self.action}: {self.part} {self.text}"


@dataclass(frozen=True, slots=True)
class Canceled(Event):
    """cleanup dropped a message instead of queueing it (3.10 and later).

    `how` is `canceled`, `removed (canceled)` or `removed (discarded)`.
    """

    queue_id: str
    how: str

    def __str__(self) -> str:
        return f"{self.queue_id}: {self.how}"


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """A bounce, delay or success report that was sent as the message `new_id`."""

    queue_id: str
    kind: str
    new_id: str

    def __str__(self) -> str:
        return f"{self.queue_id}: {self.kind}: {self.new_id}"


@dataclass(frozen=True, slots=True)
class Removed(Event):
    """The message has left the queue; with this a short queue ID's life ends."""

    queue_id: str

    def __str__(self) -> str:
        return f"{self.queue_id}: removed"


@dataclass(frozen=True, slots=True)
class Super(Event):
    """postsuper acted: removed, placed on hold, released from hold, requeued, expired."""

    queue_id: str
    action: str

    def __str__(self) -> str:
        return f"{self.queue_id}: {self.action}"


@dataclass(frozen=True, slots=True)
class Trouble(Event):
    """A delivery agent's note about a server, which may belong to a message: `host … said: …`."""

    queue_id: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.queue_id}: {self.text}" if self.queue_id else self.text


@dataclass(frozen=True, slots=True)
class Screen(Event):
    """postscreen: CONNECT, PASS NEW, PASS OLD, PREGREET, HANGUP, DNSBL, DISCONNECT, …"""

    what: str
    address: str
    port: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} [{self.address}]:{self.port}{self.detail}"


def peer(text: str) -> tuple[str, str] | None:
    """(name, address) of a `NAME[ADDRESS]` or `NAME[ADDRESS]:PORT`, None for anything else."""
    found = _match_peer(text)
    return (found[1], found[2]) if found else None


def effect(action: str) -> str:
    """An action of a restriction without who asked for it."""
    return action.removeprefix("milter-").removeprefix("proxy-")


def _peer(name: str, address: str, port: str | None) -> str:
    return f"{name}[{address}]:{port}" if port is not None else f"{name}[{address}]"


def decimal(value: float) -> str:
    """A delay as Postfix prints it: no zeros at the end."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
