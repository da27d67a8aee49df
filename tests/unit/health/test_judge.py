"""Other thresholds for one run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postmaster.errors import UsageError
from postmaster.health.finding import OK, THRESHOLD, Finding, Measure, Severity
from postmaster.health.judge import judge, thresholds
from postmaster.health.ranges import at_most

CHECKS = ("queue", "services")
AGE = Measure("age", 50.0, "s", at_most(10), at_most(100))
OLD = Finding("queue", "oldest", "queue-old", Severity.warning, "50 s old", "look", (AGE,))
FINE = Finding("services", "smtp", OK, Severity.ok, "greets", None, (Measure("time", 0.2, "s"),))
DOWN = Finding(
    "services", "imap", "service-down", Severity.critical, "refused", "start it", (Measure("time", 9.0, "s"),)
)


def judged(findings: list[Finding], warn: tuple[str, ...] = (), crit: tuple[str, ...] = ()) -> list[Finding]:
    return judge(findings, thresholds(warn, crit, CHECKS))[0]


def test_without_thresholds_nothing_changes() -> None:
    assert judged([OLD, FINE, DOWN]) == [OLD, FINE, DOWN]


def test_a_threshold_makes_a_finding_well_or_worse() -> None:
    (well,) = judged([OLD], warn=("queue.oldest.age=60",))
    assert (well.severity, well.code, well.remedy) == (Severity.ok, OK, None)
    (worse,) = judged([OLD], crit=("queue.oldest.age=40",))
    assert (worse.severity, worse.code) == (Severity.critical, "queue-old")
    (found,) = judged([FINE], warn=("services.smtp.time=0.1",))
    assert (found.severity, found.code) == (Severity.warning, THRESHOLD)
    assert found.remedy
    assert str(found.measures[0].warning) == "0.1"


def test_a_name_without_an_object_means_every_object() -> None:
    found = judged([FINE, replace(FINE, object="pop3")], crit=("services.time=0.1",))
    assert [one.severity for one in found] == [Severity.critical] * 2


def test_what_is_bad_for_another_reason_stays_bad() -> None:
    assert judged([DOWN], warn=("services.time=99",))[0].severity is Severity.critical


def test_a_range_alone_is_for_the_one_measure() -> None:
    assert judged([OLD], warn=("60",))[0].severity is Severity.ok
    with pytest.raises(UsageError, match="has 2"):
        judged([OLD, FINE], warn=("60",))


def test_a_measure_that_the_run_lacks_is_told() -> None:
    gone = replace(FINE, measures=())
    found, unmet = judge([gone], thresholds(["services.smtp.time=1"], ["9"], CHECKS))
    assert (found, unmet) == ([gone], ["", "services.smtp.time"])


@pytest.mark.parametrize(
    "text", ["", "x", "queue.oldest.age=", "queue.oldest.age=9:1", "dns.x.y=1", "=1", "queue=1"]
)
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        thresholds([text], [], CHECKS)


def test_an_object_may_hold_dots_and_equal_signs() -> None:
    odd = replace(FINE, object="a.b=c")
    assert judged([odd], warn=("services.a.b=c.time=0.1",))[0].severity is Severity.warning
