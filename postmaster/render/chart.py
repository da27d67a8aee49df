"""Bars, and lines cut to a width, for people: text alone, for a terminal or a plain file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import combining, east_asian_width

from postmaster.render.escape import printable

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(rows: Sequence[tuple[str, int]], width: int, *, unicode: bool = True) -> Iterator[str]:
    """A line for each (label, number): the label, a bar as long as the number is large, the number.

    No line is wider than `width` (at least the label and the number are shown).
    """
    labels = max((len(label) for label, _ in rows), default=0)
    numbers = max((len(str(number)) for _, number in rows), default=0)
    room = max(1, width - labels - numbers - 4)
    most = max((number for _, number in rows), default=0)
    for label, number in rows:
        drawn = bar(number, most, room, unicode=unicode)
        yield f"{label:>{labels}}  {drawn} {number}" if drawn else f"{label:>{labels}}  {number}"


def bar(value: float, largest: float, width: int = 30, *, unicode: bool = True) -> str:
    """A bar as long as the value's share of the largest; at least the thinnest: something is not nothing."""
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(min(1.0, value / largest) * width * 8))
    if not unicode:
        return "#" * max(1, eighths // 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def fit(text: str, width: int) -> str:
    """The text made safe, and cut to so many cells of a terminal; `…` stands where it was cut."""
    shown: list[str] = []
    cells = 0
    for character in printable(text[: 4 * max(width, 1)]):
        wide = _cells(character)
        if cells + wide > width:
            while shown and cells > width - 1:
                cells -= _cells(shown.pop())
            return "".join(shown) + ("…" if width > 0 else "")
        shown.append(character)
        cells += wide
    return "".join(shown)


def _cells(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
