"""Running checks all at once. One that hangs costs its own deadline, never the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from postmaster.errors import PostmasterError, UsageError
from postmaster.health.checks import NAMES, load
from postmaster.health.finding import FAILED, NO_ANSWER, Check, Context, Finding, Last, Severity
from postmaster.process import one_reading
from postmaster.settings import Settings


def choose(names: Sequence[str], skip: Sequence[str], known: Sequence[str] = NAMES) -> list[Check]:
    """The checks with these names (all without any) less the skipped. Raises UsageError."""
    for name in (*names, *skip):
        if name not in known:
            raise UsageError(f"there is no check {name}", hint="there are: " + ", ".join(known))
    chosen = [name for name in known if (not names or name in names) and name not in skip]
    if not chosen:
        raise UsageError("no check is left to run", hint="there are: " + ", ".join(known))
    return [load(name) for name in chosen]


def run(
    settings: Settings, checks: Sequence[Check], last: Last | Mapping[str, Last] | None = None
) -> list[Finding]:
    """Run them, each in a thread of its own; findings in the order of the checks.

    `last`: the run before; or by name, where the checks were not all made in one.
    """
    ends = time.monotonic() + settings.health.deadline
    results: list[list[Finding]] = [[] for _ in checks]

    def attempt(check: Check, found: list[Finding]) -> None:
        try:
            # One by one: what it found before its deadline counts.
            before = last.get(check.name) if isinstance(last, Mapping) else last
            found.extend(check.run(Context(settings, ends, before)))
        except PostmasterError as error:
            found.append(Finding(check.name, "check", FAILED, Severity.unknown, error.message, error.hint))
        except Exception as error:  # a check's own mistake must not hide what the others found
            message = f"the check failed: {type(error).__name__}: {error}"
            found.append(
                Finding(check.name, "check", FAILED, Severity.unknown, message, "run it with --debug")
            )

    # Daemon threads: one that never ends does not keep the process from ending.
    threads = [
        threading.Thread(target=attempt, args=pair, daemon=True) for pair in zip(checks, results, strict=True)
    ]
    # All together ask the servers for their configuration once.
    with one_reading():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))
    report: list[Finding] = []
    for check, found, thread in zip(checks, results, threads, strict=True):
        hangs = thread.is_alive()
        report += list(found)  # a copy: it may go on finding
        if hangs:
            late = f"no end within {settings.health.deadline:g} s"
            report.append(
                Finding(
                    *(check.name, "check", NO_ANSWER, Severity.unknown, late),
                    f"run it alone: postmaster health check {check.name}",
                )
            )
    return report
