"""Work shared with children: results in order, errors as they were, nobody left over."""

from __future__ import annotations

import os

import pytest

from postmaster.errors import NotFoundError, ProcessError
from postmaster.trace.parallel import each


def test_results_come_in_the_order_of_the_parts() -> None:
    assert each(lambda n: (n, n * n), [1, 2, 3]) == [(1, 1), (2, 4), (3, 9)]
    pids = each(lambda _: os.getpid(), [0, 1, 2])
    assert pids[0] == os.getpid()
    assert len(set(pids)) == 3


def test_a_large_result_does_not_block() -> None:
    assert [len(one) for one in each(lambda n: b"x" * n, [1, 5_000_000])] == [1, 5_000_000]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_a_part_raises_is_raised_and_no_child_is_left(failing: int) -> None:
    def work(number: int) -> int:
        if number == failing:
            raise NotFoundError("part is missing", hint="look")
        return number

    with pytest.raises(NotFoundError, match="part is missing"):
        each(work, [0, 1, 2])
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_child_that_ends_without_an_answer_is_an_error() -> None:
    def work(number: int) -> int:
        if number:
            os._exit(3)
        return number

    with pytest.raises(ProcessError, match="ended before"):
        each(work, [0, 1])
