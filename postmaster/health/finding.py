"""What a check found, and how bad it is: the monitoring plugins' four states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from postmaster.settings import Settings


class Severity(IntEnum):
    """In the monitoring plugins' numbering, which is also the exit status."""

    ok = 0
    warning = 1
    critical = 2
    unknown = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at: what was measured, and what to do where something is wrong."""

    check: str
    object: str
    severity: Severity
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A function from settings to findings, its name and what it is for."""

    name: str
    meaning: str
    run: Callable[[Settings], list[Finding]]


#: How bad each state is when one is to stand for all: unknown hides neither warning nor critical.
_ORDER = (Severity.ok, Severity.unknown, Severity.warning, Severity.critical)


def worst(findings: list[Finding]) -> Severity:
    return max((finding.severity for finding in findings), key=_ORDER.index, default=Severity.unknown)
