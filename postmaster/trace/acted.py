"""What `postmaster queue` did to a message, put into its history from the record of queue actions.

The log has postsuper's words alone: that a message was removed, and not by whom, why, or that it was sent on
to another address. Where the record has an action on it, the steps and the outcome say so. The record is a
message's by its queue ID and the time in which it had it, as a short ID is used again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from postmaster.queue.recorded import Act, Record
from postmaster.trace.history import WAITING, History, Outcome, Step, is_requeued
from postmaster.trace.lives import Life

SLACK = 5.0  # seconds that the log's time may differ from the record's

#: What postsuper says of each action, and of the hold that goes before most of them.
_SAID = {
    "hold": "placed on hold",
    "release": "released from hold",
    "requeue": "requeued",
    "bounce": "expired",
    "delete": "removed",
    "redirect": "removed",
}
_KINDS = {"flush": "flushed", "hold": "held", "release": "released", "requeue": "requeued",
          "bounce": "force-expired", "delete": "deleted", "redirect": "redirected"}  # fmt: skip


def add_actions(found: History, record: Record) -> History:
    """The history with what the record knows of it."""
    gone = set[int]()
    for life in found.story.lives:
        before = record.brought_back(life.queue_id)
        if before is not None:
            _add_return(found, life, before)
        for act in _acts_on(life, record.of(life.queue_id)):
            found.acts.append(act)
            if found.sender is None:
                found.sender = act.sender
            _tell(found, act)
            if act.is_last:
                gone.add(id(life))
    if gone:
        found.is_over = all(
            life.is_over or is_requeued(life) or id(life) in gone for life in found.story.lives
        )
    return found


def _acts_on(life: Life, acts: list[Act]) -> Iterator[Act]:
    """Those that are about this use of the queue ID."""
    here = [one for one in acts if one.instance == life.instance]
    begin, end = life.lines[0].time, life.lines[-1].time if life.has_ended else math.inf
    for act in here or acts:
        is_begun = begin - SLACK <= act.started if life.is_whole else act.arrival_time <= begin + SLACK
        if is_begun and act.started <= end + SLACK:
            yield act


def _tell(found: History, act: Act) -> None:
    """Put an action where postsuper did its work; where the log has not got that, when it began."""
    ends = math.inf if act.ended is None else act.ended + SLACK
    main = None
    for at, step in enumerate(found.steps):
        if step.queue_id != act.queue_id or not act.started - SLACK <= step.time <= ends:
            continue
        if act.is_done and step.text == f"{_SAID.get(act.verb)} by postsuper":
            main = at
        elif step.text in ("placed on hold by postsuper", "released from hold by postsuper"):
            found.steps[at] = replace(step, text=f"{step.text}, for action {act.number}")
    kind = _KINDS.get(act.verb, act.verb)
    if main is not None:
        found.steps[main] = replace(found.steps[main], kind=kind, text=act.text)
    elif act.is_done:
        _insert(found, Step(float(act.started), kind, act.queue_id, act.text))
    if act.is_last:
        when = float(act.started) if main is None else found.steps[main].time
        _settle(found, act, when)


def _settle(found: History, act: Act, when: float) -> None:
    """A message that was deleted or sent on is that for everyone whom it had not reached."""
    status = "redirected" if act.verb == "redirect" else "deleted"
    sent_on = [act.address] if act.verb == "redirect" and act.address else []
    settled, known = list[Outcome](), set[str]()
    for outcome in found.outcomes:
        if outcome.queue_id == act.queue_id:
            if outcome.recipient is None and act.recipients:
                continue  # the record has their names
            known.add((outcome.recipient or "").lower())
            if outcome.status in (*WAITING, "deleted"):
                outcome = replace(outcome, status=status, time=when, sent_on=sent_on)
        settled.append(outcome)
    settled += [
        Outcome(name, status, when, act.queue_id, sent_on=sent_on)
        for name in act.recipients
        if name.lower() not in known
    ]
    found.outcomes = settled


def _add_return(found: History, life: Life, before: Act) -> None:
    """It came out of the trash: its beginning is under another queue ID."""
    kept = before.kept
    assert kept is not None
    assert kept.restored is not None
    text = f"restored from the trash; it was {before.queue_id}, {before.text}"
    when = min(float(kept.restored), life.lines[0].time)
    _insert(found, Step(when, "restored", life.queue_id, text))
    if life is found.story.lives[0]:
        found.restored_from = before.queue_id


def _insert(found: History, step: Step) -> None:
    at = bisect_left([one.time for one in found.steps], step.time)
    found.steps.insert(at, step)
