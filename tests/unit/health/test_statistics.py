"""The log against the week before: from the log where it reaches back, else from what was kept."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given

from postmaster.directory.probe import new_probe
from postmaster.health.statistics import as_json, bounds, from_json, of_day, of_period
from postmaster.settings import LogSettings, Settings
from postmaster.trace.figures import Figures
from tests.tools.maillog import days
from tests.tools.reports import any_figures

TODAY = date(2026, 5, 20)
YESTERDAY = TODAY - timedelta(days=1)
WEEK = timedelta(weeks=1)


def settings(folder: Path, text: str) -> Settings:
    (folder / "mail.log").write_text(text)
    return Settings(log=LogSettings((folder / "mail.log",)))


LONG = ((YESTERDAY - WEEK - timedelta(days=1), 1), (YESTERDAY - WEEK, 2), (YESTERDAY, 5), (TODAY, 9))


def test_a_day_against_the_same_weekday_before(tmp_path: Path) -> None:
    found = of_day(settings(tmp_path, days(*LONG)), YESTERDAY, {})
    assert found.figures is not None
    assert found.before is not None
    assert (found.figures.received, found.before.received) == (5, 2)
    assert (found.since, found.until) == bounds(YESTERDAY)
    assert set(found.learnt) == {YESTERDAY, YESTERDAY - WEEK}
    assert found.problems == ()


def test_what_was_kept_outlives_the_log(tmp_path: Path) -> None:
    kept = of_day(settings(tmp_path, days(*LONG)), YESTERDAY, {}).learnt
    later = YESTERDAY + WEEK
    short = settings(tmp_path, days((later - timedelta(days=1), 1), (later, 7)))
    found = of_day(short, later, kept)
    assert found.figures is not None
    assert found.before is not None
    assert (found.figures.received, found.before.received) == (7, 5)
    assert set(found.learnt) == {later}
    assert set(found.days) == {*kept, later}
    again = of_day(settings(tmp_path, ""), later, found.days)
    assert again.figures == found.figures  # the log is gone, the day is not
    assert again.learnt == {}


def test_rotated_and_compressed_logs_are_read(tmp_path: Path) -> None:
    given = settings(tmp_path, days(*LONG[2:]))
    with gzip.open(tmp_path / "mail.log.1.gz", "wt") as packed:
        packed.write(days(*LONG[:2]))
    found = of_day(given, YESTERDAY, {})
    assert found.before is not None
    assert found.before.received == 2


def test_of_half_a_day_nothing_is_kept_and_nothing_is_compared_with_it(tmp_path: Path) -> None:
    """The log begins within the day of the week before: who knows how much there was."""
    found = of_day(settings(tmp_path, days(*LONG[1:])), YESTERDAY, {})
    assert found.before is None
    assert set(found.learnt) == {YESTERDAY}
    new = of_day(settings(tmp_path, days(*LONG[2:])), YESTERDAY, {})
    assert new.figures is not None
    assert new.figures.received == 5
    assert new.learnt == {}


def test_a_day_before_the_log_begins_has_no_figures_rather_than_none_of_everything(tmp_path: Path) -> None:
    found = of_day(settings(tmp_path, days((TODAY, 3))), YESTERDAY, {})
    assert found.figures is None
    assert found.problems == ("the log begins after that",)
    quiet = of_day(settings(tmp_path, days(*LONG[:2], LONG[3])), YESTERDAY, {})
    assert quiet.figures is not None
    assert quiet.figures.received == 0


def test_without_a_log_the_reason_is_said(tmp_path: Path) -> None:
    gone = Settings(log=LogSettings((tmp_path / "gone.log",)))
    for found in (of_day(gone, YESTERDAY, {}), of_period(gone, *bounds(YESTERDAY), {})):
        assert found.figures is None
        assert "there is no log" in found.problems[0]


@pytest.mark.parametrize(("length", "back"), [(1, 1), (7, 1), (8, 2), (14, 2)])
def test_a_period_is_compared_with_one_that_does_not_overlap(tmp_path: Path, length: int, back: int) -> None:
    end = bounds(TODAY)[1]
    begin = end - length * 86_400
    log = [(TODAY - timedelta(days=day), 1 if day < 7 * back else 2) for day in range(40)]
    found = of_period(settings(tmp_path, days(*log)), begin, end, {})
    assert found.figures is not None
    assert found.before is not None
    assert found.before.since == begin - back * 7 * 86_400
    assert (found.figures.received, found.before.received) == (length, 2 * length)


@given(any_figures())
def test_kept_figures_come_back(figures: Figures) -> None:
    back = from_json(as_json(figures))
    assert back is not None
    assert as_json(back) == as_json(figures)
    assert back.problems == ()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"senders": 3}', '{"received": 1}', "\x00"])
def test_damaged_figures_are_none(text: str) -> None:
    assert from_json(text) is None


def test_the_mailboxes_of_the_round_trip_are_not_among_the_names(tmp_path: Path) -> None:
    """There is another one every few minutes: each sent once, and is before others in the alphabet."""
    probes = [new_probe().address for _ in range(30)]
    text = days(*LONG)
    noon = f"{YESTERDAY}T12:00:30+00:00 mail postfix/"
    more = "".join(
        f"{noon}pickup[1]: 4B7Z2K{number:04}Xz8gQ: uid=0 from=<{probe}>\n"
        f"{noon}qmgr[1]: 4B7Z2K{number:04}Xz8gQ: from=<{probe}>, size=9, nrcpt=1 (queue active)\n"
        for number, probe in enumerate(probes)
    )
    begun, today, last = text.partition(f"{TODAY:%Y-%m-%d}")
    found = of_day(settings(tmp_path, begun + more + today + last), YESTERDAY, {}).figures
    assert found is not None
    assert found.received == 5 + 30
    assert [(one.name, one.count) for one in found.senders] == [("amy@x.test", 5)]
