"""A report in Prometheus' text format, for node_exporter's textfile collector.

Names and labels stay: `check`, `object` and `code` are those of the findings, `measure` of the measures.
Source: Prometheus' documentation, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from postmaster.health.changes import problems
from postmaster.health.report import Report
from postmaster.render.escape import printable

Labels = tuple[tuple[str, str], ...]

_STATES = "0 ok, 1 warning, 2 critical, 3 unknown"
_HELP = {
    "status": f"The worst finding: {_STATES}.",
    "run_timestamp_seconds": "When the checks were run.",
    "duration_seconds": "How long they took.",
    "findings": "Findings by check and status.",
    "problem": f"What is wrong: {_STATES}.",
    "problem_since_timestamp_seconds": "When a problem was first seen.",
    "problem_acknowledged": "1 for a problem that somebody has acknowledged.",
    "measure": "What was measured; the unit is s (seconds), % , B (bytes), c (a counter) or nothing.",
}


def text(report: Report) -> str:
    """All metrics, each family together."""
    return "".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield from _family("status", {(): float(report.status)})
    yield from _family("run_timestamp_seconds", {(): report.time})
    yield from _family("duration_seconds", {(): report.took})
    counts: dict[Labels, float] = {}
    measures: dict[Labels, float] = {}
    for one in report.findings:
        found = one.finding
        key = (("check", found.check), ("status", found.severity.name))
        counts[key] = counts.get(key, 0.0) + 1
        for each in found.measures:
            labels = (("check", found.check), ("object", found.object), ("measure", each.name))
            measures[(*labels, ("unit", each.unit))] = each.value
    yield from _family("findings", counts)
    worst = problems(one.finding for one in report.findings)
    labelled = {key: tuple(zip(("check", "object", "code"), key, strict=True)) for key in worst}
    yield from _family("problem", {labelled[key]: float(found.severity) for key, found in worst.items()})
    reported = {one.finding.problem: one for one in report.problems}
    since = {labelled[key]: one.since for key, one in reported.items() if one.since is not None}
    yield from _family("problem_since_timestamp_seconds", since)
    known = {labelled[key]: float(not one.open) for key, one in reported.items()}
    yield from _family("problem_acknowledged", known)
    yield from _family("measure", measures)


def _family(name: str, values: Mapping[Labels, float]) -> Iterator[str]:
    full = f"postmaster_health_{name}"
    yield f"# HELP {full} {_HELP[name]}\n# TYPE {full} gauge\n"
    for labels, value in values.items():
        written = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        yield f"{full}{{{written}}} {_number(value)}\n" if labels else f"{full} {_number(value)}\n"


def _escaped(given: str) -> str:
    return printable(given).replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
