"""The same work on several parts at once, each in a process of its own."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from postmaster.errors import ProcessError

Part = TypeVar("Part")
Result = TypeVar("Result")


def each(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """`work` of every part: the first here, the others in children that are forked from this process.

    What a child raises is raised here. Whatever happens here, no child is left over.
    """
    children: list[tuple[int, int]] = []
    try:
        for part in parts[1:]:
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _answer(work, part, writing)
            os.close(writing)
            children.append((pid, reading))
        results = [work(part) for part in parts[:1]]
        while children:
            pid, reading = children[0]
            with os.fdopen(reading, "rb", closefd=False) as answers:
                data = answers.read()
            os.close(reading)
            del children[0]
            os.waitpid(pid, 0)
            if not data:
                raise ProcessError(
                    "a part of the work ended before it was done", hint="is there enough memory?"
                )
            result, error = pickle.loads(data)
            if error is not None:
                raise error
            results.append(result)
        return results
    finally:
        for pid, reading in children:
            os.close(reading)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _answer(work: Callable[[Part], Result], part: Part, writing: int) -> None:
    """In the child: work, answer, end without any of the parent's clean-up."""
    status = 1
    try:
        try:
            answer: tuple[Result | None, Exception | None] = (work(part), None)
        except Exception as error:
            answer = (None, error)
        with os.fdopen(writing, "wb") as out:
            pickle.dump(answer, out, pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        os._exit(status)
