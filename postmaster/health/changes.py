"""From run to run: what began, got worse, got better or ended, and what of it a reader is to be told.

Pure: from what was known and what a run found to what is known now. A problem is what has the same check,
object and code. It speaks once it has been seen in `flap` runs in a row, and is over once it was not seen
in as many; the same holds for a change of how bad it is. What a run could not look at stays as it was: a
check that hangs, or an object of which only "unknown" is said, ends no problem.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from postmaster.health.finding import FAILED, NO_ANSWER, Finding, Severity, badness

Problem = tuple[str, str, str]  # check, object, code


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

    @property
    def now(self) -> Severity:
        """How bad it is now: ok for one that ended."""
        return Severity.ok if self.change is Change.ended else self.finding.severity


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
    def problem(self) -> Problem:
        return self.check, self.object, self.code

    def holds(self, severity: Severity, at: float) -> bool:
        """Whether it silences the problem at this moment, when it is this bad."""
        return at < self.until and badness(severity) <= badness(self.severity)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a problem.

    `finding`: as it was last seen, with a severity that is not ok. `level`: how bad it is for sure; ok until
    it has been seen often enough. `told`: how bad the reader knows it to be. `recent`: what the last runs
    that looked at it found, the latest last, no more than it takes to be sure. `seen`: the last of them.
    """

    finding: Finding
    since: float
    seen: float
    level: Severity = Severity.ok
    told: Severity = Severity.ok
    recent: tuple[Severity, ...] = ()


def problems(findings: Iterable[Finding]) -> dict[Problem, Finding]:
    """What is wrong: of several findings about one problem the worst."""
    found: dict[Problem, Finding] = {}
    for one in findings:
        if one.severity is Severity.ok:
            continue
        before = found.get(one.problem)
        if before is None or _weight(one) > _weight(before):
            found[one.problem] = one
    return found


def _weight(finding: Finding) -> tuple[int, str, str]:
    return badness(finding.severity), finding.message, finding.remedy or ""


def step(
    known: Mapping[Problem, Known],
    findings: Collection[Finding],
    checks: Collection[str],
    at: float,
    flap: int,
) -> tuple[dict[Problem, Known], list[Event]]:
    """What is known after a run of these checks, and what became certain with it."""
    flap = max(1, flap)
    present = problems(findings)
    unknown = {one.problem[:2] for one in findings if one.severity is Severity.unknown}
    silent = {one.check for one in findings if one.code in (NO_ANSWER, FAILED)}
    after: dict[Problem, Known] = {}
    events: list[Event] = []
    for problem in sorted(known.keys() | present.keys()):
        before, now = known.get(problem), present.get(problem)
        if now is None:
            assert before is not None
            is_seen = problem[0] in checks and not _hidden(before.finding, unknown, silent)
            if not is_seen:
                after[problem] = before
                continue
        one = _after(before, now, at, flap)
        if before is None or one.level is not before.level:
            was = Severity.ok if before is None else before.level
            if one.level is not was:
                events.append(_event(one, was, at))
        if _matters(one):
            after[problem] = one
    return after, events


def _hidden(finding: Finding, unknown: Collection[tuple[str, str]], silent: Collection[str]) -> bool:
    """Whether the run could not tell that the problem is gone."""
    if finding.check in silent:
        return finding.code not in (NO_ANSWER, FAILED)
    return finding.severity is not Severity.unknown and finding.problem[:2] in unknown


def _after(before: Known | None, now: Finding | None, at: float, flap: int) -> Known:
    severity = Severity.ok if now is None else now.severity
    if before is None:
        assert now is not None
        before = Known(now, at, at)
    recent = (*before.recent, severity)[-flap:]
    is_new = before.level is Severity.ok and now is not None and not any(before.recent)
    return replace(
        before,
        finding=now or before.finding,
        since=at if is_new else before.since,
        seen=at,
        recent=recent,
        level=_level(before.level, recent, flap),
    )


def _level(level: Severity, recent: tuple[Severity, ...], flap: int) -> Severity:
    """Worse as soon as enough runs in a row were worse; better by no more than all of them allow."""
    if len(recent) < flap:
        return level
    if all(badness(one) > badness(level) for one in recent):
        return recent[-1]
    if all(badness(one) < badness(level) for one in recent):
        return max(recent, key=badness)
    return level


def _matters(one: Known) -> bool:
    """Still there, on its way to be, or over without the reader knowing."""
    return any((one.level, one.told, *one.recent))


def _event(one: Known, before: Severity, at: float) -> Event:
    if one.level is Severity.ok:
        return Event(at, Change.ended, one.finding, before, one.since)
    finding = replace(one.finding, severity=one.level)
    if before is Severity.ok:
        return Event(at, Change.began, finding, before, one.since)
    change = Change.worse if badness(one.level) > badness(before) else Change.better
    return Event(at, change, finding, before, one.since)


def tell(
    known: Mapping[Problem, Known], acknowledged: Mapping[Problem, Acknowledgement], at: float
) -> tuple[list[Event], dict[Problem, Known]]:
    """What the reader does not know yet, and what is known once it has been told.

    While an acknowledgement holds, nothing is told of its problem; one that is still there when it ends
    is told anew.
    """
    events: list[Event] = []
    after: dict[Problem, Known] = {}
    for problem in sorted(known):
        one = known[problem]
        given = acknowledged.get(problem)
        if given is not None and given.holds(one.level, at):
            one = replace(one, told=Severity.ok)
        else:
            told = one.told
            if given is not None and at < given.until and badness(given.severity) > badness(told):
                told = given.severity  # it got worse than what somebody knew of
            if one.level is not told:
                events.append(_event(one, told, at))
            one = replace(one, told=one.level)
        if _matters(one):
            after[problem] = one
    return events, after
