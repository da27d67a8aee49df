"""Ranges as the monitoring plugins' guidelines have them: `10`, `10:`, `~:10`, `10:20`, `@10:20`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from postmaster.errors import UsageError

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"(@)?(?:(~|{_NUMBER}):)?({_NUMBER})?")


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` to `end`, both included. It alerts outside of it, with `inside` within it."""

    start: float = 0.0
    end: float = math.inf
    inside: bool = False

    def alerts(self, value: float) -> bool:
        return (self.start <= value <= self.end) is self.inside

    def __str__(self) -> str:
        start = "~:" if self.start == -math.inf else "" if self.start == 0 else f"{decimal(self.start)}:"
        end = "" if self.end == math.inf else decimal(self.end)
        if not end and not start:
            start = "0:"
        return ("@" if self.inside else "") + start + end


def decimal(value: float) -> str:
    """A number in digits, a point and a sign alone, as the guidelines have values and ranges."""
    text = f"{value:.15g}"
    if "e" not in text:
        return text
    from decimal import Decimal

    return format(Decimal(text), "f")


def parse_range(text: str) -> Range:
    """A range from its text. Raises UsageError."""
    found = _RANGE.fullmatch(text.strip())
    if found is not None and (found[2] or found[3]):
        start = -math.inf if found[2] == "~" else float(found[2] or 0)
        end = math.inf if found[3] is None else float(found[3])
        if start <= end:
            return Range(start, end, found[1] is not None)
    raise UsageError(
        f"{text!r} is not a range", hint="for example 10 (alert above 10), 10: (below 10), 5:10, @5:10"
    )


def at_most(value: float) -> Range:
    """Alerts above `value`: for what grows worse as it grows."""
    return Range(end=value)


def at_least(value: float) -> Range:
    """Alerts below `value`: for what grows worse as it shrinks."""
    return Range(start=value)
