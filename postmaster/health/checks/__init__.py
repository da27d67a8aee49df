"""The checks, a module for each: `MEANING`, `CODES`, `SETTINGS` and `run(context)`, a generator of findings.

A module is loaded when its check is chosen.
"""

from __future__ import annotations

from importlib import import_module

from postmaster.health.finding import FAILED, NO_ANSWER, OK, THRESHOLD, Check

#: In the order of the report.
NAMES = (
    *("services", "processes", "round-trip", "certificates", "queue", "directory", "dns", "webmail"),
    "machine",
)

#: What every check may find.
COMMON_CODES = {
    OK: "nothing is wrong",
    NO_ANSWER: "the check did not end before its deadline",
    FAILED: "the check could not be made",
    THRESHOLD: "a measure is outside of the range that --warn or --crit gave",
}


def load(name: str) -> Check:
    module = import_module(f"postmaster.health.checks.{name.replace('-', '_')}")
    return Check(name, module.MEANING, module.CODES, module.run, module.SETTINGS)
