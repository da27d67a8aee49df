"""Checks run at once; one that hangs or fails costs itself alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from postmaster.errors import ServerError, UsageError
from postmaster.health.checks import NAMES
from postmaster.health.finding import Check, Context, Finding, Severity, worst
from postmaster.health.run import choose, run
from postmaster.settings import Settings

QUICK = replace(Settings(), health=replace(Settings().health, deadline=0.3))


def finding(severity: Severity) -> Finding:
    return Finding("x", "y", "code", severity, "z")


def fine(_: Context) -> list[Finding]:
    return [finding(Severity.ok)]


def test_a_check_that_hangs_costs_its_deadline_and_not_the_report() -> None:
    gate = threading.Event()

    def hang(_: Context) -> list[Finding]:
        gate.wait(30)
        return []

    try:
        found = run(QUICK, [Check("hangs", "", {}, hang), Check("fine", "", {}, fine)])
    finally:
        gate.set()
    assert [(f.check, f.severity) for f in found] == [("hangs", Severity.unknown), ("x", Severity.ok)]
    assert "no end within 0.3 s" in found[0].message


def test_what_was_found_before_the_deadline_counts() -> None:
    gate = threading.Event()

    def hang(_: Context) -> Iterator[Finding]:
        yield finding(Severity.critical)
        gate.wait(30)

    try:
        found = run(QUICK, [Check("hangs", "", {}, hang)])
    finally:
        gate.set()
    assert [f.code for f in found] == ["code", "no-answer"]


def test_a_check_that_fails_is_unknown_with_its_reason() -> None:
    def refused(_: Context) -> list[Finding]:
        raise ServerError("no server", hint="start it")

    def broken(_: Context) -> list[Finding]:
        raise ZeroDivisionError("oops")

    found = run(QUICK, [Check("refused", "", {}, refused), Check("broken", "", {}, broken)])
    assert [f.severity for f in found] == [Severity.unknown] * 2
    assert (found[0].message, found[0].remedy) == ("no server", "start it")
    assert "ZeroDivisionError: oops" in found[1].message


def test_checks_are_chosen_by_name() -> None:
    names = list(NAMES)
    assert [check.name for check in choose([], [])] == names
    assert [check.name for check in choose(["machine"], [])] == ["machine"]
    assert [check.name for check in choose([], ["machine"])] == [name for name in names if name != "machine"]
    for given in ((["machin"], []), ([], ["machin"]), (["machine"], ["machine"])):
        with pytest.raises(UsageError):
            choose(*given)


def test_unknown_hides_neither_warning_nor_critical() -> None:
    ok, warning, critical, unknown = map(finding, Severity)
    assert worst([ok, unknown]) is Severity.unknown
    assert worst([unknown, warning]) is Severity.warning
    assert worst([warning, critical, unknown]) is Severity.critical
    assert worst([]) is Severity.unknown
