"""The time stamps of mail logs as seconds since 1970.

Forms: `May 28 20:26:40` (no year, local time), ISO 8601 with or without a zone. The old form gets the
year that makes it the latest moment not after the log's own time (its last change), so New Year and leap
days come out right for any log that covers less than a year.
"""

from __future__ import annotations

import re
import time
from datetime import datetime

#: A time stamp at the beginning of a line.
STAMP = (
    r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
)
SLACK = 86_400.0  # seconds that a stamp may lie after the log's own time: clocks differ

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_match_stamp_bytes = re.compile(STAMP.encode(), re.ASCII).match


class Clock:
    """Reads time stamps. `reference` is the log's own time, in seconds since 1970."""

    def __init__(self, reference: float) -> None:
        self._reference = reference
        self._year = time.localtime(reference + SLACK).tm_year
        self._hours: dict[str, float | None] = {}

    def of_line(self, line: bytes) -> float | None:
        """When a line was written; None when it does not begin with a time stamp."""
        found = _match_stamp_bytes(line)
        return self.seconds(found[0].decode("ascii")) if found else None

    def seconds(self, stamp: str) -> float | None:
        """A time stamp as seconds since 1970; None when there is no such time."""
        if stamp[3] == " ":
            key, rest = stamp[:9], stamp[9:]
        else:
            key, rest = stamp[:13], stamp[13:]
        zone, fraction = "", 0.0
        if len(rest) > 6:
            tail = rest[6:]
            cut = max(tail.find("Z"), tail.find("+"), tail.find("-"))
            if cut >= 0:
                tail, zone = tail[:cut], tail[cut:]
            if len(tail) > 1:
                fraction = float(f"0.{tail[1:]}")
        hour = self._hours.get(key + zone, -1.0)
        if hour == -1.0:
            if len(self._hours) > 100_000:  # a log made to fill the memory
                self._hours.clear()
            hour = self._hours[key + zone] = self._hour(key, zone)
        minute, second = int(rest[1:3]), int(rest[4:6])
        if hour is None or minute > 59 or second > 60:
            return None
        return hour + 60 * minute + second + fraction

    def _hour(self, key: str, zone: str) -> float | None:
        try:
            if key[3] != " ":
                moment = datetime.fromisoformat(f"{key}:00:00{zone}")
                return moment.timestamp()
            month, day, hour = _MONTHS[key[:3]], int(key[4:6]), int(key[7:9])
        except (ValueError, KeyError, OverflowError, OSError):
            return None
        for year in range(self._year, self._year - 9, -1):  # nine: from one leap day to the next over 1900
            try:
                moment = datetime(year, month, day, hour)
            except ValueError:
                continue
            seconds = moment.timestamp()
            if seconds <= self._reference + SLACK:
                return seconds
        return None
