"""What the check of the whole directory finds, in few words: how much of each kind, and the first of it.

What the other parts of the health check look at themselves is left out. It reads everything, so that it may
not end in time where there is much: then what it found by then is told, and that there may be more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most
from postmaster.health.together import together

OBJECT = "soundness"
FIRST = 3  # objects that are named of each kind
SHOWN = 80  # characters of an object

#: Codes of the directory's own check that are faults, for they lose mail or good repute, and what they mean.
CODES = {
    "loop": "mail would go in a circle",
    "dead-target": "an alias or forward names an address that does not exist",
    "dead-end": "an alias or forward leads nowhere",
    "missing-postmaster": "nobody answers for postmaster@ a domain",
    "shadowed-mailbox": "a table of Postfix takes the mail of a mailbox away",
    "alias-domain-backscatter": "every address of a domain is accepted, and unknown ones come back later",
    "forward-without-srs": "mail is sent on elsewhere under the sender's own address, which SPF forbids",
    "soundness-unknown": "the directory as a whole could not be checked, or not in time",
}
#: What has a finding of its own in the health check.
_OWN = ("lookups_missing", "lookups_behind", "lookups_differ", "two_classes")


def soundness(context: Context) -> Iterator[Finding]:
    """Until most of the deadline is gone. Raises what `routing.check.findings` does."""
    from postmaster.routing.check import findings

    ends = time.monotonic() + context.left(0.8)
    found: dict[str, list[str]] = {}
    unknown: list[str] = []

    def look() -> bool:
        for one in findings(context.settings):
            if one.code == "not_checked":
                unknown.append(one.message)
            elif one.code not in _OWN:
                found.setdefault(one.code.replace("_", "-"), []).append(one.object)
        return True

    if not list(together([look], ends)):
        unknown.append("the whole of the directory could not be looked at in time")
    kinds = dict(found)  # it may go on
    for code in CODES:
        if code in kinds:
            yield _told(code, kinds.pop(code))
    for message in unknown[:FIRST]:
        yield Finding(
            *("directory", OBJECT, "soundness-unknown", Severity.unknown, message),
            "postmaster directory check; a longer health.deadline, or health.soundness = 0",
        )
    if not unknown and not found.keys() & CODES.keys():
        more = ", ".join(f"{len(objects)} {code}" for code, objects in kinds.items())
        words = f"; postmaster directory check names what may be meant so: {more}" if more else ""
        message = f"addresses lead where they should{words}"
        yield Finding("directory", OBJECT, OK, Severity.ok, message)


def _told(code: str, objects: list[str]) -> Finding:
    measure = Measure(code.replace("-", "_"), len(objects), "", at_most(0), None, 0)
    first = ", ".join(one[:SHOWN] for one in objects[:FIRST])
    more = f" and {len(objects) - FIRST} more" if len(objects) > FIRST else ""
    return Finding(
        *("directory", OBJECT, code, Severity.warning, f"{CODES[code]}: {first}{more}"),
        *("postmaster directory check says what mends each", (measure,)),
    )
