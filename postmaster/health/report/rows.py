"""A report as programs take it: JSON's object, and a row for each finding."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from postmaster.health.changes import Acknowledgement, Change, Event
from postmaster.health.finding import Measure
from postmaster.health.report import Report, Reported
from postmaster.health.statistics import Statistics
from postmaster.render.output import moment

if TYPE_CHECKING:
    from postmaster.trace.figures import Figures

#: The keys of a change and of an acknowledgement, for a list without any.
EVENT_KEYS = ("time", "change", "check", "object", "code", "status", "before", "since", "message", "remedy")
ACKNOWLEDGEMENT_KEYS = ("check", "object", "code", "status", "until", "reason", "who", "time")


def record(report: Report) -> dict[str, Any]:
    """The whole report. `changes` is null where they were not asked for."""
    missed = report.missed
    return {
        "status": report.status.name,
        "time": moment(int(report.time)),
        "host": report.host,
        "took": round(report.took, 3),
        "findings": [finding(one) for one in report.findings],
        "changes": None if report.events is None else [event(one) for one in report.events],
        "missed": None
        if missed is None
        else {
            "since": moment(int(missed.since)),
            "until": moment(int(missed.until)),
            "every": missed.every,
            "booted": None if missed.booted is None else moment(int(missed.booted)),
        },
        "notes": list(report.notes),
        **({} if report.statistics is None else {"statistics": statistics(report.statistics)}),
    }


def statistics(one: Statistics) -> dict[str, Any]:
    """The figures of a digest; null where the log cannot be read, or nothing is known of the week before."""
    return {
        "since": moment(int(one.since)),
        "until": moment(int(one.until)),
        "figures": None if one.figures is None else _figures(one.figures),
        "before": None if one.before is None else _figures(one.before),
        "problems": list(one.problems),
    }


def _figures(one: Figures) -> dict[str, Any]:
    found = asdict(one)
    del found["problems"]
    for key in ("since", "until"):
        found[key] = None if found[key] is None else moment(int(found[key]))
    return found


def finding(one: Reported) -> dict[str, Any]:
    found = one.finding
    return {
        "check": found.check,
        "object": found.object,
        "code": found.code,
        "status": found.severity.name,
        "message": found.message,
        "remedy": found.remedy,
        "since": None if one.since is None else moment(int(one.since)),
        "acknowledged": None if one.acknowledged is None else acknowledgement(one.acknowledged),
        "measures": [_measure(measure) for measure in found.measures],
    }


def event(one: Event) -> dict[str, Any]:
    """A change. `status`: how bad it is now; ok for a problem that ended, which has no remedy any more."""
    found = one.finding
    return {
        "time": moment(int(one.at)),
        "change": str(one.change),
        "check": found.check,
        "object": found.object,
        "code": found.code,
        "status": one.now.name,
        "before": one.before.name,
        "since": moment(int(one.since)),
        "message": found.message,
        "remedy": None if one.change is Change.ended else found.remedy,
    }


def acknowledgement(one: Acknowledgement) -> dict[str, Any]:
    return {
        "check": one.check,
        "object": one.object,
        "code": one.code,
        "status": one.severity.name,
        "until": moment(int(one.until)),
        "reason": one.reason,
        "who": one.who,
        "time": moment(int(one.at)),
    }


def _measure(one: Measure) -> dict[str, Any]:
    return {
        "name": one.name,
        "value": one.value,
        "unit": one.unit,
        "warning": None if one.warning is None else str(one.warning),
        "critical": None if one.critical is None else str(one.critical),
    }
