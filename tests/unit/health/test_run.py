"""Checks run at once; one that hangs or fails costs itself alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from postmaster.errors import ServerError, UsageError
from postmaster.health.checks import CHECKS
from postmaster.health.finding import Check, Finding, Severity, worst
from postmaster.health.run import choose, run
from postmaster.settings import Settings

QUICK = replace(Settings(), health=replace(Settings().health, deadline=0.3))


def finding(severity: Severity) -> Finding:
    return Finding("x", "y", severity, "z")


def fine(_: Settings) -> list[Finding]:
    return [finding(Severity.ok)]


def test_a_check_that_hangs_costs_its_deadline_and_not_the_report() -> None:
    gate = threading.Event()

    def hang(_: Settings) -> list[Finding]:
        gate.wait(30)
        return []

    try:
        found = run(QUICK, [Check("hangs", "", hang), Check("fine", "", fine)])
    finally:
        gate.set()
    assert [(f.check, f.severity) for f in found] == [("hangs", Severity.unknown), ("x", Severity.ok)]
    assert "no answer within 0.3 s" in found[0].message


def test_a_check_that_fails_is_unknown_with_its_reason() -> None:
    def refused(_: Settings) -> list[Finding]:
        raise ServerError("no server", hint="start it")

    def broken(_: Settings) -> list[Finding]:
        raise ZeroDivisionError("oops")

    found = run(QUICK, [Check("refused", "", refused), Check("broken", "", broken)])
    assert [f.severity for f in found] == [Severity.unknown] * 2
    assert (found[0].message, found[0].remedy) == ("no server", "start it")
    assert "ZeroDivisionError: oops" in found[1].message


def test_checks_are_chosen_by_name() -> None:
    names = [check.name for check in CHECKS]
    assert [check.name for check in choose([], [])] == names
    assert [check.name for check in choose(["disk"], [])] == ["disk"]
    assert [check.name for check in choose([], ["disk"])] == [name for name in names if name != "disk"]
    for given in ((["dsk"], []), ([], ["dsk"]), (["disk"], ["disk"])):
        with pytest.raises(UsageError):
            choose(*given)


def test_unknown_hides_neither_warning_nor_critical() -> None:
    ok, warning, critical, unknown = map(finding, Severity)
    assert worst([ok, unknown]) is Severity.unknown
    assert worst([unknown, warning]) is Severity.warning
    assert worst([warning, critical, unknown]) is Severity.critical
    assert worst([]) is Severity.unknown
