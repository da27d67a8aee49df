"""The shapes of Postfix's log lines: from a line to its event.

`parse(program, text)` takes what stands after `TAG/PROGRAM[PID]: ` and gives one event (`events.py`),
`Unknown` for a line that no shape here fits. Nothing in a line can make it fail, and every pattern is
linear: text that a stranger chose (addresses, HELO names, replies) is matched possessively and looked for
from fixed places, so neither a quoted local part nor a HELO name can pass for a field of Postfix's own.
"""

from __future__ import annotations

import re

from postmaster.postfix.events import (
    ADDRESS,
    PEER,
    AuthFailure,
    Canceled,
    Client,
    Connect,
    Content,
    Delivery,
    Disconnect,
    Event,
    Expired,
    Fault,
    Lost,
    MessageId,
    Notice,
    Pickup,
    Policy,
    Queued,
    Remark,
    Removed,
    Screen,
    Super,
    Tls,
    Trouble,
    Unknown,
    match_envelope,
)

LINE_LIMIT = 16 << 10  # characters of a line that are looked at; postlogd itself cuts at 2,000

QUEUE_ID = r"([0-9A-Za-z]{5,32})"
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,6})?)"

#: The shapes of the commonest lines; statistics read them straight from blocks of a log.
DELIVERY = (
    rf"to=<{ADDRESS}>, (?:orig_to=<{ADDRESS}>, )?relay=([^,\n]++), (?:conn_use=(\d{{1,9}}), )?"
    rf"delay={_NUMBER}(?:, delays=([\d./-]{{1,60}}))?(?:, tls=([^,\n]*+))?"
    r"(?:, dsn=(\d\.\d{1,3}\.\d{1,3}))?, status=([A-Za-z_]{1,20})(?: \(([^\n]*+))?"
)
QUEUED = rf"from=<{ADDRESS}>, size=(\d{{1,18}}), nrcpt=(\d{{1,9}}) \(queue active\)"
CLIENT = (
    rf"client={PEER}(?:, sasl_method=([^,\n]*+))?(?:, sasl_username=([^,\n]*+))?"
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

_match_delivery = re.compile(DELIVERY, re.ASCII).fullmatch
_match_queued = re.compile(QUEUED, re.ASCII).fullmatch
_match_client = re.compile(CLIENT, re.ASCII).fullmatch
_match_pickup = re.compile(PICKUP, re.ASCII).fullmatch
_match_id = re.compile(rf"(NOQUEUE|{QUEUE_ID}): ", re.ASCII).match
_match_expired = re.compile(
    rf"from=<{ADDRESS}>, status=((?:force-)?expired), returned to sender", re.ASCII
).fullmatch
_match_policy = re.compile(rf"([a-z][a-z_-]{{2,30}}): ([A-Z][A-Z-]{{2,30}}) from {PEER}: ", re.ASCII).match
_match_opening = re.compile(rf"(?:\d{{3}} )?(?:\d\.\d{{1,3}}\.\d{{1,3}} )?<{ADDRESS}>: ", re.ASCII).match
_find_envelope = re.compile(r"; (?:from=<|to=<|proto=|helo=<)").search
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
    rf"(Anonymous|Untrusted|Trusted|Verified) TLS connection (established|reused) (from|to) {PEER}: "
    r"(\S++) with cipher (\S++)(.*+)",
    re.ASCII,
).fullmatch
_match_auth = re.compile(rf"{PEER}: SASL (\S*+) authentication failed: (.*+)", re.ASCII).fullmatch
_match_connect = re.compile(rf"connect from {PEER}", re.ASCII).fullmatch
_match_disconnect = re.compile(rf"disconnect from {PEER}(?: (.*+))?", re.ASCII).fullmatch
_match_lost = re.compile(
    r"(lost connection|timeout|too many errors|improper command pipelining) after "
    rf"([A-Z][\w-]*+(?: \([^)\n]{{1,60}}\))?) from {PEER}(?:: (.*+))?",
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
    fields = match_envelope(rest, envelope.start() + 1)
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
