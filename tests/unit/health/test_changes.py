"""What is told from run to run: nothing twice, nothing that only flickers, nothing that was not looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.health.changes import Acknowledgement, Change, Event, Known, Problem, step, tell
from postmaster.health.finding import NO_ANSWER, OK, Finding, Severity, badness

K, W, C, U = Severity.ok, Severity.warning, Severity.critical, Severity.unknown
CHECKS = ("queue", "dns")


def finding(severity: Severity, code: str = "bad", check: str = "queue", item: str = "size") -> Finding:
    return Finding(check, item, OK if severity is K else code, severity, "measured")


def acknowledgement(severity: Severity, until: float) -> Acknowledgement:
    return Acknowledgement("queue", "size", "bad", severity, until, "known", "root", 0)


def told(
    runs: Sequence[Sequence[Finding]],
    flap: int = 2,
    acknowledged: Mapping[Problem, Acknowledgement] | None = None,
    checks: Sequence[str] = CHECKS,
) -> list[list[Event]]:
    """What each run tells, when each is told."""
    known: dict[Problem, Known] = {}
    result = []
    for at, findings in enumerate(runs):
        known, _ = step(known, findings, checks, at, flap)
        events, known = tell(known, acknowledged or {}, at)
        result.append(events)
    return result


def words(runs: Sequence[Severity], **given: object) -> list[str]:
    """The changes of one problem, with the run in which each was told."""
    events = told([[finding(one)] for one in runs], **given)  # type: ignore[arg-type]
    return [f"{at} {event.change}" for at, found in enumerate(events) for event in found]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([W], []),
        ([W, W], ["1 began"]),
        ([W, K, W, K, W], []),
        ([W, W, K, W, K, W], ["1 began"]),
        ([W, W, K, K], ["1 began", "3 ended"]),
        ([W, C], ["1 began"]),
        ([W, W, C, W, C], ["1 began"]),
        ([W, W, C, C], ["1 began", "3 worse"]),
        ([C, C, W, K], ["1 began", "3 better"]),
        ([C, C, W, K, K], ["1 began", "3 better", "4 ended"]),
        ([U, U, W, W], ["1 began", "3 worse"]),
        ([W, W, K, K, W, W], ["1 began", "3 ended", "5 began"]),
    ],
)
def test_a_problem_speaks_when_it_was_seen_twice(runs: list[Severity], expected: list[str]) -> None:
    assert words(runs) == expected


def test_without_flap_every_change_speaks() -> None:
    assert words([W, K, C, W], flap=1) == ["0 began", "1 ended", "2 began", "3 better"]
    assert words([W], flap=0) == ["0 began"]


def test_a_problem_lasts_from_when_it_was_first_seen() -> None:
    first, second = told([[finding(W)], [finding(W)], [finding(K)], [finding(C)], [finding(C)]])[1::3]
    assert [event.since for event in (*first, *second)] == [0, 0]
    assert second[0].before is W


def test_a_check_that_hangs_ends_no_problem_and_is_one() -> None:
    hangs = Finding("queue", "check", NO_ANSWER, U, "no end")
    runs = [[finding(W)]] * 2 + [[hangs]] * 3 + [[finding(K)]] * 2
    said = [[(event.finding.code, str(event.change)) for event in events] for events in told(runs)]
    assert said == [
        *([], [("bad", "began")]),
        *([], [(NO_ANSWER, "began")], [], []),
        [(NO_ANSWER, "ended"), ("bad", "ended")],
    ]


def test_what_is_unknown_ends_no_problem_of_the_same_object() -> None:
    runs = [[finding(W)], [finding(W)], *[[finding(U, "cannot-tell")]] * 4]
    assert not [event for events in told(runs) for event in events if event.change is Change.ended]


def test_a_check_that_was_not_made_keeps_its_problems() -> None:
    known, _ = step({}, [finding(W)], CHECKS, 0, 1)
    after, events = step(known, [], ["dns"], 1, 1)
    assert (after, events) == (known, [])


def test_an_acknowledged_problem_is_silent_until_its_date_and_then_speaks() -> None:
    given = {("queue", "size", "bad"): acknowledgement(W, until=4)}
    assert words([W] * 6, acknowledged=given) == ["4 began"]


def test_an_acknowledged_problem_speaks_when_it_gets_worse() -> None:
    given = {("queue", "size", "bad"): acknowledgement(W, until=99)}
    assert words([W, W, C, C, C], acknowledged=given) == ["3 worse"]
    assert words([W, W, K, K, W, W], acknowledged=given) == []


def test_what_was_told_before_it_was_acknowledged_ends_in_silence() -> None:
    known, _ = step({}, [finding(W)], CHECKS, 0, 1)
    events, known = tell(known, {}, 0)
    assert [event.change for event in events] == [Change.began]
    known, _ = step(known, [finding(K)], CHECKS, 1, 1)
    assert tell(known, {("queue", "size", "bad"): acknowledgement(W, 99)}, 1) == ([], {})


SEVERITIES = st.sampled_from([K, W, C, U])


def run_of(severities: st.SearchStrategy[Severity]) -> st.SearchStrategy[list[Finding]]:
    one = st.builds(
        finding,
        severities,
        st.sampled_from(["bad", "old"]),
        st.sampled_from(CHECKS),
        st.sampled_from(["size", "age"]),
    )
    return st.lists(one, max_size=6)


RUNS = st.lists(run_of(SEVERITIES), max_size=12)
CERTAIN_RUNS = st.lists(run_of(st.sampled_from([K, W, C])), max_size=12)  # nothing hides a problem
FLAP = st.integers(1, 4)


@given(RUNS, FLAP)
def test_no_problem_begins_or_ends_twice_in_a_row(runs: list[list[Finding]], flap: int) -> None:
    level: dict[Problem, Severity] = {}
    for events in told(runs, flap):
        assert len({event.finding.problem for event in events}) == len(events)
        for event in events:
            problem, now = event.finding.problem, event.finding.severity
            before = level.get(problem, K)
            assert event.before is before
            if event.change is Change.began:
                assert before is K
                assert now is not K
            elif event.change is Change.ended:
                assert before is not K
            else:
                assert before is not K
                assert (event.change is Change.worse) is (badness(now) > badness(before))
                assert now is not before
            level[problem] = K if event.change is Change.ended else now


@given(CERTAIN_RUNS, FLAP)
def test_what_begins_was_there_often_enough_and_what_ends_was_gone_as_often(
    runs: list[list[Finding]], flap: int
) -> None:
    for at, events in enumerate(told(runs, flap)):
        for event in events:
            last = [
                any(one.problem == event.finding.problem and one.severity for one in run)
                for run in runs[max(0, at - flap + 1) : at + 1]
            ]
            if event.change is Change.began:
                assert last == [True] * flap
            if event.change is Change.ended:
                assert not any(last)
                assert event.since <= at - flap


@given(RUNS, FLAP, st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(runs: list[list[Finding]], flap: int, chance: object) -> None:
    shuffled = []
    for run in runs:
        other = list(run)
        chance.shuffle(other)  # type: ignore[attr-defined]
        shuffled.append(other)
    assert told(runs, flap) == told(shuffled, flap)


@given(RUNS, FLAP)
def test_nothing_is_told_twice(runs: list[list[Finding]], flap: int) -> None:
    known: dict[Problem, Known] = {}
    for at, run in enumerate(runs):
        known, _ = step(known, run, CHECKS, at, flap)
        _, known = tell(known, {}, at)
        assert tell(known, {}, at) == ([], known)


@given(st.integers(2, 4), st.integers(1, 20), SEVERITIES.filter(bool), st.data())
def test_what_is_never_seen_often_enough_never_speaks(
    flap: int, rounds: int, severity: Severity, data: st.DataObject
) -> None:
    runs = []
    for _ in range(rounds):
        runs += [severity] * data.draw(st.integers(1, flap - 1)) + [K]
    assert words(runs, flap=flap) == []


@given(RUNS, FLAP)
def test_who_is_told_late_is_told_what_is_left_of_it(runs: list[list[Finding]], flap: int) -> None:
    """Telling after the last run alone gives what is open, as telling after each run leaves it."""
    known: dict[Problem, Known] = {}
    for at, run in enumerate(runs):
        known, _ = step(known, run, CHECKS, at, flap)
    events, late = tell(known, {}, len(runs))
    assert all(event.change is Change.began for event in events)
    assert {event.finding.problem for event in events} == {key for key, one in known.items() if one.level}
    assert all(one.told is one.level for one in late.values())


@given(RUNS, FLAP)
def test_the_memory_is_no_longer_than_it_must_be(runs: list[list[Finding]], flap: int) -> None:
    known: dict[Problem, Known] = {}
    at = 0
    for at, run in enumerate(runs):
        known, _ = step(known, run, CHECKS, at, flap)
        _, known = tell(known, {}, at)
        assert all(len(one.recent) <= flap for one in known.values())
    for later in range(flap):
        known, _ = step(known, [], CHECKS, at + 1 + later, flap)
        _, known = tell(known, {}, at + 1 + later)
    assert known == {}


@given(RUNS, FLAP, st.integers(0, 12), SEVERITIES.filter(bool))
def test_an_acknowledgement_only_ever_silences(
    runs: list[list[Finding]], flap: int, until: int, severity: Severity
) -> None:
    """Nothing of its problem is told while it holds; of others all the same."""
    problem = ("queue", "size", "bad")
    given = {problem: acknowledgement(severity, until)}
    quiet, loud = told(runs, flap, given), told(runs, flap)
    others = [
        [[event for event in events if event.finding.problem != problem] for events in series]
        for series in (quiet, loud)
    ]
    assert others[0] == others[1]
    for events in quiet[:until]:
        for event in events:
            if event.finding.problem == problem:
                assert badness(event.finding.severity) > badness(severity)


def test_of_two_findings_about_one_problem_the_worse_counts() -> None:
    events = told([[finding(W), finding(C), replace(finding(W), message="z")]] * 2)[1]
    assert [event.finding.severity for event in events] == [C]
