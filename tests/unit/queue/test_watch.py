"""Watching: what came and went, what is stuck, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.queue.message import Message, Recipient
from postmaster.queue.watch import OLDEST, STUCK, Turnover, Watcher
from tests.tools.messages import NOW, message


def named(*names: str) -> list[Message]:
    return [message(queue_id=name) for name in names]


def test_rates_are_what_changed_between_looks() -> None:
    watcher = Watcher()
    first = watcher.look(named("A", "B", "C"), NOW)
    assert first.arrivals is None
    assert first.departures is None
    second = watcher.look(named("B", "C", "D", "E"), NOW + 30)
    assert (second.arrivals, second.departures) == (4.0, 2.0)  # 2 came and 1 went in half a minute
    third = watcher.look(named("B", "C", "D", "E"), NOW + 60)
    assert (third.arrivals, third.departures) == (2.0, 1.0)
    later = watcher.look(named("B", "C", "D", "E"), NOW + 500)
    assert (later.arrivals, later.departures) == (0.0, 0.0)
    assert not later.estimated


def test_a_reused_short_id_is_another_message() -> None:
    watcher = Watcher()
    watcher.look([message(queue_id="3FA9C01", arrival_time=NOW - 5)], NOW)
    frame = watcher.look([message(queue_id="3FA9C01", arrival_time=NOW)], NOW + 60)
    assert (frame.arrivals, frame.departures) == (1.0, 1.0)


def test_a_look_that_fails_does_not_count_what_it_missed_as_gone() -> None:
    def broken() -> Iterator[Message]:
        yield message(queue_id="A")
        raise OSError("the queue is away")

    watcher = Watcher()
    watcher.look(named("A", "B"), NOW)
    with pytest.raises(OSError, match="away"):
        watcher.look(broken(), NOW + 30)
    frame = watcher.look(named("A", "B"), NOW + 60)
    assert (frame.arrivals, frame.departures) == (0.0, 0.0)


def test_a_frame_counts_queues_destinations_reasons_and_what_is_stuck() -> None:
    refused = Recipient("x@a.example", "connect to mx[192.0.2.1]:25: Connection refused", "4.4.1")
    frame = Watcher().look(
        [
            message(refused, queue_id="OLD", arrival_time=NOW - STUCK - 1),
            message("y@a.example", queue_id="NEW", arrival_time=NOW, queue_name="active"),
            message("z@b.example", queue_id="HELD", arrival_time=NOW - 9 * STUCK, queue_name="hold"),
        ],
        NOW,
    )
    assert {str(k): g.messages for k, g in frame.queues.groups.items()} == {
        "deferred": 1,
        "active": 1,
        "hold": 1,
    }
    assert frame.destinations.groups["a.example"].recipients == 2
    assert ("4.4.1", "connect to HOST:25: Connection refused") in frame.reasons.groups
    assert frame.stuck == 1
    assert [m.queue_id for m in frame.oldest] == ["OLD", "NEW"]  # what is held is held on purpose


def test_the_oldest_come_first_and_are_few() -> None:
    what = [message(queue_id=f"M{n}", arrival_time=NOW - n * 37 % 1000) for n in range(500)]
    frame = Watcher().look(what, NOW)
    expected = sorted(m.arrival_time for m in what)[:OLDEST]
    assert [m.arrival_time for m in frame.oldest] == expected


@given(st.lists(st.sets(st.integers(0, 60)), min_size=1, max_size=6))
def test_turnover_is_the_difference_of_two_looks(looks: list[set[int]]) -> None:
    turnover = Turnover()
    before: set[int] | None = None
    for look in looks:
        for identity in look:
            turnover.see(identity)
        changed = turnover.end_look()
        assert changed == (None if before is None else (len(look - before), len(before - look)))
        before = look


def test_a_large_queue_is_estimated_from_a_sample_in_bounded_memory() -> None:
    turnover = Turnover(remembered=1000)

    def look(numbers: range) -> tuple[int, int] | None:
        for number in numbers:
            turnover.see(("-", f"ID{number}", number))
            assert len(turnover._seen) <= 1000
        return turnover.end_look()

    def is_sample() -> bool:
        return turnover.is_sample

    assert look(range(40_000)) is None
    changed = look(range(10_000, 50_000))
    assert is_sample()
    assert changed is not None
    for number in changed:
        assert 6_000 < number < 14_000  # 10,000, from a sample of some 200 of them
    assert look(range(0)) is not None
    assert not is_sample()  # small again: exact from the look after the next
    assert look(range(100)) is None
    assert look(range(50, 150)) == (50, 50)
