"""Postfix's log lines as typed events: what a daemon said, field by field.

`parse(program, text)` takes what stands after `TAG/PROGRAM[PID]: ` and gives one event, `Unknown` for a
line that no shape here fits. `str(event)` is a line that parses into an equal event. Nothing in a line can
make it fail, and every pattern is linear: text that a stranger chose (addresses, HELO names, replies) is
matched possessively and looked for from fixed places, so neither a quoted local part nor a HELO name can
pass for a field of Postfix's own.

Source: `src/global/log_adhoc.c`, `src/smtpd/smtpd.c` (log_whatsup), `src/cleanup/cleanup_message.c`,
`src/postsuper/postsuper.c`, `src/postscreen/`; Postfix 3.5 to 3.11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

LINE_LIMIT = 16 << 10  # characters of a line that are looked at; postlogd itself cuts at 2,000

#: An address as Postfix prints it between angle brackets: a quoted local part may hold `>` and `, `.
ADDRESS = r'([^">\n]*+(?>(?:"(?>(?:[^"\\\n]++|\\.)*)"[^">\n]*+)*)|[^>\n]*+)'
QUEUE_ID = r"([0-9A-Za-z]{5,32})"
_PEER = r"([^\[\s]*+)\[([^\]\n]*+)\](?::(\d{1,5}))?"
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,6})?)"

#: The shapes of the commonest lines; statistics read them straight from blocks of a log.
DELIVERY = (
    rf"to=<{ADDRESS}>, (?:orig_to=<{ADDRESS}>, )?relay=([^,\n]++), (?:conn_use=(\d{{1,9}}), )?"
    rf"delay={_NUMBER}(?:, delays=([\d./-]{{1,60}}))?(?:, tls=([^,\n]*+))?"
    r"(?:, dsn=(\d\.\d{1,3}\.\d{1,3}))?, status=([A-Za-z_]{1,20})(?: \(([^\n]*+))?"
)
QUEUED = rf"from=<{ADDRESS}>, size=(\d{{1,18}}), nrcpt=(\d{{1,9}}) \(queue active\)"
CLIENT = (
    rf"client={_PEER}(?:, sasl_method=([^,\n]*+))?(?:, sasl_username=([^,\n]*+))?"
    rf"(?:, sasl_sender=([^,\n]*+))?(?:, orig_queue_id=([^,\n]*+))?(?:, orig_client=([^\n]*+))?"
)
PICKUP = rf"uid=(\d{{1,10}}) from=<{ADDRESS}>(?: orig_id=([0-9A-Za-z]+))?"

#: Postfix's programs that log; a tag that ends otherwise is another program's.
_NAMES = """
anvil bounce cleanup defer discard dnsblog error fingerd flush lmtp local master nqmgr oqmgr pickup pipe
postalias postcat postconf postdrop postfix-script postfix postkick postlock postlog postlogd postmap
postmulti postqueue postscreen postsuper posttls-finger proxymap qmgr qmqpd retry scache sendmail showq
smtp smtpd spawn tlsmgr tlsproxy trace trivial-rewrite verify virtual
"""
PROGRAMS = frozenset(_NAMES.split())


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
        found = _match_envelope(self.text, self._envelope() + 1)
        return found[1] if found else None

    @property
    def recipient(self) -> str | None:
        found = _match_envelope(self.text, self._envelope() + 1)
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


_match_delivery = re.compile(DELIVERY, re.ASCII).fullmatch
_match_queued = re.compile(QUEUED, re.ASCII).fullmatch
_match_client = re.compile(CLIENT, re.ASCII).fullmatch
_match_pickup = re.compile(PICKUP, re.ASCII).fullmatch
_match_id = re.compile(rf"(NOQUEUE|{QUEUE_ID}): ", re.ASCII).match
_match_expired = re.compile(
    rf"from=<{ADDRESS}>, status=((?:force-)?expired), returned to sender", re.ASCII
).fullmatch
_match_policy = re.compile(rf"([a-z][a-z_-]{{2,30}}): ([A-Z][A-Z-]{{2,30}}) from {_PEER}: ", re.ASCII).match
_match_opening = re.compile(rf"(?:\d{{3}} )?(?:\d\.\d{{1,3}}\.\d{{1,3}} )?<{ADDRESS}>: ", re.ASCII).match
_find_envelope = re.compile(r"; (?:from=<|to=<|proto=|helo=<)").search
_match_envelope = re.compile(
    rf"(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)?(?: proto=([A-Za-z]+))?", re.ASCII
).match
_match_content = re.compile(
    r"([a-z][a-z-]{2,30}): (header|body|mime-header|nested-header) (.*+)", re.ASCII
).fullmatch
_match_notice = re.compile(
    r"((?:sender|postmaster) (?:non-delivery|delivery status|delay|success) notification): "
    rf"{QUEUE_ID}",
    re.ASCII,
).fullmatch
_match_canceled = re.compile(r"canceled|removed \([a-z ]{1,40}\)").fullmatch
_match_super = re.compile(r"removed|placed on hold|released from hold|requeued|expired").fullmatch
_match_tls = re.compile(
    rf"(Anonymous|Untrusted|Trusted|Verified) TLS connection (established|reused) (from|to) {_PEER}: "
    r"(\S++) with cipher (\S++)(.*+)",
    re.ASCII,
).fullmatch
_match_auth = re.compile(rf"{_PEER}: SASL (\S*+) authentication failed: (.*+)", re.ASCII).fullmatch
_match_connect = re.compile(rf"connect from {_PEER}", re.ASCII).fullmatch
_match_disconnect = re.compile(rf"disconnect from {_PEER}(?: (.*+))?", re.ASCII).fullmatch
_match_lost = re.compile(
    r"(lost connection|timeout|too many errors|improper command pipelining) after "
    rf"([A-Z][\w-]*+(?: \([^)\n]{{1,60}}\))?) from {_PEER}(?:: (.*+))?",
    re.ASCII,
).fullmatch
_match_screen = re.compile(
    r"(CONNECT from|PASS NEW|PASS OLD|DISCONNECT|ALLOWLISTED|DENYLISTED|WHITELISTED|BLACKLISTED"
    r"|ALLOWLIST VETO|WHITELIST VETO|PREGREET \d{1,9} after \S{1,20} from|HANGUP after \S{1,20} from"
    r"|DNSBL rank -?\d{1,9} for|(?:BARE NEWLINE|NON-SMTP COMMAND"
    r"|COMMAND (?:PIPELINING|TIME LIMIT|COUNT LIMIT|LENGTH LIMIT))(?: from)?)"
    r" \[([0-9A-Fa-f:.]{1,60})\]:(\d{1,5})(.*+)",
    re.ASCII,
).fullmatch

_LEVELS = ("warning: ", "error: ", "fatal: ", "panic: ")
_TROUBLES = (
    "host ",
    "lost connection with ",
    "conversation with ",
    "connect to ",
    "enabling PIX",
    "Cannot ",
    "TLS is required",
    "server certificate",
    "breaking line",
    "mail for ",
    "lookup ",
    "re-using ",
    "certificate verification",
    "network address conversion",
    "replace: ",
    "skipped, still being delivered",
)
_REMARKS = (
    "statistics: ", "table ", "daemon started", "terminating on signal", "reload", "starting the Postfix",
    "stopping the Postfix", "refreshing the Postfix", "waiting for the Postfix", "aborting the Postfix",
    "Postfix is running", "rewriting", "SSL_accept error", "SSL_connect error", "initializing ",
    "setting up TLS", "input attribute", "using backwards-compatible", "the Postfix mail system is",
    "close database", "cache ", "scheduling", "scanned ", "maximal", "Deleted: ", "Requeued: ",
    "Placed on hold: ", "Released from hold: ", "Force-expired: ", "Renamed to match inode number: ",
    "name_mask", "SMTPUTF8", "trigger", "Postfix set-gid", "fetching", "discarding EHLO keywords",
)  # fmt: skip


def parse(program: str, text: str) -> Event:
    """The event in a line of a Postfix program's (`smtpd`, `qmgr`, …); `text` is what follows `[PID]: `."""
    if len(text) > LINE_LIMIT:
        text = text[:LINE_LIMIT]
    found = None if text.startswith(_LEVELS) else _match_id(text)
    event = _of_message(program, found[2], text[found.end() :]) if found else None
    return event or _of_daemon(program, text) or Unknown(text)


def _of_message(program: str, queue_id: str | None, rest: str) -> Event | None:
    """Lines that begin with a queue ID (None: NOQUEUE). Asked in the order of how often they come."""
    if queue_id is None:
        return _policy(None, rest) or _lost_or_tls(None, rest)
    if rest.startswith("to=<"):
        return _delivery(queue_id, rest)
    if rest.startswith("from=<"):
        if found := _match_queued(rest):
            return Queued(queue_id, found[1], int(found[2]), int(found[3]))
        if found := _match_expired(rest):
            return Expired(queue_id, found[1], found[2])
        return None
    if rest.startswith("client="):
        found = _match_client(rest)
        return Client(queue_id, *found.groups()) if found else None
    if rest.startswith("message-id="):
        return MessageId(queue_id, rest[11:])
    if rest.startswith("resent-message-id="):
        return MessageId(queue_id, rest[18:], True)
    if program == "postsuper":
        return Super(queue_id, rest) if _match_super(rest) else None
    if rest == "removed":
        return Removed(queue_id)
    if rest.startswith("uid="):
        found = _match_pickup(rest)
        return Pickup(queue_id, int(found[1]), found[2], found[3]) if found else None
    if _match_canceled(rest):
        return Canceled(queue_id, rest)
    if found := _match_notice(rest):
        return Notice(queue_id, found[1], found[2])
    if found := _match_content(rest):
        return Content(queue_id, *found.groups())
    if event := _policy(queue_id, rest) or _lost_or_tls(queue_id, rest):
        return event
    return Trouble(queue_id, rest) if rest.startswith(_TROUBLES) else None


def _of_daemon(program: str, text: str) -> Event | None:
    """Lines of a session or of the daemon itself."""
    if text.startswith(_LEVELS):
        level, _, rest = text.partition(": ")
        if level == "warning" and (found := _match_auth(rest)):
            name, address, port, mechanism, said = found.groups()
            reason, named, username = said.rpartition(", sasl_username=")
            if named:
                return AuthFailure(name, address, port, mechanism, reason, username)
            return AuthFailure(name, address, port, mechanism, said)
        return Fault(level, rest)
    if found := _match_connect(text):
        return Connect(*found.groups())
    if found := _match_disconnect(text):
        return Disconnect(found[1], found[2], found[3], found[4] or "")
    if event := _lost_or_tls(None, text):
        return event
    if program in ("postscreen", "dnsblog") and (found := _match_screen(text)):
        return Screen(*found.groups())
    if text.startswith(_REMARKS) or program in ("postfix-script", "master", "postlog", "anvil", "scache"):
        return Remark(text)
    return Trouble(None, text) if text.startswith(_TROUBLES) else None


def _delivery(queue_id: str, rest: str) -> Delivery | None:
    found = _match_delivery(rest)
    if found is None:
        return None
    recipient, orig, relay, conn_use, delay, stages, tls, dsn, status, text = found.groups()
    try:
        delays = tuple(map(float, stages.split("/"))) if stages else ()
    except ValueError:
        return None
    cut = text is not None and not text.endswith(")")
    return Delivery(
        queue_id,
        recipient,
        orig,
        relay,
        int(conn_use) if conn_use else None,
        float(delay),
        delays,
        tls,
        dsn,
        status,
        text if text is None or cut else text[:-1],
        cut,
    )


def _policy(queue_id: str | None, rest: str) -> Policy | None:
    found = _match_policy(rest)
    if found is None:
        return None
    action, stage, name, address, port = found.groups()
    begins = found.end()
    opening = _match_opening(rest, begins)  # the address a stranger chose stands here: it is stepped over
    envelope = _find_envelope(rest, opening.end() if opening else begins)
    if envelope is None:
        return Policy(queue_id, action, stage, name, address, port, rest[begins:])
    fields = _match_envelope(rest, envelope.start() + 1)
    assert fields is not None  # each of its parts may be missing
    helo, more = None, rest[fields.end() :]
    if more.startswith(" helo=<"):
        ends = len(more) - 1 if more.endswith(">") else more.rfind("> sasl_")
        if ends > 0:
            helo, more = more[7:ends], more[ends + 1 :]
    sender, recipient, protocol = fields.groups()
    text = rest[begins : envelope.start()]
    return Policy(queue_id, action, stage, name, address, port, text, sender, recipient, protocol, helo, more)


def _lost_or_tls(queue_id: str | None, rest: str) -> Event | None:
    if found := _match_tls(rest):
        return Tls(queue_id, *found.groups())
    if found := _match_lost(rest):
        return Lost(queue_id, *found.groups())
    return None


def peer(text: str) -> tuple[str, str] | None:
    """(name, address) of a `NAME[ADDRESS]` or `NAME[ADDRESS]:PORT`, None for anything else."""
    found = _match_peer(text)
    return (found[1], found[2]) if found else None


def reason(text: str) -> str:
    """A reason with what differs from message to message taken out, so that the same reasons are equal.

    Addresses, numbers longer than a reply code, queue IDs and the name of the host that spoke go.
    """
    return _reason(_BRACKETED.sub("<…>", text[:400]))


@lru_cache(maxsize=4096)
def _reason(text: str) -> str:
    said = _match_said(text)
    if said is not None:
        text = said[1]
    text = _in_reply.sub("", text)
    for pattern in _VARYING:
        text = pattern.sub("…", text)
    return " ".join(text.split())[:160]


_BRACKETED = re.compile(r"<[^<>]{0,320}>")
_match_peer = re.compile(rf"{_PEER}(?:\n)?", re.ASCII).fullmatch
_match_said = re.compile(
    r"(?:host \S+ (?:said|refused to talk to me): |delivery temporarily suspended: )(.*+)"
).fullmatch
_in_reply = re.compile(r" \(in reply to [A-Z a-z]{1,40} command\)?$")
_VARYING = (
    re.compile(r"\S{1,255}\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?"),
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
    re.compile(r"\b[^\s@<>()\[\]]{1,64}@[^\s@<>()\[\];,:]{1,255}"),
    re.compile(r"\b(?=\w{0,40}\d)[0-9A-Za-z_-]{10,}\b|\b\d{4,}\b"),
)


def effect(action: str) -> str:
    """An action of a restriction without who asked for it."""
    return action.removeprefix("milter-").removeprefix("proxy-")


def _peer(name: str, address: str, port: str | None) -> str:
    return f"{name}[{address}]:{port}" if port is not None else f"{name}[{address}]"


def decimal(value: float) -> str:
    """A delay as Postfix prints it: no zeros at the end."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
