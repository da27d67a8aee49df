"""How many messages wait, and how long the oldest has been waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most

MEANING = "messages waiting, and the age of the oldest"
CODES = {
    "queue-long": "more messages wait than the settings allow",
    "queue-old": "a message has been waiting for longer than the settings allow",
}
_REMEDY = "postmaster queue list shows why"


def run(context: Context) -> Iterator[Finding]:
    """Messages on hold do not count: they wait for a person."""
    from postmaster.postfix.queue import Listing
    from postmaster.queue.read import find, messages

    settings, limits = context.settings, context.settings.health
    listing, count, oldest = Listing(), 0, None
    for message in messages(settings, listing, need=frozenset(("queue_name", "arrival_time"))):
        if message.queue_name in ("hold", "corrupt"):
            continue
        count += 1
        if oldest is None or message.arrival_time < oldest.arrival_time:
            oldest = message
    yield _judged(
        "size",
        "queue-long",
        f"{count} messages",
        Measure("messages", count, "", at_most(limits.queue_warning), at_most(limits.queue_critical), 0),
    )
    if oldest is not None:
        age = time.time() - oldest.arrival_time
        whole = find(settings, listing, [oldest.queue_id], instances=[oldest.instance])
        reasons = (one.delay_reason for message in whole for one in message.recipients if one.delay_reason)
        why = "".join(f": {reason}" for reason in islice(reasons, 1))
        warning, critical = limits.queue_age_warning * 3600, limits.queue_age_critical * 3600
        yield _judged(
            "oldest",
            "queue-old",
            f"{age / 3600:.1f} h old{why}",
            Measure("age", age, "s", at_most(warning), at_most(critical), 0),
        )


def _judged(subject: str, code: str, message: str, measure: Measure) -> Finding:
    severity = measure.severity
    if severity is Severity.ok:
        return Finding("queue", subject, OK, severity, message, None, (measure,))
    return Finding("queue", subject, code, severity, message, _REMEDY, (measure,))
