"""Other thresholds for one run, as a monitoring system gives them: `--warn NAME=RANGE`, `--crit RANGE`.

A name is `check.object.measure`, or `check.measure` for every object of the check. A range alone is meant
for the one measure that the run has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from postmaster.errors import UsageError
from postmaster.health.finding import OK, THRESHOLD, Finding, Measure, Severity, badness
from postmaster.health.ranges import Range, parse_range


@dataclass(frozen=True, slots=True)
class Threshold:
    """A range for a measure; `name` is empty where the range stood alone."""

    name: str
    range: Range
    severity: Severity


def thresholds(warnings: Iterable[str], criticals: Iterable[str], checks: Sequence[str]) -> list[Threshold]:
    """What the options say. Raises UsageError where it is no range, or of no check that is made."""
    return [
        *(_threshold(text, Severity.warning, checks) for text in warnings),
        *(_threshold(text, Severity.critical, checks) for text in criticals),
    ]


def _threshold(text: str, severity: Severity, checks: Sequence[str]) -> Threshold:
    name, equals, given = text.rpartition("=")
    if equals and not any(name.startswith(f"{check}.") for check in checks):
        raise UsageError(
            f"{name!r} is no measure of a check that is made",
            hint="a measure is check.object.name or check.name; -o json shows them",
        )
    return Threshold(name if equals else "", parse_range(given), severity)


def judge(findings: Sequence[Finding], given: Sequence[Threshold]) -> tuple[list[Finding], list[str]]:
    """The findings, judged by these thresholds where one is given; and the names that no measure has.

    A service that is down has no measures: a name that is not met is told, and is no error. A finding that
    is bad for another reason than its measures stays as bad. Raises UsageError for a range alone where the
    run has several measures.
    """
    if not given:
        return list(findings), []
    all_names = {_names(one, measure)[0] for one in findings for measure in one.measures}
    if any(not one.name for one in given) and len(all_names) > 1:
        raise UsageError(
            f"a range alone is for one measure, this run has {len(all_names)}",
            hint="say which, as in --warn queue.deferred.age=3600; -o json shows them",
        )
    met: set[str] = set()
    result = [_judged(one, given, met) for one in findings]
    return result, sorted({one.name for one in given} - met)


def _names(finding: Finding, measure: Measure) -> tuple[str, str]:
    return f"{finding.check}.{finding.object}.{measure.name}", f"{finding.check}.{measure.name}"


def _judged(finding: Finding, given: Sequence[Threshold], met: set[str]) -> Finding:
    measures = []
    for before in finding.measures:
        measure = before
        for one in given:
            if one.name and one.name not in _names(finding, measure):
                continue
            met.add(one.name)
            if one.severity is Severity.warning:
                measure = replace(measure, warning=one.range)
            else:
                measure = replace(measure, critical=one.range)
        measures.append(measure)
    if measures == list(finding.measures):
        return finding
    by_measures = max(measure.severity for measure in finding.measures)
    severity = max(measure.severity for measure in measures)
    if finding.severity not in (Severity.ok, by_measures):
        severity = max(severity, finding.severity, key=badness)
    code, remedy = finding.code, finding.remedy
    if severity is Severity.ok:
        code, remedy = OK, None
    elif finding.severity is Severity.ok:
        code, remedy = THRESHOLD, "the range was given with --warn or --crit"
    return replace(finding, severity=severity, code=code, remedy=remedy, measures=tuple(measures))
