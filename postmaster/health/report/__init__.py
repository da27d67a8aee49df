"""What a health report holds. How it looks is the other modules' of this folder: each takes one `Report`.

Times are seconds since the epoch, spans of time are seconds. What a report says came from outside in part
(host names, reasons, log lines): whoever renders it escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from postmaster.health.changes import Acknowledgement, Event
from postmaster.health.finding import Finding, Severity, worst
from postmaster.health.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Reported:
    """A finding of this run. `since`: when the problem was first seen; None where nothing is wrong, or
    where no state is kept. `acknowledged`: only while it holds."""

    finding: Finding
    since: float | None = None
    acknowledged: Acknowledgement | None = None

    @property
    def open(self) -> bool:
        """A problem that nobody has acknowledged."""
        return self.finding.severity is not Severity.ok and self.acknowledged is None


@dataclass(frozen=True, slots=True)
class Missed:
    """The timer did not run as it should have: no run between two moments.

    `booted`: when the machine was started, where that was between them.
    """

    since: float
    until: float
    every: float
    booted: float | None = None


class Point(NamedTuple):
    """A measure at a moment; of an hour or a day, its mean, its lowest and its highest value."""

    at: float
    value: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Series:
    """The history of one measure, oldest first, for a chart. `unit` as in Measure."""

    check: str
    object: str
    name: str
    unit: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `events`: None unless changes alone were asked for; empty: nothing changed.

    `notes`: what the reader must know about the run itself, as that it could not be kept. `series`: only
    where charts are drawn. `statistics`: of the digest, None elsewhere.
    """

    time: float
    host: str
    took: float
    findings: tuple[Reported, ...]
    events: tuple[Event, ...] | None = None
    missed: Missed | None = None
    notes: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    statistics: Statistics | None = None

    @property
    def status(self) -> Severity:
        """The worst of all findings, acknowledged or not."""
        return worst(one.finding for one in self.findings)

    @property
    def problems(self) -> Iterator[Reported]:
        """What is wrong, in the order of the checks."""
        return (one for one in self.findings if one.finding.severity is not Severity.ok)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to tell: changes alone were asked for, and there are none."""
        return self.events == () and self.missed is None and not self.notes
