"""Work in several processes: everything comes once, nothing outlives the stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster.errors import NotFoundError, ProcessError, UsageError
from postmaster.postfix.queue import Listing
from postmaster.queue import parallel


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    yield
    with pytest.raises(ChildProcessError):  # none is left, not even as a zombie
        os.waitpid(-1, os.WNOHANG)


def numbers(share: tuple[int, int], listing: Listing) -> Iterator[int]:
    listing.unreadable += 1
    yield from range(share[0], 1000, share[1])


@pytest.mark.parametrize("is_large", [True, False])
def test_each_result_comes_once(is_large: bool) -> None:
    listing = Listing()
    assert sorted(parallel.spread(numbers, listing, is_large=is_large)) == list(range(1000))
    assert listing.unreadable == (3 if is_large else 1)


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=100) | st.integers() | st.text(), max_size=20))
def test_any_results_travel(things: list[Any]) -> None:
    def work(share: tuple[int, int], _: Listing) -> Iterator[Any]:
        yield from things if share[0] == 1 else []

    assert list(parallel.spread(work, Listing(), is_large=True)) == things


def test_results_larger_than_a_pipe_travel() -> None:
    def work(share: tuple[int, int], _: Listing) -> Iterator[bytes]:
        yield from (b"%d" % share[0] * (3 << 20) for _ in range(3))

    found = list(parallel.spread(work, Listing(), is_large=True))
    assert sorted(one[:1] for one in found) == sorted([b"0", b"1", b"2"] * 3)
    assert {len(one) for one in found} == {3 << 20}


def test_packed_results_are_unpacked() -> None:
    here = os.getpid()

    def pack(number: int) -> str:
        assert os.getpid() != here
        return str(number)

    found = parallel.spread(numbers, Listing(), is_large=True, pack=pack, unpack=int)
    assert sorted(found) == list(range(1000))


def test_a_stream_that_is_left_ends_the_others() -> None:
    def endless(share: tuple[int, int], _: Listing) -> Iterator[int]:
        while True:
            yield share[0]

    stream = parallel.spread(endless, Listing(), is_large=True)
    assert {next(stream) for _ in range(100)} <= {0, 1, 2}
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", [0, 1])
def test_a_failure_anywhere_is_a_failure_here(where: int) -> None:
    def work(share: tuple[int, int], _: Listing) -> Iterator[int]:
        yield 1
        if share[0] == where:
            raise NotFoundError("it is not there", hint="look elsewhere")

    with pytest.raises(NotFoundError) as caught:
        list(parallel.spread(work, Listing(), is_large=True))
    assert caught.value.hint == "look elsewhere"


def test_a_failure_that_cannot_travel_is_still_one() -> None:
    class Local(Exception):
        pass

    def work(share: tuple[int, int], _: Listing) -> Iterator[int]:
        if share[0] == 1:
            raise Local
        yield 1

    with pytest.raises(ProcessError, match="ended"):
        list(parallel.spread(work, Listing(), is_large=True))


def test_beside_threads_there_is_one_process() -> None:
    here = os.getpid()

    def work(share: tuple[int, int], _: Listing) -> Iterator[tuple[int, int]]:
        assert os.getpid() == here
        yield share

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert list(parallel.spread(work, Listing(), is_large=True)) == [(0, 1)]
    finally:
        stop.set()
        thread.join()


def test_a_refusal_before_the_first_result() -> None:
    def work(share: tuple[int, int], _: Listing) -> Iterator[int]:
        if share[1] > 1:
            raise UsageError("no")
        yield 1

    with pytest.raises(UsageError):
        list(parallel.spread(work, Listing(), is_large=True))
