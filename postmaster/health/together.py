"""Several questions at once, each in a thread of its own: one that hangs costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Answer = TypeVar("Answer")


def together(jobs: Iterable[Callable[[], Answer]], ends: float) -> Iterator[Answer]:
    """The jobs' answers in the order in which they come, until `ends` on the monotonic clock.

    A job's exception is raised here, when all the others that ended in time have answered. One that is not
    done by then is left to itself: its thread keeps no process from ending.
    """
    import queue  # here: to list the checks starts without them
    import threading

    answers: queue.SimpleQueue[tuple[bool, Answer | Exception]] = queue.SimpleQueue()

    def work(job: Callable[[], Answer]) -> None:
        try:
            answers.put((True, job()))
        except Exception as error:
            answers.put((False, error))

    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    failed: Exception | None = None
    for _ in threads:
        try:
            is_good, answer = answers.get(timeout=max(0.01, ends - time.monotonic()))
        except queue.Empty:
            break
        if is_good:
            yield answer  # type: ignore[misc]
        else:
            failed = failed or answer  # type: ignore[assignment]
    if failed is not None:
        raise failed
