"""The digest: what is wrong, what changed since the last one that was sent, and the log in figures.

It runs the checks and keeps the run, as `health check` does. A digest that was only looked at changes nothing
of what the next one will say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, timedelta

from postmaster.errors import PostmasterError
from postmaster.health import record
from postmaster.health.changes import Event
from postmaster.health.finding import Check
from postmaster.health.report import Report
from postmaster.health.state import DAY, open_state
from postmaster.health.statistics import Statistics, as_json, from_json, of_day, of_period
from postmaster.settings import Settings

PATIENCE = 120.0  # seconds to wait for another run of the checks: the timers' may begin at the same moment


@contextmanager
def digest(
    settings: Settings,
    checks: Sequence[Check],
    since: float | None = None,
    progress: Callable[[str], None] = lambda _text: None,
) -> Iterator[Report]:
    """The report with statistics: of yesterday, or from `since` until now.

    Other runs of the checks wait while the body runs. Raises BusyError when another one does not end.
    """
    now = time.time()
    try:
        with open_state(settings.state) as state:
            last, kept = state.digested(), state.days()
    except PostmasterError:
        last, kept = None, {}  # the run of the checks says what is wrong with the state
    progress("reading the log")
    statistics = _statistics(settings, since, now, kept)
    if statistics.learnt:
        with suppress(PostmasterError), open_state(settings.state) as state:
            state.keep_days({day.isoformat(): as_json(found) for day, found in statistics.learnt.items()})
    progress("running the checks")
    with record.report(settings, checks, record.Wish(charts=True, patience=PATIENCE)) as report:
        begin = since if since is not None else last if last is not None else now - DAY
        yield replace(report, events=_changes(settings, report, begin), statistics=statistics)


def sent(settings: Settings, report: Report) -> None:
    """The reader has this digest: the next one begins where it ends. Raises StateError, RightsError."""
    with open_state(settings.state) as state:
        state.digest_sent(report.time)


def _statistics(settings: Settings, since: float | None, now: float, kept: dict[str, str]) -> Statistics:
    days = {}
    for day, text in kept.items():
        with suppress(ValueError):
            if (found := from_json(text)) is not None:
                days[date.fromisoformat(day)] = found
    if since is not None:
        return of_period(settings, since, now, days)
    return of_day(settings, datetime.fromtimestamp(now).date() - timedelta(days=1), days)


def _changes(settings: Settings, report: Report, since: float) -> tuple[Event, ...]:
    """What changed, of each problem the last; what is acknowledged is silent."""
    try:
        with open_state(settings.state) as state:
            events = state.events(since=since)
    except PostmasterError:
        return ()
    known = {one.finding.problem for one in report.problems if not one.open}
    last = {event.finding.problem: event for event in events}
    return tuple(event for problem, event in last.items() if problem not in known)
