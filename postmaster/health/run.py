"""Running checks all at once. One that hangs costs its own deadline, never the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from postmaster.errors import PostmasterError, UsageError
from postmaster.health.checks import CHECKS
from postmaster.health.finding import Check, Finding, Severity
from postmaster.settings import Settings


def choose(names: Sequence[str], skip: Sequence[str], checks: Sequence[Check] = CHECKS) -> list[Check]:
    """The checks with these names (all without any) less the skipped. Raises UsageError."""
    known = [check.name for check in checks]
    for name in (*names, *skip):
        if name not in known:
            raise UsageError(f"there is no check {name}", hint="there are: " + ", ".join(known))
    chosen = [check for check in checks if (not names or check.name in names) and check.name not in skip]
    if not chosen:
        raise UsageError("no check is left to run", hint="there are: " + ", ".join(known))
    return chosen


def run(settings: Settings, checks: Sequence[Check]) -> list[Finding]:
    """Run them, each in a thread of its own; findings in the order of the checks."""
    results: dict[str, list[Finding]] = {}

    def attempt(check: Check) -> None:
        try:
            found = check.run(settings)
        except PostmasterError as error:
            found = [Finding(check.name, "check", Severity.unknown, error.message, error.hint)]
        except Exception as error:  # a check's own mistake must not hide what the others found
            message = f"the check failed: {type(error).__name__}: {error}"
            found = [Finding(check.name, "check", Severity.unknown, message, "run it with --debug")]
        results[check.name] = found

    # Daemon threads: one that never ends does not keep the process from ending.
    threads = [threading.Thread(target=attempt, args=(check,), daemon=True) for check in checks]
    ends = time.monotonic() + settings.health.deadline
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    late = f"no answer within {settings.health.deadline:g} s"
    return [
        finding
        for check in checks
        for finding in results.get(check.name, [Finding(check.name, "check", Severity.unknown, late)])
    ]
