"""What became of one message: the steps of its way and the outcome for each recipient, from its story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.queue.recorded import Act
from postmaster.trace.join import Story, recipients_of, session_of
from postmaster.trace.lines import Line
from postmaster.trace.lives import Life

#: The four parts of a delay, as keys and in words.
STAGES = {
    "before_queue_manager": "before the queue manager",
    "in_queue": "in the queue",
    "connecting": "to connect",
    "transmitting": "to transmit",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `kind` is a word that programs can rely on, `text` is for people."""

    time: float
    kind: str
    queue_id: str | None
    text: str
    recipient: str | None = None


@dataclass(slots=True)
class Outcome:
    """How it stands for one recipient.

    `status` is sent, deferred, bounced, expired, deleted, redirected, held, queued, discarded, rejected or
    unknown. `delay` is in seconds from arrival; `stages` are its four parts.
    """

    recipient: str | None
    status: str
    time: float
    queue_id: str | None = None
    orig_recipient: str | None = None
    attempts: int = 0
    relay: str | None = None
    dsn: str | None = None
    text: str | None = None
    delay: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    mailbox: str | None = None
    sent_on: list[str] = field(default_factory=list)  # by Sieve, or by `queue redirect`


@dataclass(slots=True)
class History:
    """A message's way. `is_whole`: the log has its beginning. `acts`: what the queue's record has of it."""

    story: Story
    sender: str | None
    message_id: str | None
    size: int | None
    client: str | None
    login: str | None
    tls: str | None
    begin: float
    end: float
    is_whole: bool
    is_over: bool
    steps: list[Step]
    outcomes: list[Outcome]
    told: float | None = None  # when a notice that it failed reached the sender
    postmaster_told: float | None = None  # the same for the postmaster
    notice_failed: str | None = None  # why the sender's notice did not arrive
    notice_waits: str | None = None  # why it is still on its way
    acts: list[Act] = field(default_factory=list)
    restored_from: str | None = None  # the queue ID under which it was deleted before

    @property
    def queue_ids(self) -> list[str]:
        return [life.queue_id for life in self.story.lives]


def history(story: Story, live: Mapping[str, Mapping[str, Any]] | None = None) -> History:
    """The history of a story. `live` has the queue's entries by ID; None when it was not asked."""
    if story.refusal is not None:
        return _refused(story, story.refusal)
    notices = {id(child): _notice_kind(parent, child) for kind, parent, child in story.edges
               if kind == "notice"}  # fmt: skip
    # What WHAT named may be a notice alone: then it is the message.
    own = [life for life in story.lives if id(life) not in notices] or story.lives
    first, events = own[0], [line.event for life in own for line in life.lines]
    client = next((one for one in events if isinstance(one, postfix.Client)), None)
    queued = next((one for one in events if isinstance(one, postfix.Queued)), None)
    senders = [name for life in own for name in life.senders]
    ids = [name for life in own for name in life.message_ids]
    tls = next(
        (
            one.event
            for one in story.beside
            if isinstance(one.event, postfix.Tls) and one.event.direction == "from"
        ),
        None,
    )
    if not senders and live is not None and first.queue_id in live and not first.is_over:
        senders = [live[first.queue_id]["sender"]]
    outcomes = [one for life in own for one in _outcomes(story, life, live)]
    lines = story.lines
    found = History(
        story=story,
        sender=senders[0] if senders else None,
        message_id=ids[0] if ids else None,
        size=queued.size if queued else None,
        client=f"{client.name}[{client.address}]" if client else None,
        login=client.sasl_username if client else None,
        tls=f"{tls.protocol} {tls.cipher}" if tls else None,
        begin=lines[0].time,
        end=lines[-1].time,
        is_whole=first.is_whole,
        is_over=all(life.is_over or is_requeued(life) for life in story.lives),
        steps=[step for line in lines if (step := _step(line)) is not None],
        outcomes=outcomes,
    )
    for life in story.lives:
        kind = notices.get(id(life), "")
        if life in own or "non-delivery" not in kind:
            continue
        for outcome in _outcomes(story, life, live):
            is_sent = outcome.status == "sent"
            if kind.startswith("postmaster"):
                found.postmaster_told = outcome.time if is_sent else found.postmaster_told
            elif is_sent:
                found.told = outcome.time
            elif outcome.status in WAITING:
                found.notice_waits = outcome.text or outcome.status
            else:
                found.notice_failed = outcome.text or outcome.status
    return found


WAITING = ("deferred", "queued", "held", "unknown")


def _notice_kind(parent: Life, child: Life) -> str:
    """`sender non-delivery notification`, `postmaster …`, `sender delay …`."""
    for line in parent.lines:
        if isinstance(line.event, postfix.Notice) and line.event.new_id == child.queue_id:
            return line.event.kind
    return ""


def _refused(story: Story, line: Line) -> History:
    event = line.event
    assert isinstance(event, postfix.Policy)
    status = "rejected" if event.effect == "reject" else "unknown"
    return History(
        story=story,
        sender=event.sender,
        message_id=None,
        size=None,
        client=f"{event.name}[{event.address}]",
        login=None,
        tls=None,
        begin=line.time,
        end=line.time,
        is_whole=True,
        is_over=True,
        steps=[Step(line.time, status, None, _policy_text(event), event.recipient)],
        outcomes=[Outcome(event.recipient, status, line.time, text=event.text)],
    )


def _outcomes(story: Story, life: Life, live: Mapping[str, Mapping[str, Any]] | None) -> list[Outcome]:
    """How one life of a message stands for each of its recipients that no other life goes on with."""
    found: dict[str, Outcome] = {}
    children = [
        (kind, child)
        for kind, parent, child in story.edges
        if parent is life and kind in ("forwarded", "filtered")
    ]
    goes_on = {child.queue_id for _, child in children}
    given_back = {name for kind, child in children if kind == "filtered" for name in recipients_of(child)}
    piped: set[str] = set()  # recipients whom pipe(8) was given the mail for
    is_held, ended, last = False, "", life.lines[-1].time
    rule: Line | None = None  # the last that refused, held or discarded
    for line in life.lines:
        match line.event:
            case postfix.Delivery() as event if event.status not in ("deliverable", "undeliverable"):
                key = event.recipient.lower()
                known = found.get(key)
                outcome = _of_delivery(story, line, event)
                outcome.attempts = (known.attempts if known else 0) + 1
                found[key] = outcome
                if line.program == "pipe" and event.status == "sent":
                    piped.add(key)
            case postfix.Expired():
                ended = "expired"
            case postfix.Super(action=action):
                if action == "removed":
                    ended = "deleted"
                is_held = action == "placed on hold" or (is_held and action == "expired")
            case postfix.Policy(effect=effect) | postfix.Content(effect=effect):
                is_held |= effect == "hold"
                if effect == "discard":
                    ended = "discarded"
                if effect in ("reject", "hold", "discard"):
                    rule = line
            case postfix.Queued():
                is_held = False
    if is_requeued(life) and any(kind == "requeued" and parent is life for kind, parent, _ in story.edges):
        return [one for one in found.values() if one.status in ("sent", "bounced")]
    for key in [key for key, one in found.items() if _child_of(one) in goes_on]:
        del found[key]
    for key in piped & given_back:
        del found[key]
    for outcome in found.values():
        if outcome.status == "deferred" and ended:
            outcome.status = ended
        elif outcome.status == "deferred" and is_held:
            outcome.status = "held"
    entry = None if live is None or life.has_ended else live.get(life.queue_id)
    if entry is not None:
        _add_live(found, entry, life.queue_id)
        for outcome in found.values():
            if outcome.status == "held" and outcome.text is None and rule is not None:
                outcome.text = _rule_text(rule)
    if not found and not goes_on:
        status = ended or ("held" if is_held else "")
        was_queued = any(isinstance(line.event, postfix.Queued) for line in life.lines)
        if rule is not None and not was_queued:
            said = rule.event
            assert isinstance(said, postfix.Policy | postfix.Content)
            if not status and said.effect == "reject":
                status = "rejected"
            return [Outcome(said.recipient, status or "unknown", last, life.queue_id, text=_rule_text(rule))]
        return [Outcome(None, status or "unknown", last, life.queue_id)]
    return list(found.values())


def is_requeued(life: Life) -> bool:
    """Whether it went on under another queue ID."""
    return any(
        isinstance(line.event, postfix.Super) and line.event.action == "requeued" for line in life.lines
    )


def _child_of(outcome: Outcome) -> str | None:
    import re

    found = re.search(r"(?:forwarded|queued) as ([0-9A-Za-z]{5,32})", outcome.text or "")
    return found[1] if found and outcome.status == "sent" else None


def _of_delivery(story: Story, line: Line, event: postfix.Delivery) -> Outcome:
    status = {"SOFTBOUNCE": "deferred"}.get(event.status, event.status)
    outcome = Outcome(
        recipient=event.recipient,
        status=status,
        time=line.time,
        queue_id=event.queue_id,
        orig_recipient=event.orig_recipient,
        relay=event.relay,
        dsn=event.dsn,
        text=event.text,
        delay=event.delay,
        stages=dict(zip(STAGES, event.delays, strict=False)),
    )
    session = session_of(event)
    if session is not None:
        for mail in _mails(story, session):
            if mail.action == "saved":
                outcome.mailbox = mail.what
            elif mail.action == "forwarded":
                outcome.sent_on.append(mail.what)
    elif status == "sent" and line.program in ("local", "virtual"):
        outcome.mailbox = event.text
    return outcome


def _mails(story: Story, session: str) -> Iterable[dovecot.Mail]:
    for line in story.beside:
        if isinstance(line.event, dovecot.Mail) and line.event.origin.session == session:
            yield line.event


def _add_live(found: dict[str, Outcome], entry: Mapping[str, Any], queue_id: str) -> None:
    """What the queue says now: it knows the recipients that still wait."""
    for recipient in entry["recipients"]:
        known = found.get(recipient["address"].lower())
        status = "held" if entry["queue_name"] == "hold" else "deferred" if known else "queued"
        if known is None:
            known = found[recipient["address"].lower()] = Outcome(
                recipient["address"], status, float(entry["arrival_time"]), queue_id
            )
        known.status = status
        known.text = recipient.get("delay_reason") or known.text


def _step(line: Line) -> Step | None:
    """What a line says, in words; None for lines that say nothing that another does not."""
    event, queue_id = line.event, getattr(line.event, "queue_id", None)
    kind, text, recipient = "", "", None
    match event:
        case postfix.Client():
            kind, text = "received", f"received from {event.name}[{event.address}]"
            text += f", login {event.sasl_username}" if event.sasl_username else ""
            text += f", that had it as {event.orig_queue_id}" if event.orig_queue_id else ""
        case postfix.Pickup(orig_id=None):
            kind, text = "received", f"sent on this host by user {event.uid}"
        case postfix.Pickup():
            kind, text = "requeued", f"requeued; it was {event.orig_id}"
        case postfix.Tls(direction="from"):
            kind, text = "tls", f"encrypted: {event.protocol}, {event.cipher}"
        case postfix.Queued():
            number = f"{event.recipients} recipient" + "s" * (event.recipients != 1)
            kind, text = "queued", f"taken up: {event.size} bytes, {number}"
        case postfix.Delivery():
            kind, recipient = event.status.lower().replace("softbounce", "deferred"), event.recipient
            text = _delivery_text(event)
        case postfix.Policy():
            kind, text, recipient = _policy_kind(event.effect), _policy_text(event), event.recipient
        case postfix.Content():
            kind, text = _policy_kind(event.effect), f"{event.action} by a {event.part} check: "
            text, recipient = text + _content_text(event), event.recipient
        case postfix.Notice():
            kind, text = "notice", f"{event.kind}, as {event.new_id}"
        case postfix.Expired():
            kind = "expired"
            text = "given up as told" if event.status.startswith("force") else "given up: too old"
        case postfix.Super():
            kind = {"removed": "deleted", "placed on hold": "held", "released from hold": "released",
                    "requeued": "requeued", "expired": "force-expired"}[event.action]  # fmt: skip
            text = f"{event.action} by postsuper"
        case postfix.Removed():
            kind, text = "removed", "left the queue"
        case postfix.Canceled():
            kind, text = "canceled", "dropped, not queued"
        case postfix.Lost():
            kind, text = "lost", f"{event.what} after {event.command}"
        case postfix.Trouble():
            kind, text = "trouble", event.text
        case dovecot.Mail():
            kind, recipient = event.action, event.origin.user
            text = event.text + (f" ({recipient})" if recipient else "")
        case _:
            return None
    return Step(line.time, kind, queue_id, text, recipient)


_POLICY_KINDS = {
    "reject": "rejected",
    "hold": "held",
    "discard": "discarded",
    "filter": "filtered",
    "redirect": "redirected",
}


def _policy_kind(action: str) -> str:
    return _POLICY_KINDS.get(action, "warned")


def _policy_text(event: postfix.Policy) -> str:
    return f"{event.action} at {event.stage}: {event.text}"


def _rule_text(line: Line) -> str | None:
    match line.event:
        case postfix.Policy(text=text):
            return text
        case postfix.Content() as event:
            return _content_text(event)
    return None


def _content_text(event: postfix.Content) -> str:
    return f"{event.given} ({event.matched})" if event.given else event.matched


def _delivery_text(event: postfix.Delivery) -> str:
    names = f"{event.recipient}" + (f" (for {event.orig_recipient})" if event.orig_recipient else "")
    stages = ", ".join(
        f"{value:g} s {words}" for words, value in zip(STAGES.values(), event.delays, strict=False) if value
    )
    where = f" to {event.relay}" if event.relay != "none" else ""
    how = f" after {event.delay:g} s ({stages})" if stages else f" after {event.delay:g} s"
    return f"{event.status} for {names}{where}{how}: {event.dsn or ''} {event.text or ''}".rstrip(": ")
