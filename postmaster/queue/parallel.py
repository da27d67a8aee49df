"""Work spread over the cores of this machine: forked processes, each with its share, one stream of results.

A fork and not a pool of threads or spawned processes: it starts in milliseconds, and any function works in
it without being pickled. Results come over pipes and are pickled.

What it guarantees: no child outlives the stream, however that ends; what fails in a child fails here. What
it does not: keep an order between the shares.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

from postmaster.errors import ProcessError
from postmaster.postfix.queue import Listing

MOST = 4  # processes; the disk and Postfix want something too
PIPE_SIZE = 1 << 20  # bytes, so that a child need not wait while its results wait

_HEAD = struct.Struct("!BI")  # what kind of frame, how many bytes
_RESULT, _FAILED, _ENDED = range(3)

Work = Callable[[tuple[int, int], Listing], Iterator[Any]]


def spread(
    work: Work,
    listing: Listing,
    *,
    is_large: bool,
    pack: Callable[[Any], Any] | None = None,
    unpack: Callable[[Any], Any] | None = None,
) -> Iterator[Any]:
    """What `work` yields for each share `(k, n)`, as it comes; where it is not large, for `(0, 1)` here.

    The listings of all are added up. `pack` makes a result small before it travels, `unpack` undoes it.
    """
    processes = min(MOST, len(os.sched_getaffinity(0))) if is_large else 1
    if processes == 1 or threading.active_count() > 1:  # a fork of threads can hang
        yield from work((0, 1), listing)
        return
    children: dict[int, _Child] = {}
    try:
        for share in range(1, processes):
            child = _Child(work, (share, processes), pack, list(children.values()))
            children[child.stream.fileno()] = child
        yield from _collect(work((0, processes), listing), children, listing, unpack)
    finally:
        for child in children.values():
            child.end()


def _collect(
    own: Iterator[Any],
    children: dict[int, _Child],
    listing: Listing,
    unpack: Callable[[Any], Any] | None,
) -> Iterator[Any]:
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
                result = pickle.loads(content)
                yield result if unpack is None else unpack(result)
            elif kind == _FAILED:
                raise pickle.loads(content)
            else:
                listing.unreadable += pickle.loads(content)
                poll.unregister(descriptor)
                working -= 1


class _Child:
    """A forked process and the pipe from it."""

    def __init__(
        self,
        work: Work,
        share: tuple[int, int],
        pack: Callable[[Any], Any] | None,
        others: list[_Child],
    ) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            for other in others:
                other.stream.close()
            _run(work, share, pack, writing)
        os.close(writing)
        self.stream: BinaryIO = os.fdopen(reading, "rb", buffering=0)

    def receive(self) -> tuple[int, bytes]:
        """The next frame. Raises ProcessError where the process ended without a last one."""
        kind, size = _HEAD.unpack(self._exactly(_HEAD.size))
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.stream.read(size)
            if not part:
                raise ProcessError("a process that reads the queue was ended from outside", hint="try again")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        self.stream.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _run(work: Work, share: tuple[int, int], pack: Callable[[Any], Any] | None, writing: int) -> NoReturn:
    """The child's life. It never returns, so that nothing of the parent's is flushed or torn down twice."""
    status = 1
    try:
        import fcntl
        import gc
        import pickle

        gc.disable()  # what is read makes no cycles
        with suppress(OSError):  # the limit for this user may be lower
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

        def send(kind: int, thing: Any) -> None:
            content = pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)
            view = memoryview(_HEAD.pack(kind, len(content)) + content)
            while view:
                view = view[os.write(writing, view) :]

        listing = Listing()
        try:
            for result in work(share, listing):
                send(_RESULT, result if pack is None else pack(result))
            send(_ENDED, listing.unreadable)
            status = 0
        except (BrokenPipeError, KeyboardInterrupt):
            pass  # nobody wants to know any more
        except BaseException as error:
            send(_FAILED, error)
    finally:
        os._exit(status)
