"""The log in figures for a digest: a period, the same of a week before, and whole days as they were kept.

Days are local ones, as a person counts them. A whole day's figures are kept in the state of health checks,
so that a comparison with the week before outlives the rotation of logs. A day is kept only when the log
reaches back beyond its beginning: half a day would make the next one look twice as busy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, time, timedelta
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any

from postmaster.errors import NotFoundError, RightsError
from postmaster.settings import Settings

if TYPE_CHECKING:
    from postmaster.trace.figures import Figures
    from postmaster.trace.sources import Source

WEEK = 7 * 86_400
TOP = 5  # names of each list
LOOK = 500  # names that are looked at for it


@dataclass(frozen=True, slots=True)
class Statistics:
    """A period, and the same one of a week before where anything is known of it. Seconds since the epoch.

    `days`: what is kept of whole days, by their dates. `learnt`: what of it is new and should be kept.
    `problems`: what could not be read; figures are then too small or none.
    """

    since: float
    until: float
    figures: Figures | None
    before: Figures | None = None
    days: Mapping[date, Figures] = field(default_factory=dict)
    learnt: Mapping[date, Figures] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def of_day(settings: Settings, day: date, kept: Mapping[date, Figures]) -> Statistics:
    """A day and the same weekday before it."""
    before = day - timedelta(weeks=1)
    learnt: dict[date, Figures] = {}
    figures = kept.get(day)
    problems: tuple[str, ...] = ()
    try:
        logs = _logs(settings)
        if figures is None:
            figures, problems = _figures(logs, *bounds(day))
            if figures is not None and not problems and _reaches(logs, bounds(day)[0]):
                learnt[day] = figures
        if before not in kept and _reaches(logs, bounds(before)[0]):
            earlier, lost = _figures(logs, *bounds(before))
            if earlier is not None and not lost:
                learnt[before] = earlier
    except (NotFoundError, RightsError) as error:
        problems = () if figures is not None else (error.message,)
    known = {**kept, **learnt}
    return Statistics(*bounds(day), figures, known.get(before), known, learnt, problems)


def of_period(settings: Settings, since: float, until: float, kept: Mapping[date, Figures]) -> Statistics:
    """A period and the one of the same length so many weeks before that they do not overlap."""
    back = WEEK * max(1, ceil((until - since) / WEEK))
    try:
        logs = _logs(settings)
        figures, problems = _figures(logs, since, until)
        reached = _reaches(logs, since - back)
        before = _figures(logs, since - back, until - back)[0] if reached else None
    except (NotFoundError, RightsError) as error:
        return Statistics(since, until, None, days=kept, problems=(error.message,))
    return Statistics(since, until, figures, before, kept, problems=problems)


def bounds(day: date) -> tuple[float, float]:
    """When a local day begins and ends."""
    begin, end = (datetime.combine(day + timedelta(days=more), time.min) for more in (0, 1))
    return begin.timestamp(), end.timestamp()


def as_json(figures: Figures) -> str:
    return json.dumps(asdict(replace(figures, problems=())), ensure_ascii=True)


def from_json(text: str) -> Figures | None:
    """Kept figures; None where they are damaged, or of another program."""
    from postmaster.trace.figures import Figures, Named

    try:
        values: dict[str, Any] = json.loads(text)
        for key in ("senders", "failed_logins", "failed_clients"):
            values[key] = tuple(Named(str(one["name"]), int(one["count"])) for one in values[key])
        values["problems"] = ()
        return Figures(**{one.name: values[one.name] for one in fields(Figures)})
    except (ValueError, TypeError, KeyError):
        return None


def _logs(settings: Settings) -> list[list[Source]]:
    from postmaster.trace.sources import find

    return find(settings)


def _figures(
    logs: Sequence[Sequence[Source]], since: float, until: float
) -> tuple[Figures | None, tuple[str, ...]]:
    """The figures of a period, None where the log begins after it; and what could not be read.

    The mailboxes of the round trip are not among the names: nobody writes from there, and every few minutes
    there is another one.
    """
    from postmaster.directory.probe import is_probe
    from postmaster.trace.figures import of_logs
    from postmaster.trace.sources import Period

    found = of_logs(logs, Period(since, until), LOOK)
    if not found.lines and not found.problems and not _reaches(logs, until):
        return None, ("the log begins after that",)
    people = [one for one in found.senders if not is_probe(one.name)]
    cut = replace(
        found,
        senders=tuple(people[:TOP]),
        failed_logins=found.failed_logins[:TOP],
        failed_clients=found.failed_clients[:TOP],
    )
    return cut, found.problems


def _reaches(logs: Sequence[Sequence[Source]], since: float) -> bool:
    """Whether a log has a line from before that moment."""
    from postmaster.trace.blocks import blocks
    from postmaster.trace.sources import Notes, Period, within

    before = Period(None, since)
    for source in chain.from_iterable(within(log, before) for log in logs):
        if source.is_plain:
            return True  # cut to the lines before it, and not empty
        found = blocks(source, before, Notes())
        with closing(found):
            if next(found, None) is not None:
                return True
    return False
