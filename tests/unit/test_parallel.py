"""Work in several processes: everything comes once, nothing outlives the stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster import parallel
from postmaster.errors import NotFoundError, ProcessError, UsageError
from postmaster.parallel import each, spread


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before  # not even as a zombie


def children() -> set[str]:
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


def numbers(part: int) -> Iterator[int]:
    yield from range(part, 1000, 3)


def test_each_result_comes_once() -> None:
    assert sorted(spread(numbers, range(3))) == list(range(1000))


def test_without_parts_there_is_nothing() -> None:
    assert list(spread(numbers, [])) == []
    assert each(str, []) == []


def test_one_part_is_worked_on_here() -> None:
    assert list(spread(lambda _: [os.getpid()], [0])) == [os.getpid()]


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=100) | st.integers() | st.text(), max_size=20))
def test_any_results_travel(things: list[Any]) -> None:
    assert list(spread(lambda part: things if part == 1 else [], range(3))) == things


def test_results_larger_than_a_pipe_travel() -> None:
    found = list(spread(lambda part: (b"%d" % part * (3 << 20) for _ in range(3)), range(3)))
    assert sorted(one[:1] for one in found) == sorted([b"0", b"1", b"2"] * 3)
    assert {len(one) for one in found} == {3 << 20}


def test_a_stream_that_is_left_ends_the_others() -> None:
    def endless(part: int) -> Iterator[int]:
        while True:
            yield part

    stream = spread(endless, range(3))
    assert {next(stream) for _ in range(100)} <= {0, 1, 2}
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_anywhere_is_a_failure_here(failing: int) -> None:
    def work(part: int) -> Iterator[int]:
        yield 1
        if part == failing:
            raise NotFoundError("it is not there", hint="look elsewhere")

    with pytest.raises(NotFoundError) as caught:
        list(spread(work, range(3)))
    assert caught.value.hint == "look elsewhere"


def test_a_failure_that_cannot_travel_is_told_in_words() -> None:
    class Local(Exception):
        pass

    def work(part: int) -> Iterator[int]:
        if part == 1:
            raise Local("no such thing")
        yield 1

    with pytest.raises(ProcessError, match="Local: no such thing"):
        list(spread(work, range(2)))


def test_a_child_that_ends_without_an_answer_is_an_error() -> None:
    def work(part: int) -> Iterator[int]:
        if part:
            os._exit(3)
        yield part

    with pytest.raises(ProcessError, match="ended from outside"):
        list(spread(work, range(2)))


def test_beside_threads_one_process_is_enough() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert parallel.processes() == 1
    finally:
        stop.set()
        thread.join()


def test_there_are_no_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert parallel.processes() == 3
    assert parallel.processes(2) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert parallel.processes() == parallel.MOST


def test_a_refusal_before_the_first_result() -> None:
    def work(part: int) -> Iterator[int]:
        raise UsageError("no")

    with pytest.raises(UsageError):
        list(spread(work, range(3)))


def test_each_gives_results_in_the_order_of_the_parts() -> None:
    assert each(lambda n: (n, n * n), [1, 2, 3]) == [(1, 1), (2, 4), (3, 9)]
    pids = each(lambda _: os.getpid(), [0, 1, 2])
    assert pids[0] == os.getpid()
    assert len(set(pids)) == 3
