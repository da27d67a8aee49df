"""What a check found, and how bad it is: the monitoring plugins' four states."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from postmaster.health.ranges import Range
from postmaster.settings import Settings

OK = "ok"  # the code of a finding where nothing is wrong
NO_ANSWER = "no-answer"  # the code where a check did not end in time
FAILED = "check-failed"  # the code where a check could not be made
THRESHOLD = "threshold"  # the code where a range that was given for one run is left


class Severity(IntEnum):
    """In the monitoring plugins' numbering, which is also the exit status."""

    ok = 0
    warning = 1
    critical = 2
    unknown = 3


#: How bad each state is when one is to stand for all: unknown hides neither warning nor critical.
_ORDER = (Severity.ok, Severity.unknown, Severity.warning, Severity.critical)


@dataclass(frozen=True, slots=True)
class Measure:
    """A value with its thresholds. `unit`: s, %, B, c (a counter that only grows) or nothing.

    `name` is unique within its check and object, and stays the same from run to run: history, charts,
    performance data and `--warn` know it as `check.object.name`.
    """

    name: str
    value: float
    unit: str = ""
    warning: Range | None = None
    critical: Range | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def severity(self) -> Severity:
        if self.critical is not None and self.critical.alerts(self.value):
            return Severity.critical
        if self.warning is not None and self.warning.alerts(self.value):
            return Severity.warning
        return Severity.ok


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at: what was measured, and what to do where something is wrong.

    `code` says what is wrong, in words that never change (`certificate-expired`); `ok` where nothing is.
    A problem is the same one from run to run while check, object and code are the same: `object` holds
    no figures. `remedy` is what to do, with the command where there is one.
    """

    check: str
    object: str
    code: str
    severity: Severity
    message: str
    remedy: str | None = None
    measures: tuple[Measure, ...] = ()

    @property
    def problem(self) -> tuple[str, str, str]:
        return self.check, self.object, self.code


def bad(
    check: str,
    subject: str,
    code: str,
    message: str,
    remedy: str,
    severity: Severity = Severity.critical,
    measures: tuple[Measure, ...] = (),
) -> Finding:
    """A finding of what is wrong, as most of them are written: critical unless it is said."""
    return Finding(check, subject, code, severity, message, remedy, measures)


@dataclass(frozen=True, slots=True)
class Last:
    """What the run before this one kept. `at`: seconds since the epoch."""

    at: float
    values: Mapping[tuple[str, str, str], float] = field(default_factory=dict)  # check, object, measure


@dataclass(frozen=True, slots=True)
class Context:
    """What a check is given. `ends`: on the monotonic clock, when nobody waits for its answer any more."""

    settings: Settings
    ends: float
    last: Last | None = None

    def left(self, share: float = 1.0) -> float:
        """Seconds that are left, or a share of them: for time-outs. Never quite nothing."""
        return max(0.01, (self.ends - time.monotonic()) * share)


@dataclass(frozen=True, slots=True)
class Check:
    """A function from a context to findings, its name, what it is for, the codes it can find.

    What it yields before its deadline counts, also where it hangs later.
    """

    name: str
    meaning: str
    codes: Mapping[str, str]  # code -> what it means
    run: Callable[[Context], Iterable[Finding]]
    settings: tuple[str, ...] = ()  # the keys of `health.*` that it is judged by


def badness(severity: Severity) -> int:
    """Its place in the order of how bad each is: unknown is worse than ok, and no more."""
    return _ORDER.index(severity)


def worst(findings: Iterable[Finding]) -> Severity:
    return max((finding.severity for finding in findings), key=badness, default=Severity.unknown)
