"""One run of the checks from its beginning to its report: made, kept, and marked as told.

What goes wrong with the state never costs the report, and never makes one up: it says that the run was not
kept. Where only changes are told, that is told once a day, with all that is wrong then.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from postmaster.errors import PostmasterError
from postmaster.health.alone import BusyError, Lock, alone, news_of_stuck
from postmaster.health.changes import Acknowledgement, Event, Known, Problem, step, tell
from postmaster.health.finding import Check, Finding, Last, Severity, worst
from postmaster.health.report import Missed, Report, Reported, Series
from postmaster.health.run import run
from postmaster.health.state import DAY, State, open_state, storable
from postmaster.settings import Settings

CHARTS = 30 * DAY  # how far back charts go


@dataclass(frozen=True, slots=True)
class Wish:
    """What a report shall hold. `changes`: what is new alone. `every`: seconds after which a timer promised
    the next run, None where a person asks. `charts`: the history of measures too. `patience`: seconds to wait
    for another run to end."""

    changes: bool = False
    every: float | None = None
    charts: bool = False
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class _Run:
    """What was found, and how."""

    settings: Settings
    checks: Sequence[str]
    findings: Sequence[Finding]
    at: float
    took: float
    wish: Wish


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the state adds to a run; nothing where there is none."""

    known: Mapping[Problem, Known] = field(default_factory=dict)
    acknowledged: Mapping[Problem, Acknowledgement] = field(default_factory=dict)
    events: tuple[Event, ...] | None = None
    missed: Missed | None = None
    series: tuple[Series, ...] = ()

    def reported(self, finding: Finding, at: float) -> Reported:
        """The finding with how long it has lasted and who knows of it."""
        known, given = self.known.get(finding.problem), self.acknowledged.get(finding.problem)
        if finding.severity is Severity.ok or known is None:
            return Reported(finding)
        return Reported(
            finding, known.since, given if given is not None and given.holds(finding.severity, at) else None
        )


@contextmanager
def report(
    settings: Settings,
    checks: Sequence[Check],
    wish: Wish | None = None,
    judged: Callable[[Sequence[Finding]], Sequence[Finding]] = tuple,
) -> Iterator[Report]:
    """Run the checks, keep the run, and hand out the report; once it was handed on, its changes are told.

    An exception in the body leaves them untold, for the next run. `judged` changes what is reported, not
    what is kept. Raises BusyError while another run is under way; where that one does not end, a report that
    shall tell changes tells so, once a day.
    """
    wish = wish or Wish()
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(alone(settings.state, wish.patience))
        except BusyError as error:
            at = time.time()
            if not (wish.changes and error.is_stuck and news_of_stuck(settings.state, at)):
                raise
            host = settings.server.hostname or socket.gethostname()
            yield Report(at, host, 0.0, (), events=(), notes=(f"{error.message}: {error.hint}",))
            return
        state: State | None = None
        last: Mapping[str, Last] = {}
        note = None
        try:
            state, last = _opened(settings, lock, stack)
        except PostmasterError as error:
            note = _note(error)
        at, begun = time.time(), time.monotonic()
        findings = [storable(one) for one in run(settings, checks, last)]
        names = [check.name for check in checks]
        made = _Run(settings, names, findings, at, time.monotonic() - begun, wish)
        memory = _Memory()
        if state is not None:
            try:
                memory = _kept(state, made)
            except PostmasterError as error:
                note = _note(error)
                with suppress(PostmasterError):
                    memory = _remembered(state, made)
        result = Report(
            *(at, settings.server.hostname or socket.gethostname(), made.took),
            tuple(memory.reported(one, at) for one in judged(findings)),
            events=memory.events,
            missed=memory.missed,
            notes=() if note is None else (note,),
            series=memory.series,
        )
        if note is not None and wish.changes and not _complains(lock, at):
            result = replace(result, events=(), notes=())
        yield result
        if note is None and state is not None and lock is not None:
            lock.complain(0)
            if wish.changes and (not result.quiet or memory.acknowledged):
                state.told(at)


def _opened(settings: Settings, lock: Lock | None, stack: ExitStack) -> tuple[State, Mapping[str, Last]]:
    if lock is None:
        # Without it two runs could keep themselves at once.
        raise PostmasterError(f"{settings.state.directory} may not be written")
    state = stack.enter_context(open_state(settings.state))
    return state, state.last(time.time())


def _kept(state: State, made: _Run) -> _Memory:
    limits, wish = made.settings.health, made.wish
    state.keep(
        *(made.findings, made.checks),
        at=made.at,
        took=made.took,
        status=worst(made.findings),
        every=wish.every,
        flap=limits.flap,
        days=limits.history_days,
    )
    events, gap = state.changes(made.at) if wish.changes else (None, None)
    is_read = events is None or events or gap is not None
    return _Memory(
        state.known(),
        state.acknowledgements(made.at),
        None if events is None else tuple(events),
        None if gap is None else Missed(*gap, _booted(gap[0], gap[1])),
        tuple(state.series(made.at - CHARTS)) if wish.charts and is_read else (),
    )


def _remembered(state: State, made: _Run) -> _Memory:
    """What would be known if the run could have been kept."""
    given = state.acknowledgements(made.at)
    known, _ = step(state.known(), made.findings, made.checks, made.at, made.settings.health.flap)
    events = tuple(tell(known, given, made.at)[0]) if made.wish.changes else None
    return _Memory(known, given, events)


def _note(error: PostmasterError) -> str:
    return f"this run is not kept: {error.message}" + (f" ({error.hint})" if error.hint else "")


def _complains(lock: Lock | None, at: float) -> bool:
    """Whether the reader shall be told that runs are not kept: once a day. Notes that it was."""
    return lock is None or lock.complains(at)


def _booted(since: float, until: float) -> float | None:
    """When the machine was started, where it was between two moments."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            if line.startswith("btime "):
                at = float(line.split()[1])
                return at if since < at < until else None
    return None
