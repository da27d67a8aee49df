"""What waits in the queue, since when and why; what is forgotten, damaged or left over in it.

How many there are the files' names tell in a moment; one pass over the spool tells the rest, or as much of it
as there is time for (`queue/survey.py`). Where the spool may not be read Postfix is asked instead, and what
only the files say is unknown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from postmaster.errors import PostmasterError, ProcessError
from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import Range, at_most

if TYPE_CHECKING:
    from postmaster.queue.survey import Survey
    from postmaster.settings import Settings

MEANING = "messages waiting, since when and why; forgotten, expiring, damaged and left-over ones"
CODES = {
    "queue-long": "more messages wait than the settings allow",
    "queue-old": "a message has been waiting for longer than the settings allow",
    "queue-growing": "more messages came to wait since the run before than the settings allow",
    "queue-expiring": "messages will be returned to their senders within a day",
    "queue-corrupt": "Postfix put aside messages that it cannot read: nobody will get them",
    "queue-damaged": "Postfix passes over a message's file, which will never be delivered",
    "hold-forgotten": "a message has been on hold for longer than the settings allow",
    "half-written": "a file whose writing was cut off long ago lies in the queue",
    "orphan-logs": "a log about deliveries is left whose message is gone",
    "action-unfinished": "an action on the queue was interrupted and may have left messages on hold",
    "queue-unread": "the queue's files may not be read, or not all of them",
}
SETTINGS = (
    *("queue_warning", "queue_critical", "queue_age_warning", "queue_age_critical"),
    *("queue_growth_warning", "queue_growth_critical", "queue_hold_warning", "queue_stale"),
)
REASON_CHARACTERS = 200
SHARE = 0.8  # of the deadline, for the survey


def run(context: Context) -> Iterator[Finding]:
    """Messages on hold do not count as waiting: they wait for a person."""
    from postmaster.queue.survey import count, survey

    limits = context.settings.health
    yield _actions(context.settings)
    now, stale = int(time.time()), limits.queue_stale * 3600
    # First, so that it is told whatever becomes of the rest.
    ends = time.monotonic() + context.left(SHARE)
    counted = count(context.settings, now=now, stale=stale, ends=ends)
    for instance in counted.instances:
        yield from _size(context, counted, instance)
    try:
        found = survey(context.settings, now=now, stale=stale, ends=ends, files=counted.messages)
    except ProcessError as error:
        yield from _counted(counted, error)
        return
    unseen = found.complete(counted) if found.is_cut else {}
    for instance in found.instances:
        if instance not in counted.instances:
            yield from _size(context, found, instance)
        yield from _of_instance(context, found, instance)
        if found.is_cut:
            number = "some" if counted.is_cut else unseen.get(instance, 0)
            message = f"{number} messages were not looked at in time"
            yield _unseen(
                *_named(instance), f"{message}: how old they are, and what is left over, is not known"
            )
    yield _reasons(found)
    if found.unreadable:
        message = f"{found.unreadable} files could not be read"
        yield Finding("queue", "files", "queue-unread", Severity.unknown, message, "run it as root")


def _counted(found: Survey, error: ProcessError) -> Iterator[Finding]:
    """What is known without a survey."""
    for instance in found.instances:
        of, choose = _named(instance)
        for queue in ("maildrop", "incoming", "active", "deferred", "hold"):
            number = Measure("messages", found.queue(instance, queue).messages, "", minimum=0)
            here = f"{number.value:.0f} messages"
            yield Finding("queue", of(queue), OK, Severity.ok, here, None, (number,))
        yield _corrupt(found, instance)
        message = f"how old the messages are, and why they wait, is not known: {error.message}"
        yield _unseen(of, choose, message)
    if not found.instances:
        yield Finding("queue", "spool", "queue-unread", Severity.unknown, error.message, "run it as root")


def _unseen(of: _Name, choose: str, message: str) -> Finding:
    remedy = f"postmaster queue summary{choose}; a longer health.deadline"
    return Finding("queue", of("spool"), "queue-unread", Severity.unknown, message, remedy)


def _size(context: Context, found: Survey, instance: str) -> Iterator[Finding]:
    limits = context.settings.health
    of, choose = _named(instance)
    show = f"postmaster queue list{choose}"
    waiting = found.waiting(instance)
    total = Measure("messages", waiting, "", at_most(limits.queue_warning), at_most(limits.queue_critical), 0)
    message = f"{waiting} messages wait" + ", and more that were not counted in time" * found.is_cut
    yield _judged(of("size"), "queue-long", message, total, f"{show} shows why")
    if not found.is_cut:
        yield _growth(context, found, of, waiting, show)


def _of_instance(context: Context, found: Survey, instance: str) -> Iterator[Finding]:
    limits = context.settings.health
    of, choose = _named(instance)
    warning, critical = limits.queue_age_warning * 3600, limits.queue_age_critical * 3600
    for queue in ("maildrop", "incoming", "active", "deferred"):
        here = found.queue(instance, queue)
        number = Measure("messages", here.messages, "", minimum=0)
        age = _age(found, here.oldest, at_most(warning), at_most(critical))
        if here.oldest is None:
            yield _none_seen(of(queue), here.messages, "empty", age, number)
            continue
        why = f": {here.reason[:REASON_CHARACTERS]}" if here.reason else ""
        oldest = "the oldest seen" if found.is_cut else "the oldest"
        message = f"{here.messages} messages, {oldest} {_hours(age.value)} old ({here.oldest_id}){why}"
        remedy = f"postmaster queue show {here.oldest_id}{choose}"
        yield _judged(of(queue), "queue-old", message, age, remedy, number)
    yield from _set_aside(found, instance, limits.queue_hold_warning * 3600)
    if instance in found.by_postqueue:
        message = "the queue's files may not be read: what expires or is left over is not known"
        yield Finding("queue", of("spool"), "queue-unread", Severity.unknown, message, "run it as root")
    else:
        files = _files(found, instance)
        yield from (one for one in files if one.code != OK or not found.is_cut)


def _age(found: Survey, since: int | None, warning: Range, critical: Range | None) -> Measure:
    """How long something has waited: nothing, where nothing waits, so that each run has the measure."""
    waited = 0 if since is None else max(0, found.now - since)
    return Measure("age", waited, "s", warning, critical, 0)


def _none_seen(name: str, messages: int, empty: str, age: Measure, number: Measure) -> Finding:
    """A queue of which no message was looked at: it has none, or there was no time."""
    if messages:
        return Finding("queue", name, OK, Severity.ok, f"{messages} messages", measures=(number,))
    return Finding("queue", name, OK, Severity.ok, empty, measures=(age, number))


def _growth(context: Context, found: Survey, of: _Name, waiting: int, show: str) -> Finding:
    limits, last = context.settings.health, context.last
    before = None if last is None else last.values.get(("queue", of("size"), "messages"))
    if before is None or last is None:
        return Finding("queue", of("growth"), OK, Severity.ok, "there is no earlier run to compare with")
    warning, critical = (
        Range(-math.inf, most) for most in (limits.queue_growth_warning, limits.queue_growth_critical)
    )
    measure = Measure("messages", waiting - before, "", warning, critical)
    message = f"{measure.value:+.0f} messages in {max(0.0, found.now - last.at) / 60:.0f} minutes"
    return _judged(of("growth"), "queue-growing", message, measure, f"{show} shows what came")


def _set_aside(found: Survey, instance: str, longest: float) -> Iterator[Finding]:
    """What waits for a person: on hold, or corrupt."""
    of, choose = _named(instance)
    held = found.queue(instance, "hold")
    number = Measure("messages", held.messages, "", minimum=0)
    age = _age(found, held.since, at_most(longest), None)
    if held.since is None:
        yield _none_seen(of("hold"), held.messages, "nothing is on hold", age, number)
    else:
        message = f"{held.messages} messages, one of them for {_hours(age.value)}"
        remedy = f"postmaster queue list 'queue=hold'{choose}, then queue release or queue delete"
        yield _judged(of("hold"), "hold-forgotten", message, age, remedy, number)
    yield _corrupt(found, instance)


def _corrupt(found: Survey, instance: str) -> Finding:
    of, choose = _named(instance)
    corrupt = found.queue(instance, "corrupt")
    which = corrupt.oldest_id
    number = Measure("messages", corrupt.messages, "", at_most(0), None, 0)
    message = f"{corrupt.messages} messages" + (f", such as {which}" if which else "")
    look = f"queue show {which}{choose}" if which else f"queue list 'queue=corrupt'{choose}"
    remedy = f"postmaster {look}, save what can be read, then queue delete"
    return _judged(of("corrupt"), "queue-corrupt", message, number, remedy)


def _files(found: Survey, instance: str) -> Iterator[Finding]:
    """What only the queue's files tell."""
    of, choose = _named(instance)
    expiring = Measure("messages", found.expiring.get(instance, 0), "", at_most(0), None, 0)
    first = found.first_to_expire.get(instance)
    when = "" if first is None else f", the first in {_hours(max(0, first - found.now))}"
    message = f"{expiring.value:.0f} messages are returned to their senders within a day{when}"
    remedy = f"postmaster queue list 'expires<1d'{choose}, mend the reason, then queue flush"
    yield _judged(of("expiring"), "queue-expiring", message, expiring, remedy)
    for name, code, files, what, remedy in (
        ("damaged", "queue-damaged", found.damaged, "files are passed over", "look at them, or: postsuper"),
        ("half-written", "half-written", found.half_written, "half-written files are left over", "postsuper"),
        ("logs", "orphan-logs", found.orphans, "logs without their message", "postsuper -p"),
    ):
        kind = {"logs": "orphans", "half-written": "half_written"}.get(name, name)
        measure = Measure("files", found.counts.get((instance, kind), 0), "", at_most(0), None, 0)
        named = files.get(instance)
        message = f"{measure.value:.0f} {what}" + (f", such as {named[0]}" if named else "")
        yield _judged(of(name), code, message, measure, remedy)


def _reasons(found: Survey) -> Finding:
    """What most recipients wait for: no fault of its own, and what to look at first."""
    group = found.top
    if group is None:
        return Finding("queue", "reasons", OK, Severity.ok, "no delivery was put off")
    message = (
        f"{group.recipients} of {found.put_off} recipients wait for the same reason:"
        f" {(group.example or '')[:REASON_CHARACTERS]}"
    )
    measures = (
        Measure("recipients", group.recipients, "", minimum=0),
        Measure("groups", found.incidents, "", minimum=0),
    )
    return Finding("queue", "reasons", OK, Severity.ok, message, None, measures)


def _actions(settings: Settings) -> Finding:
    """Interrupted actions, from their record. To look makes no record where there is none."""
    from postmaster.queue.store import FILE, open_store

    try:
        if not (settings.state.directory / FILE).exists():
            numbers = []
        else:
            with open_store(settings.state) as store:
                numbers = [action.number for action in store.unfinished()]
    except (PostmasterError, OSError) as error:
        return Finding("queue", "actions", "queue-unread", Severity.unknown, str(error), "run it as root")
    measure = Measure("actions", len(numbers), "", at_most(0), None, 0)
    if not numbers:
        return Finding("queue", "actions", OK, Severity.ok, "none was interrupted", None, (measure,))
    message = f"{len(numbers)} were interrupted, such as action {numbers[0]}"
    return _judged(
        "actions",
        "action-unfinished",
        message,
        measure,
        f"postmaster queue history show {numbers[0]}, then finish or release it",
    )


class _Name(Protocol):
    def __call__(self, name: str) -> str: ...


def _named(instance: str) -> tuple[_Name, str]:
    """(how an object of an instance is called, the option that chooses it)."""
    from postmaster.postfix.instances import NAMELESS

    if instance == NAMELESS:
        return lambda name: name, ""
    return lambda name: f"{instance}/{name}", f" --instance {instance}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _judged(name: str, code: str, message: str, measure: Measure, remedy: str, *more: Measure) -> Finding:
    severity = measure.severity
    if severity is Severity.ok:
        return Finding("queue", name, OK, severity, message, None, (measure, *more))
    return Finding("queue", name, code, severity, message, remedy, (measure, *more))
