"""Work spread over the cores of this machine: forked processes, each with its part, one stream of results.

A fork and not a pool of threads or spawned processes: it starts in milliseconds, and any function works in
it without being pickled. Results come over pipes and are pickled.

What it guarantees: no child outlives the stream, however that ends; what fails in a child fails here. What
it does not: keep an order between the parts (`each` does).
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn, TypeVar

from postmaster.errors import ProcessError

MOST = 4  # processes; the disk and the servers want something too
PIPE_SIZE = 1 << 20  # bytes, so that a child need not wait while its results wait

Part = TypeVar("Part")
Result = TypeVar("Result")
Work = Callable[[Part], Iterable[Result]]

_HEAD = struct.Struct("!BQ")  # what kind of frame, how many bytes
_RESULT, _FAILED, _ENDED = range(3)


def processes(most: int = MOST) -> int:
    """How many parts large work is worth here. Beside threads one: a fork of them can hang."""
    return 1 if threading.active_count() > 1 else min(most, len(os.sched_getaffinity(0)))


def spread(work: Work[Part, Result], parts: Sequence[Part]) -> Iterator[Result]:
    """What `work` yields for each part, as it comes: the first part in this process, each other in a child.

    What a child writes elsewhere is lost. Raises what a part raises, ProcessError for a child that was ended.
    """
    children: dict[int, _Child] = {}
    try:
        for part in parts[1:]:
            child = _Child(work, part, list(children.values()))
            children[child.stream.fileno()] = child
        for part in parts[:1]:
            yield from _collect(iter(work(part)), children) if children else work(part)
    finally:
        for child in children.values():
            child.end()


def each(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """`work` of every part, in the order of the parts; otherwise as `spread`."""

    def numbered(number: int) -> Iterator[tuple[int, Result]]:
        yield number, work(parts[number])

    results = dict(spread(numbered, range(len(parts))))
    return [results[number] for number in range(len(parts))]


def _collect(own: Iterator[Any], children: dict[int, _Child]) -> Iterator[Any]:
    """Own results, and between them what the children have ready; then the rest of theirs."""
    import pickle
    import select

    poll = select.poll()
    for descriptor in children:
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    working, mine = len(children), True
    while working or mine:
        if mine:
            for result in own:
                yield result
                break
            else:
                mine = False
        for descriptor, _ in poll.poll(0 if mine else None) if working else ():
            kind, content = children[descriptor].receive()
            if kind == _RESULT:
                yield pickle.loads(content)
            elif kind == _FAILED:
                raise pickle.loads(content)
            else:
                poll.unregister(descriptor)
                working -= 1


class _Child:
    """A forked process and the pipe from it."""

    def __init__(self, work: Work[Any, Any], part: Any, others: list[_Child]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            for other in others:
                other.stream.close()
            _run(work, part, writing)
        os.close(writing)
        self.stream: BinaryIO = os.fdopen(reading, "rb", buffering=0)

    def receive(self) -> tuple[int, bytes]:
        """The next frame. Raises ProcessError where the process ended without a last one."""
        kind, size = _HEAD.unpack(self._exactly(_HEAD.size))
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.stream.read(min(size, PIPE_SIZE))
            if not part:
                raise ProcessError(
                    "a process that did a part of the work was ended from outside",
                    hint="is there enough memory? try again",
                )
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        self.stream.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # whoever started us may have had SIGCHLD ignored
            os.waitpid(self.pid, 0)


def _run(work: Work[Any, Any], part: Any, writing: int) -> NoReturn:
    """The child's life. It never returns, so that nothing of the parent's is flushed or torn down twice."""
    status = 1
    try:
        import fcntl
        import gc
        import pickle

        gc.disable()  # what is read makes no cycles
        with suppress(OSError):  # the limit for this user may be lower
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

        def send(kind: int, content: bytes) -> None:
            for one in (_HEAD.pack(kind, len(content)), content):
                view = memoryview(one)
                while view:
                    view = view[os.write(writing, view) :]

        try:
            for result in work(part):
                send(_RESULT, pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
            send(_ENDED, b"")
            status = 0
        except (BrokenPipeError, KeyboardInterrupt):
            pass  # nobody wants to know any more
        except BaseException as error:
            send(_FAILED, _travelling(error))
    finally:
        os._exit(status)


def _travelling(error: BaseException) -> bytes:
    """A failure as bytes; one that cannot be taken apart and put together again, in words."""
    import pickle

    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        return pickle.dumps(ProcessError(f"a part of the work failed: {type(error).__name__}: {error}"))
    return content
