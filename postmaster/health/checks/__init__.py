"""The checks, one module for each: `MEANING`, `CODES` and `run(context)`, a generator of findings.

A module is loaded when its check is chosen.
"""

from __future__ import annotations

from importlib import import_module

from postmaster.health.finding import FAILED, NO_ANSWER, OK, Check

#: In the order of the report.
NAMES = ("services", "queue", "directory", "machine")

#: What every check may find.
COMMON_CODES = {
    OK: "nothing is wrong",
    NO_ANSWER: "the check did not end before its deadline",
    FAILED: "the check could not be made",
}


def load(name: str) -> Check:
    module = import_module(f"postmaster.health.checks.{name.replace('-', '_')}")
    return Check(name, module.MEANING, module.CODES, module.run)
