"""`queue watch`: one frame, lines for programs, and a terminal that is left as it was found."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postmaster.cli.queue.watch import lines
from postmaster.queue.watch import Watcher
from tests.tools.messages import NOW, message
from tests.tools.readable import readable

from .conftest import Cli
from .test_queue_summary import QUEUE, entry, queue

__all__ = ["queue"]


def test_one_frame_is_plain_when_piped(bare: Cli, queue: Path) -> None:
    shown = bare("queue", "watch", "--once").out
    assert "\x1b" not in shown
    assert "4 messages  5 recipients" in shown
    assert "deferred 3  hold 1" in shown
    assert "connect to HOST:25: Connection refused" in shown
    assert "3FA9C02  news@shop.example → c@x.example" in shown
    assert "1 messages" in bare("queue", "watch", "--once", "--queue", "hold").out
    queue.write_text("")
    assert "no messages" in bare("queue", "watch", "--once").out


def test_one_frame_as_json(bare: Cli, queue: Path) -> None:
    frame = bare("queue", "watch", "--once", "-o", "json").json
    assert set(frame) == {
        *("time", "messages", "recipients", "bytes", "oldest", "queues", "arrivals_per_minute"),
        *("departures_per_minute", "rates_estimated", "older_than_a_day", "destinations", "reasons"),
        "oldest_messages",
    }
    assert frame["queues"] == {"deferred": 3, "hold": 1}
    assert frame["arrivals_per_minute"] is None


def test_wrong_usage(bare: Cli, queue: Path) -> None:
    assert "needs a terminal" in bare("queue", "watch", expect=2).err
    assert "cannot be printed" in bare("queue", "watch", "-o", "json", expect=2).err
    assert "cannot be printed" in bare("queue", "watch", "--once", "-o", "csv", expect=2).err
    bare("queue", "watch", "--interval", "0", expect=2)


def test_a_line_for_each_look(bare: Cli, queue: Path) -> None:
    command = [sys.executable, "-m", "postmaster", "--config", str(bare.file), "queue", "watch"]
    with subprocess.Popen(
        [*command, "-n", "0.5", "-o", "jsonl"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        first = json.loads(running.stdout.readline())
        queue.write_text(
            "".join(json.dumps(one) + "\n" for one in [*QUEUE[1:], entry("3FA9C09", 1, "x@y.example")])
        )
        found = [json.loads(running.stdout.readline()) for _ in range(3)]
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 130
    assert first["messages"] == 4
    assert found[-1]["arrivals_per_minute"] > 0
    assert found[-1]["departures_per_minute"] > 0


class Screen:
    """A terminal with a watch on it."""

    def __init__(self, command: list[str], size: tuple[int, int]) -> None:
        self.master, self.terminal = pty.openpty()
        termios.tcsetwinsize(self.terminal, size)
        self.before = termios.tcgetattr(self.terminal)
        self.running = subprocess.Popen(
            command, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, start_new_session=True
        )
        self.seen = b""

    def read_until(self, text: bytes, patience: float = 30) -> None:
        ends = time.monotonic() + patience
        while text not in self.seen:
            assert time.monotonic() < ends, self.seen[-2000:]
            self.read(0.2)

    def read(self, seconds: float) -> None:
        while readable([self.master], seconds):
            self.seen += os.read(self.master, 65536)

    def end(self) -> int:
        status = self.running.wait(timeout=30)
        self.read(0.2)
        return status


@contextmanager
def watching(bare: Cli, *words: str, size: tuple[int, int] = (24, 80)) -> Iterator[Screen]:
    command = [sys.executable, "-m", "postmaster", "--config", str(bare.file), "queue", "watch", *words]
    screen = Screen(command, size)
    try:
        yield screen
    finally:
        screen.running.kill()
        screen.running.wait()
        os.close(screen.master)
        os.close(screen.terminal)


def is_as_before(screen: Screen) -> None:
    assert termios.tcgetattr(screen.terminal) == screen.before
    assert screen.seen.count(b"\x1b[?1049h") == screen.seen.count(b"\x1b[?1049l") == 1
    assert screen.seen.rindex(b"\x1b[?25h") > screen.seen.rindex(b"\x1b[?25l")  # the cursor is there again


@pytest.mark.parametrize(
    ("how", "status"),
    [("q", 0), ("ctrl-d", 0), ("SIGINT", 130), ("SIGTERM", 128 + signal.SIGTERM)],
)
def test_the_terminal_is_left_as_it_was(bare: Cli, queue: Path, how: str, status: int) -> None:
    with watching(bare) as screen:
        screen.read_until(b"DESTINATION")
        assert termios.tcgetattr(screen.terminal) != screen.before
        if how.startswith("SIG"):
            screen.running.send_signal(getattr(signal, how))
        else:
            os.write(screen.master, {"q": b"q", "ctrl-d": b"\x04"}[how])
        assert screen.end() == status
        is_as_before(screen)
        assert b"\x1b[31m3FA" not in screen.seen  # colours of the queue's own are shown, not obeyed


def test_postfix_that_goes_away_for_a_moment_ends_nothing(bare: Cli, queue: Path) -> None:
    program = queue.parent / "bin" / "postqueue"
    whole = program.read_text()
    with watching(bare, "-n", "0.5") as screen:
        screen.read_until(b"4 messages")
        program.write_text("#!/bin/sh\necho 'postqueue: fatal: mail system is down' >&2\nexit 69\n")
        screen.read_until(b"mail system is down")
        queue.write_text(json.dumps(QUEUE[0]) + "\n")
        program.write_text(whole)
        screen.read_until(b"1 messages")
        os.write(screen.master, b"q")
        assert screen.end() == 0
        is_as_before(screen)


@pytest.mark.parametrize("size", [(5, 20), (10, 40), (3, 8), (60, 200)])
def test_small_and_large_terminals(bare: Cli, queue: Path, size: tuple[int, int]) -> None:
    with watching(bare, size=size) as screen:
        screen.read_until(b"4 mes")
        os.write(screen.master, b"q")
        assert screen.end() == 0
        is_as_before(screen)


@pytest.mark.parametrize("width", [1, 10, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 24, 100, None])
def test_no_line_is_wider_and_no_screen_higher(width: int, height: int | None) -> None:
    from postmaster.render.chart import fit

    what: list[Any] = [message(f"例え{n}@d{n}.example", queue_id=f"ID{n}") for n in range(30)]
    shown = lines(Watcher().look(what, NOW), width, height, "queue, 例え" * 20)
    assert height is None or len(shown) <= height
    for line, _ in shown:
        assert fit(line, width) == line
