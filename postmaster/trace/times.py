"""The moments that a person names, as seconds since 1970."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from postmaster.errors import UsageError

_RELATIVE = re.compile(r"(\d{1,6}) ?(s|m|min|h|d|w)", re.ASCII)
_LATEST = 253_402_214_400.0  # 9999-12-31: every zone has a date for it
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str, now: float) -> float:
    """A moment as a person names it, in seconds since 1970. Raises UsageError.

    `today`, `yesterday`, `now`, `2h` (ago; s, m, h, d, w), `20:15` (today), `2026-05-28`,
    `2026-05-28 20:15`, `2026-05-28T20:15:00Z`. Without a zone it is local time.
    """
    given = text.strip()
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    if given == "now":
        return now
    if given == "today":
        return midnight.timestamp()
    if given == "yesterday":
        return (midnight - timedelta(days=1)).timestamp()
    if found := _RELATIVE.fullmatch(given):
        return _known(now - int(found[1]) * _UNITS[found[2]])
    try:
        if re.fullmatch(r"\d\d:\d\d(:\d\d)?", given, re.ASCII):
            parts = [int(part) for part in given.split(":")]
            return midnight.replace(hour=parts[0], minute=parts[1], second=(*parts, 0)[2]).timestamp()
        return _known(datetime.fromisoformat(given).timestamp())
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text[:60]!r} is no time", hint="use today, yesterday, 2h, 3d, 2026-05-28 or 2026-05-28T20:15"
        ) from None


def _known(seconds: float) -> float:
    """The same moment, or the first or last that a date can be made of."""
    return min(max(0.0, seconds), _LATEST)
