"""The day on which something ends, as a person names it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.errors import UsageError

if TYPE_CHECKING:
    from postmaster.directory.addresses import Keep

Until = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="Ends by itself: 2026-12-31 (with the day), 2026-12-31T18:00, 30d, 2w; none: never.",
    ),
]
_SPAN = re.compile(r"(\d{1,5}) ?([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def end_of(until: str | None) -> datetime | Keep | None:
    """What becomes of the end that a thing has: without the option it stays. Raises UsageError."""
    from postmaster.directory.addresses import KEEP

    return KEEP if until is None else parse_until(until)


def parse_until(text: str, now: datetime | None = None) -> datetime | None:
    """A moment to come, with UTC as its zone, to the second; None for `none`. Raises UsageError.

    A date alone ends with its day. Without a zone it is local time.
    """
    now = now or datetime.now(UTC)
    given = text.strip()
    if given == "none":
        return None
    try:
        if found := _SPAN.fullmatch(given):
            moment = now + int(found[1]) * _UNITS[found[2]]
        else:
            moment = datetime.fromisoformat(given)
            if _is_day(given):
                moment += timedelta(days=1)
        moment = moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text[:60]!r} is no date",
            hint="for example 2026-12-31, 2026-12-31T18:00 or 30d; none for no end",
        ) from None
    if moment <= now:
        raise UsageError(f"{text[:60]!r} is over already", hint="name a day to come, or none for no end")
    return moment


def _is_day(text: str) -> bool:
    """Whether a date has no time of day; there are more ways to write one than 2026-12-31."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
