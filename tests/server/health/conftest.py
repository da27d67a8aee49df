"""A lab that may be broken, and the proof of a fault: not there before, found while it lasts, gone after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from postmaster.health.finding import OK, Check, Finding, Last, Severity
from postmaster.health.run import choose, run
from postmaster.lab import lifecycle
from postmaster.settings import Settings
from tests.server.conftest import start_lab
from tests.tools.mail import PATIENCE, Lab


@pytest.fixture(scope="session")
def sick(place: Callable[[], Path]) -> Iterator[Lab]:
    """A lab that the tests of health share: they break it, and leave it well."""
    started = start_lab(place())
    yield started
    lifecycle.remove(started.root)


def once(cases: Sequence[tuple[Any, ...]], only: Iterable[str] = ()) -> list[Any]:
    """Parameters of a test: the first case of each code for every run, the others for the long one.

    With `only`, just the first cases of these codes are for every run.
    """
    seen: set[str] = {case[0] for case in cases} - set(only) if only else set()
    marked = []
    for number, case in enumerate(cases):
        marks = [pytest.mark.full] if case[0] in seen else []
        marked.append(pytest.param(*case, marks=marks, id=f"{case[0]}-{number}"))
        seen.add(case[0])
    return marked


class Runs:
    """Runs of the same checks, each told what the one before it saw."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        self._settings = settings
        self._checks: list[Check] = choose(names, [])
        self._last: Last | None = None

    def next(self) -> list[Finding]:
        begun = time.time()
        found = run(self._settings, self._checks, self._last)
        values = {(one.check, one.object, m.name): m.value for one in found for m in one.measures}
        self._last = Last(begun, values)
        return found


@contextmanager
def faulty(
    settings: Settings,
    checks: Sequence[str],
    code: str,
    object: str,
    fault: AbstractContextManager[object],
    *,
    severity: Severity = Severity.critical,
    allowed: Iterable[str] = (),
    patience: float = PATIENCE,
) -> Iterator[Finding]:
    """Compare health before, during and after a fault. Gives the finding, while the fault lasts.

    The code is not found at this object before; while `fault` is entered it comes within `patience`
    seconds, with this severity and a remedy; after it everything is as it was before. Meanwhile nothing
    else becomes critical, but what `allowed` names: patterns for `check/object/code`, as `services/imap*/*`.

    with faulty(lab.settings, ["services"], "service-down", "imap", stopped(lab), allowed=[…]) as found:
        assert "143" in found.message
    """
    runs = Runs(settings, checks)
    # What the fault before this one left, as in the log, may take a moment to end.
    before = _until(runs, lambda found: not _of(found, code, object), patience)
    assert not _of(before, code, object), f"{code} is there before the fault: {_words(before)}"
    with fault:
        during = _until(runs, lambda found: bool(_of(found, code, object)), patience)
        assert _of(during, code, object), f"{code} was not found at {object}: {_words(during)}"
        finding = _of(during, code, object)[0]
        assert finding.severity is severity, finding
        assert finding.remedy, finding
        new = _critical(during) - _critical(before) - {finding.problem}
        more = {p for p in new if not any(fnmatchcase("/".join(p), pattern) for pattern in allowed)}
        assert not more, f"more became critical: {more}: {_words(during)}"
        yield finding
    was = _problems(before)
    after = _until(runs, lambda found: _problems(found) <= was, patience)
    assert _problems(after) <= was, f"it did not end: {_words(after)}"


def _until(runs: Runs, wanted: Callable[[list[Finding]], bool], patience: float) -> list[Finding]:
    """The first run that has what is wanted, or the last one before patience ends."""
    ends = time.monotonic() + patience
    while not wanted(found := runs.next()) and time.monotonic() < ends:
        time.sleep(0.1)
    return found


def _of(found: Iterable[Finding], code: str, object: str) -> list[Finding]:
    return [one for one in found if (one.code, one.object) == (code, object)]


def _problems(found: Iterable[Finding]) -> set[tuple[str, str, str]]:
    return {one.problem for one in found if one.code != OK}


def _critical(found: Iterable[Finding]) -> set[tuple[str, str, str]]:
    return {one.problem for one in found if one.severity is Severity.critical}


def _words(found: Iterable[Finding]) -> str:
    return "; ".join(f"{'/'.join(one.problem)}: {one.message}" for one in found if one.code != OK) or "all ok"
