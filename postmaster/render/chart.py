"""Bars made of text, for a terminal."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(value: float, largest: float, width: int = 30) -> str:
    """A bar as long as the value's share of the largest, in eighths of a character; never empty above 0."""
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(min(1.0, value / largest) * width * 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
