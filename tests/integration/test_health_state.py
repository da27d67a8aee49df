"""What is kept from run to run, on a real SQLite file: whole or not at all, small, and never in the way."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from postmaster.errors import RightsError
from postmaster.health import measures, problems, uptime
from postmaster.health import state as module
from postmaster.health.alone import LOCK, BusyError, alone
from postmaster.health.changes import Acknowledgement, Change, Event
from postmaster.health.finding import NO_ANSWER, OK, Check, Context, Finding, Measure, Severity
from postmaster.health.record import Wish, report
from postmaster.health.report import Report
from postmaster.health.state import DAY, HOUR, State, StateError, open_state, storable
from postmaster.health.uptime import STANDS, Uptime
from postmaster.settings import Settings, StateSettings

JANUARY = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def finding(
    severity: Severity = Severity.warning,
    value: float | None = None,
    name: str = "size",
    check: str = "queue",
) -> Finding:
    measures = () if value is None else (Measure("messages", value),)
    return Finding(check, name, "bad" if severity else OK, severity, "measured", None, measures)


def keep(
    state: State,
    findings: Sequence[Finding],
    at: float,
    *,
    checks: Sequence[str] = ("queue",),
    every: float | None = 300.0,
    flap: int = 1,
    days: int = 400,
) -> list[Event]:
    status = max((one.severity for one in findings), default=Severity.ok)
    return state.keep(findings, checks, at=at, took=0.1, status=status, every=every, flap=flap, days=days)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(StateSettings(tmp_path)) as opened:
        yield opened


# What a run leaves


def test_it_is_roots_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_state(StateSettings(tmp_path)), alone(StateSettings(tmp_path)):
            pass
    finally:
        os.umask(before)
    for name in (module.FILE, LOCK):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_next_run_knows_what_the_last_measured(state: State) -> None:
    assert state.last(1e10) == {}
    keep(state, [finding(Severity.ok, 3), finding(Severity.ok, 9, check="dns")], 100, checks=("queue", "dns"))
    keep(state, [finding(Severity.ok, 4)], 200)
    last = state.last(1e10)
    assert (last["queue"].at, dict(last["queue"].values)) == (200, {("queue", "size", "messages"): 4})
    assert (last["dns"].at, dict(last["dns"].values)) == (100, {("dns", "size", "messages"): 9})


def test_a_check_that_did_not_end_leaves_what_it_knew(state: State) -> None:
    """What happened since its last whole run is still to be looked at."""
    keep(state, [finding(Severity.ok, 3)], 100)
    keep(
        state, [finding(Severity.ok, 7), Finding("queue", "check", NO_ANSWER, Severity.unknown, "late")], 200
    )
    assert state.last(1e10)["queue"].at == 100
    keep(state, [], 300)
    assert dict(state.last(1e10)["queue"].values) == {}, "an object that is gone has no value"


def test_a_clock_that_was_set_back_leaves_no_run_in_the_future(state: State) -> None:
    keep(state, [finding(Severity.ok, 3)], 1000)
    assert state.last(600)["queue"].at == 600
    keep(state, [finding(Severity.critical, 3)], 600)
    keep(state, [finding(Severity.ok, 3)], 700)
    assert state.changes(700) == ([], None)
    assert state.uptimes() == [Uptime("1970-01", "queue", "size", 0, 100)]


def test_changes_stay_untold_until_they_were_told(state: State) -> None:
    assert [event.change for event in keep(state, [finding()], 100)] == [Change.began]
    for _ in range(2):
        events, gap = state.changes(150)
        assert ([event.change for event in events], gap) == ([Change.began], None)
    state.told(150)
    assert state.changes(150) == ([], None)
    keep(state, [finding(Severity.critical)], 200)
    keep(state, [], 300)
    keep(state, [finding()], 400)
    assert state.changes(400) == ([], None), "what came and went untold is not told"
    assert [event.change for event in state.events()] == ["began", "worse", "ended", "began"]
    assert [event.at for event in state.events(since=300)] == [300, 400]
    assert state.events("dns") == []


def test_a_gap_of_the_timer_is_told_once(state: State) -> None:
    keep(state, [], 1000)
    keep(state, [], 1300)
    keep(state, [], 1350, every=None)
    keep(state, [], 1901)
    assert state.changes(1901)[1] == (1300, 1901, 300)
    state.told(1901)
    keep(state, [], 2500)
    assert state.changes(2500)[1] is None, "twice the time is not too late"


def test_acknowledgements_hold_until_their_date_or_until_it_gets_worse(state: State) -> None:
    known = Acknowledgement("queue", "size", "bad", Severity.warning, 1000, "new disk", "amy", 100)
    keep(state, [finding()], 100)
    state.acknowledge([known])
    assert state.acknowledgements(999) == {known.problem: known}
    assert state.acknowledgements(1000) == {}
    assert state.changes(200) == ([], None)
    state.told(200)
    keep(state, [finding(Severity.critical)], 300)
    assert [event.change for event in state.changes(300)[0]] == [Change.worse]
    state.told(300)
    assert state.acknowledgements(300) == {}, "it got worse than what was known"
    state.acknowledge([replace(known, severity=Severity.critical)])
    state.unacknowledge([known.problem])
    assert state.acknowledgements(300) == {}


def test_an_acknowledged_problem_speaks_on_its_date(state: State) -> None:
    keep(state, [finding()], 100)
    state.told(100)
    state.acknowledge([Acknowledgement("queue", "size", "bad", Severity.warning, 1000, "", "amy", 150)])
    for at in (200, 999):
        assert state.changes(at) == ([], None)
        state.told(at)
    events, _ = state.changes(1000)
    assert [(event.change, event.since) for event in events] == [(Change.began, 100)]


# How long services were up


def test_what_a_run_found_counts_until_the_next(state: State) -> None:
    for at, severity in ((0, 0), (300, 2), (600, 0), (900, 3), (1200, 1), (1500, 0)):
        keep(state, [finding(Severity(severity))], JANUARY + at)
    (found,) = state.uptimes(["queue"])
    assert found == Uptime("2026-01", "queue", "size", 900, 1200)
    assert state.uptimes(["dns"]) == []


def test_what_no_run_saw_is_not_known(state: State) -> None:
    keep(state, [finding(Severity.ok)], JANUARY)
    keep(state, [finding(Severity.ok)], JANUARY + DAY)
    assert state.uptimes()[0].known == STANDS
    keep(state, [finding(Severity.ok)], JANUARY + 2 * DAY, every=4 * HOUR)
    assert state.uptimes()[0].known == STANDS + 8 * HOUR


def test_time_belongs_to_its_month(state: State) -> None:
    february = datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    for at in (february - 100, february + 200):
        keep(state, [finding(Severity.critical)], at)
    assert [(one.month, one.up, one.known) for one in state.uptimes()] == [
        ("2026-01", 0, 100),
        ("2026-02", 0, 200),
    ]


# It stays small


def test_values_become_hours_and_days(state: State) -> None:
    for hour in range(0, 40 * 24, 6):
        for minute in (0, 30):
            keep(state, [finding(Severity.ok, hour + minute / 30)], JANUARY + hour * HOUR + minute * 60)
    end = JANUARY + 40 * DAY
    (series,) = state.series(0, points=100_000)
    assert [point.at for point in series.points] == sorted({point.at for point in series.points})
    ages = [end - point.at for point in series.points]
    assert len([age for age in ages if age <= 2 * DAY]) >= 2 * 8
    days, hours = [age for age in ages if age > 31 * DAY], [age for age in ages if 3 * DAY < age < 30 * DAY]
    assert len(days) == 9
    assert len(hours) == pytest.approx(27 * 4, abs=2)
    first = series.points[0]
    assert (first.at, first.lowest, first.highest) == (JANUARY, 0, 19)
    assert first.value == pytest.approx(sum(h + m for h in range(0, 24, 6) for m in (0, 1)) / 8)
    few = state.series(0, points=10)[0].points
    assert len(few) <= 10
    assert (few[0].lowest, few[-1].highest) == (0, series.points[-1].highest)


def test_what_is_too_old_is_forgotten(state: State) -> None:
    keep(state, [finding(value=1), finding(name="gone", value=1)], JANUARY)
    keep(state, [finding(value=1)], JANUARY + 20 * DAY, days=10)
    assert [series.object for series in state.series(0)] == ["size"]
    assert [event.finding.object for event in state.events()] == ["gone"], "it ended in this run"
    assert [one.month for one in state.uptimes()] == ["2026-01"], "a month is forgotten as a whole"
    keep(state, [finding(value=1)], JANUARY + 60 * DAY, days=10)
    assert state.uptimes() == []


def test_every_table_has_its_bound(state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(problems, "PROBLEMS", 20)
    monkeypatch.setattr(problems, "EVENTS", 30)
    monkeypatch.setattr(measures, "FOLLOWED", 20)
    monkeypatch.setattr(measures, "VALUES", 50)
    monkeypatch.setattr(uptime, "FOLLOWED", 20)
    for run in range(60):
        keep(state, [finding(value=1, name=f"{run} {n}") for n in range(30)], JANUARY + run * HOUR)
    with closing(sqlite3.connect(tmp_path / module.FILE)) as connection:
        for table, most in (
            *(("series", 20), ("problem", 20), ("standing", 20)),
            *(("event", 30 + 60), ("value", 50 + 20), ("run", 60)),
        ):
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert 0 < count <= most, table


# What may be wrong with it


def well(_: Context) -> list[Finding]:
    return [finding(Severity.ok, 1)]


def ill(_: Context) -> list[Finding]:
    return [finding(Severity.critical, 1)]


def made(settings: Settings, check: object = ill, **wish: object) -> Report:
    checks = [Check("queue", "", {}, check)]  # type: ignore[arg-type]
    with report(settings, checks, Wish(**wish)) as result:  # type: ignore[arg-type]
        return result


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), state=StateSettings(tmp_path / "state"))


def test_changes_are_told_once_they_were_handed_on(settings: Settings) -> None:
    assert made(settings, changes=True).quiet
    with (
        pytest.raises(BrokenPipeError),
        report(settings, [Check("queue", "", {}, ill)], Wish(changes=True)) as first,
    ):
        raise BrokenPipeError
    again, third = made(settings, changes=True), made(settings, changes=True)
    for one in (first, again):
        assert [event.change for event in one.events or ()] == [Change.began]
    assert third.quiet
    assert third.findings[0].since == first.findings[0].since is not None


def test_a_state_of_a_newer_version_is_left_alone_and_the_report_comes(settings: Settings) -> None:
    made(settings)
    file = settings.state.directory / module.FILE
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("DROP TABLE run")
        connection.commit()
    before = file.read_bytes()
    told = made(settings)
    assert "version 99" in told.notes[0]
    assert told.status is Severity.critical
    with pytest.raises(StateError, match="version 99"), open_state(settings.state):
        pass
    assert file.read_bytes() == before
    first, second = made(settings, changes=True), made(settings, changes=True)
    assert first.events is None, "what changed cannot be known: all that is wrong is told"
    assert "version 99" in first.notes[0]
    assert second.quiet, "and once a day"


def test_a_damaged_state_costs_no_report(settings: Settings) -> None:
    settings.state.directory.mkdir()
    (settings.state.directory / module.FILE).write_bytes(b"no database at all" * 100)
    told = made(settings)
    assert "this run is not kept" in told.notes[0]
    assert "moved away" in told.notes[0]
    assert told.status is Severity.critical


def test_a_state_that_works_again_may_complain_again(settings: Settings) -> None:
    made(settings)
    file, aside = settings.state.directory / module.FILE, settings.state.directory / "aside"
    for _ in range(2):
        file.rename(aside)
        file.write_bytes(b"x" * 5000)
        assert made(settings, changes=True).notes
        assert made(settings, changes=True).quiet
        aside.replace(file)
        assert not made(settings, changes=True).notes


def test_a_state_that_may_not_be_written_costs_no_report(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = made(replace(settings, state=StateSettings(tmp_path / "file" / "below")))
    assert "may not be written" in told.notes[0]
    assert told.status is Severity.critical


def test_the_state_is_no_link(settings: Settings, tmp_path: Path) -> None:
    settings.state.directory.mkdir()
    (settings.state.directory / module.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError), open_state(settings.state):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_two_runs_at_once(settings: Settings) -> None:
    """The second ends, with how mail was: a monitoring system sees no change that is none."""
    with alone(settings.state), pytest.raises(BusyError) as nothing, alone(settings.state):
        pass
    assert nothing.value.plugin_status == 3
    made(settings)
    with alone(settings.state), pytest.raises(BusyError, match="mail was critical") as told:
        made(settings, well)
    assert told.value.plugin_status == 2
    with open_state(settings.state) as state:
        last = state.last_run()
    assert last is not None
    assert last.status is Severity.critical


def test_who_is_patient_waits_for_the_other_run(settings: Settings) -> None:
    begun = threading.Event()

    def hold() -> None:
        with alone(settings.state):
            begun.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    begun.wait(10)
    assert made(settings, patience=30.0).status is Severity.critical
    other.join()


def test_the_lock_is_let_go_of(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), report(settings, [Check("queue", "", {}, ill)]):
        raise ZeroDivisionError
    with (settings.state.directory / LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_child_that_was_left_behind_does_not_keep_the_lock(settings: Settings) -> None:
    with alone(settings.state):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with alone(settings.state):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_missed_run_is_told(settings: Settings) -> None:
    made(settings, every=300.0)
    with closing(sqlite3.connect(settings.state.directory / module.FILE)) as connection, connection:
        connection.execute("UPDATE run SET at = at - 5000")
    told = made(settings, well, every=300.0, changes=True)
    assert told.missed is not None
    assert told.missed.until - told.missed.since == pytest.approx(5000, abs=60)
    assert made(settings, well, every=300.0, changes=True).missed is None


TEXTS = st.text(st.characters(), max_size=30) | st.text(max_size=3000)


@given(
    st.lists(
        st.builds(
            lambda item, message, remedy, severity, name, value: Finding(
                *("queue", item, "bad" if severity else OK, severity, message, remedy),
                (Measure(name, value),),
            ),
            TEXTS,
            TEXTS,
            st.none() | TEXTS,
            st.sampled_from(list(Severity)),
            st.sampled_from(["a", "b"]),
            st.floats(),
        ),
        max_size=4,
    )
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_whatever_a_check_finds_can_be_kept(state: State, findings: list[Finding]) -> None:
    at = time.time()
    kept = [storable(one) for one in findings]
    keep(state, kept, at)
    known = state.known()
    for one in kept:
        assert storable(one) == one
        if one.severity is not Severity.ok:
            assert one.problem in known
    keep(state, [], at)
    state.told(at)
    assert state.known() == {}


def test_who_may_not_read_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RightsError, match="may not be read"), open_state(StateSettings(tmp_path)):
        pass
