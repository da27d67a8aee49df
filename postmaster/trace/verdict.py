"""A history in one or two sentences, and what to do where something can be done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from postmaster.postfix import events as postfix
from postmaster.postfix.reasons import reason
from postmaster.queue.recorded import Act
from postmaster.shell import word
from postmaster.trace.history import History, Outcome

ORDER = (
    "rejected",
    "bounced",
    "expired",
    "deleted",
    "redirected",
    "discarded",
    "held",
    "deferred",
    "queued",
    "unknown",
    "sent",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` is one of ORDER, the worst of all recipients'; `remedy` may be empty."""

    outcome: str
    text: str
    remedy: str = ""


def verdict(found: History) -> Verdict:
    """What became of a message."""
    by_status: dict[str, list[Outcome]] = {}
    for one in found.outcomes:
        by_status.setdefault(one.status, []).append(one)
    statuses = [status for status in ORDER if status in by_status]
    worst = statuses[0] if statuses else "unknown"
    sentences = [_sentence(status, by_status[status], found) for status in reversed(statuses)]
    told = _told(found) if worst in ("bounced", "expired") else ""
    text = " ".join(sentences) if sentences else "The log does not say what became of it."
    if told:
        text += f" {told}"
    if found.restored_from is not None:
        text += f" It came out of the trash; before that it was {found.restored_from}."
    elif not found.is_whole:
        text += " Its beginning is not in these logs."
    return Verdict(worst, text, _remedy(worst, by_status.get(worst, []), found))


def _sentence(status: str, outcomes: list[Outcome], found: History) -> str:
    first = outcomes[0]
    who = _names(outcomes)
    match status:
        case "sent":
            return _sent(outcomes, found)
        case "deferred":
            return f"Still waiting for {who} after {_times(first.attempts)}: {_reason(first)}."
        case "queued":
            return f"In the queue for {who}, not tried yet."
        case "bounced":
            return f"Refused{_by(first)} for {who}: {_reason(first)}."
        case "expired":
            how = f"after {_times(first.attempts)} in {_span(found.end - found.begin)}"
            return f"Given up for {who} {how}: {_reason(first)}."
        case "deleted":
            act = _act("delete", first, found)
            if act is None:
                return f"Deleted from the queue by postsuper at {_clock(found.end)}{_for(who)}."
            begun = f"Deleted from the queue by {act.who} at {_clock(first.time)}{_for(who)}"
            return f"{begun} {act.source}.{_kept(act)}"
        case "redirected":
            act = _act("redirect", first, found)
            where = ", ".join(first.sent_on) or "another address"
            begun = f"Sent on to {where}{f' instead of {who}' if who else ''}"
            if act is None:
                return f"{begun} at {_clock(first.time)}."
            return f"{begun} by {act.who} at {_clock(first.time)} {act.source}.{_kept(act)}"
        case "held":
            act = _act("hold", first, found)
            if act is not None:
                return f"On hold{_for(who)}, by {act.who} since {_clock(act.started)} {act.source}."
            return f"On hold{_for(who)}{_because(first)}."
        case "discarded":
            return f"Discarded by a rule{_for(who)}{_because(first)}."
        case "rejected":
            return f"Refused here{_for(who)}: {_reason(first)}."
        case _:
            return "The log does not say what became of it."


def _act(verb: str, one: Outcome, found: History) -> Act | None:
    """The action that made it so, where the record has one; none that another undid."""
    done = [act for act in found.acts if act.queue_id == one.queue_id and act.is_done and act.verb != "flush"]
    if verb != "hold":
        done = [act for act in done if act.is_last]
    return done[-1] if done and done[-1].verb == verb else None


def _kept(act: Act) -> str:
    kept = act.kept
    if kept is None:
        return ""
    if kept.restored_as is not None and kept.restored is not None:
        return f" It was restored from the trash at {_clock(kept.restored)}, as {kept.restored_as}."
    return f" A copy is in the trash until {_clock(kept.until)}."


def _sent(outcomes: list[Outcome], found: History) -> str:
    if len(outcomes) > 2:
        return (
            f"Delivered to {len(outcomes)} recipients, the last at {_clock(max(o.time for o in outcomes))}."
        )
    texts = []
    for one in outcomes:
        # Under a later queue ID Postfix counts from when that began.
        is_first = one.queue_id == found.queue_ids[0] or one.delay is None
        delay = one.delay if is_first else round(max(one.time - found.begin, 0.0), 2)
        after = "" if delay is None else f" {delay:g} s after arrival"
        if one.mailbox and not one.mailbox.startswith(("delivered ", "maildir")):
            texts.append(f"Delivered to {one.mailbox} of {one.recipient}{after}")
        elif one.sent_on:
            texts.append(f"Delivered for {one.recipient}{after} and sent on to {', '.join(one.sent_on)}")
        elif postfix.peer(one.relay or "") is not None:
            texts.append(f"Delivered to {_host(one)} for {one.recipient}{after}")
        else:
            texts.append(f"Delivered to {one.recipient}{after}")
    return ". ".join(texts) + "."


def _told(found: History) -> str:
    if found.told is not None:
        return f"The sender was told at {_clock(found.told)}."
    postmaster = (
        f"The postmaster was told at {_clock(found.postmaster_told)}." if found.postmaster_told else ""
    )
    if found.notice_failed:
        why = reason(found.notice_failed)
        return f"The notice to the sender could not be delivered: {why}. {postmaster}".rstrip()
    if found.notice_waits:
        return f"The notice to the sender still waits: {reason(found.notice_waits)}."
    if postmaster:
        return postmaster
    if found.sender == "":
        return "It was a notice itself, so nobody was told."
    return ""


def _remedy(worst: str, outcomes: list[Outcome], found: History) -> str:
    queue_id = next((one.queue_id for one in outcomes if one.queue_id), None)
    text = " ".join(one.text or "" for one in outcomes).lower()
    act = _act("delete" if worst == "deleted" else "redirect", outcomes[0], found) if outcomes else None
    kept = act.kept if act is not None else None
    match worst:
        case "deleted" if kept is not None and kept.restored_as is not None:
            return f"see what became of it since: postmaster trace {word(kept.restored_as)}"
        case "deleted" if kept is not None:
            return f"bring it back: postmaster queue trash restore {word(kept.number)}"
        case "redirected" if act is not None:
            which = f" --message-id {word(found.message_id)}" if found.message_id else ""
            return f"see what became of it there: postmaster trace {word(act.address)}{which}"
        case "deferred" | "queued" if queue_id:
            return f"postmaster queue show {queue_id}; try again now: postmaster queue flush {queue_id}"
        case "held" if queue_id:
            return f"look: postmaster queue show {queue_id}; let it go: postmaster queue release {queue_id}"
        case "rejected" | "bounced" if "user unknown" in text or "5.1.1" in text:
            return "is the address right? postmaster user list, postmaster alias list"
        case "rejected" if "blocked using" in text:
            return "the client is on a block list; its owner can have it taken off"
        case "bounced" if "quota" in text or "mailbox full" in text or "5.2.2" in text:
            return "the mailbox is full: postmaster user set ADDRESS --quota SIZE"
        case "unknown" if not found.is_over:
            return "name older or newer logs with --log"
    return ""


def _names(outcomes: list[Outcome]) -> str:
    names = [one.recipient for one in outcomes if one.recipient]
    more = f" and {len(names) - 2} others" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _for(who: str) -> str:
    return f" for {who}" if who else ""


def _because(one: Outcome) -> str:
    return f": {_reason(one)}" if one.text else ""


def _by(one: Outcome) -> str:
    return f" by {_host(one)}" if one.relay and one.relay != "none" and postfix.peer(one.relay) else ""


def _host(one: Outcome) -> str:
    peer = postfix.peer(one.relay or "")
    return one.relay or "" if peer is None else peer[0]


def _reason(one: Outcome) -> str:
    text = one.text or one.dsn or "no reason is given"
    said = text.partition(" said: ")[2] or text
    return said.rpartition(" (in reply to ")[0] or said


def _times(number: int) -> str:
    return "one attempt" if number == 1 else f"{number} attempts"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
