"""The rewrite service's answers: whatever comes, or does not come, is an answer or None, in time."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postmaster.postfix import rewrite
from postmaster.postfix.rewrite import Resolved, Rewriter

GREETING = b"protocol\0trivial_rewrite_protocol\0\0"
ANSWER = b"flags\x000\0transport\0smtp\0nexthop\0[mx.test]\0recipient\0a@x.test\0flags\x004096\0\0"


@pytest.fixture
def spool() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # short enough for a socket
        (Path(folder) / "private").mkdir()
        yield Path(folder)


def serve(spool: Path, talk: Callable[[socket.socket], None]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(spool / rewrite.SOCKET))
    listener.listen(1)

    def once() -> None:
        with listener, listener.accept()[0] as peer:
            talk(peer)

    thread = threading.Thread(target=once, daemon=True)
    thread.start()
    return thread


def test_an_answer_in_pieces(spool: Path) -> None:
    def talk(peer: socket.socket) -> None:
        peer.sendall(GREETING)
        assert peer.recv(4096) == b"request\0resolve\0sender\0\0address\0a@x.test\0\0"
        for at in range(0, len(ANSWER), 7):
            peer.sendall(ANSWER[at : at + 7])
            time.sleep(0.001)

    thread = serve(spool, talk)
    rewriter = Rewriter(spool)
    found = rewriter.resolve("a@x.test")
    rewriter.close()
    thread.join()
    assert found == Resolved("default", "smtp", "[mx.test]", "a@x.test")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        b"protocol\0another\0\0",
        GREETING,
        GREETING + b"\0\0\0\0\0",
        GREETING + b"x" * 100_000,
        GREETING + b"flags\0zero\0transport\0\xff\0flags\0many\0\0",
        GREETING + ANSWER.replace(b"4096", b"4104"),  # RESOLVE_FLAG_FAIL
        GREETING + ANSWER.replace(b"4096", b"0"),
    ],
)
def test_an_answer_that_is_none(spool: Path, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "TIMEOUT", 0.1)

    def talk(peer: socket.socket) -> None:
        try:
            peer.sendall(said)
            peer.recv(4096)
        except OSError:
            pass

    thread = serve(spool, talk)
    rewriter = Rewriter(spool)
    assert rewriter.resolve("a@x.test") is None
    rewriter.close()
    thread.join()


def test_a_service_that_is_silent_costs_its_time_once(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "TIMEOUT", 0.05)
    over = threading.Event()

    def wait(_peer: socket.socket) -> None:
        over.wait(10)

    thread = serve(spool, wait)
    rewriter = Rewriter(spool)
    assert rewriter.resolve("a@x.test") is None
    monkeypatch.setattr(rewrite, "TIMEOUT", 1000)
    assert rewriter.resolve("b@x.test") is None  # at once
    over.set()
    thread.join()


def test_no_service_is_no_answer(spool: Path) -> None:
    assert Rewriter(spool / "nowhere").resolve("a@x.test") is None
