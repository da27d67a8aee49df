"""Several questions at once, each in a thread of its own: one that hangs costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Answer = TypeVar("Answer")


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


def together(jobs: Iterable[Callable[[], Answer]], ends: float) -> Iterator[Answer]:
    """The jobs' answers in the order in which they come, until `ends` on the monotonic clock.

    A job's exception is raised here, when all the others that ended in time have answered. One that is not
    done by then is left to itself: its thread keeps no process from ending.
    """
    import queue  # here: to list the checks starts without them
    import threading

    answers: queue.SimpleQueue[Answer | _Failed] = queue.SimpleQueue()

    def work(job: Callable[[], Answer]) -> None:
        try:
            answers.put(job())
        except Exception as error:
            answers.put(_Failed(error))

    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    failed: _Failed | None = None
    for _ in threads:
        try:
            answer = answers.get(timeout=max(0.01, ends - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, _Failed):
            failed = failed or answer
        else:
            yield answer
    if failed is not None:
        raise failed.error
