"""From run to run: what began, got worse, got better or ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from postmaster.health.finding import Finding, Severity


class Change(StrEnum):
    began = "began"
    worse = "worse"
    better = "better"
    ended = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """A change that is worth telling. Times in seconds since the epoch.

    `finding` is the problem as it is now; for one that ended, as it was last seen. `before`: how bad it was
    when it was last told; ok for one that began. `since`: when it was first seen.
    """

    at: float
    change: Change
    finding: Finding
    before: Severity
    since: float


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows of a problem: silent until a moment, or until it is worse than `severity`."""

    check: str
    object: str
    code: str
    severity: Severity
    until: float
    reason: str
    who: str
    at: float

    @property
    def problem(self) -> tuple[str, str, str]:
        return self.check, self.object, self.code
