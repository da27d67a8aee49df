"""A summary on terminals of several widths: every line fits, and a reason can be read."""

from __future__ import annotations

import io
import re
import sys
import time
from functools import reduce

import pytest

from postmaster.cli.queue.summary import _print_table
from postmaster.queue import summary as counting
from postmaster.queue.message import Recipient
from tests.tools.messages import message

REASONS = (
    "connect to mx{}.example.net[192.0.2.{}]:25: Connection refused",
    "host mx{}.example.org[192.0.2.{}] said: 450 4.2.0 <bob@example.org>: Recipient address rejected: "
    "Greylisted, see https://greylist.example/help?id={} (in reply to RCPT TO command)",
)


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, by: str, width: int) -> list[str]:
    now = int(time.time())
    messages = [
        message(
            Recipient(f"to{number}@example.net", REASONS[number % 2].format(number, number, number), "4.4.1"),
            queue_id=f"8E36022{number:04X}",
            arrival_time=now - 90_000 - number,
            sender=f"somebody{number}@a-rather-long-name.sender.example",
            next_retry=now + 600,
        )
        for number in range(40)
    ]
    found = reduce(counting.add, messages, counting.start(by, now))
    screen = Screen()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "50")
    monkeypatch.setattr(sys, "stdout", screen)
    _print_table(found, found.whole(20), age=False)
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_by_reason_a_line_has_room_for_the_words(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = drawn(monkeypatch, "reason", width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "connect to HOST" in text
    assert "4.2.0" in text
    if width < 110:  # the reason and, below it, its example, each in two lines at most
        assert len(lines) <= 1 + 1 + 2 * 4
        assert "connect to mx" in " ".join(text.split())
        assert "Recipient" in text
        assert "said: 450 4.2.0" in " ".join(text.split())
    else:
        assert len(lines) == 1 + 1 + 2


@pytest.mark.parametrize("by", ["recipient-domain", "sender", "queue"])
@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_leaves_out_numbers_rather_than_to_break_names(
    monkeypatch: pytest.MonkeyPatch, by: str, width: int
) -> None:
    lines = drawn(monkeypatch, by, width)
    assert max(map(len, lines)) <= width
    counted = "RECIPIENTS" if by == "recipient-domain" else "MESSAGES"
    assert counted in lines[0]
    assert ("SIZE" in lines[0]) == (width == 80)
    if by != "sender":
        assert {"recipient-domain": "example.net", "queue": "deferred"}[by] in lines[-1].split()
