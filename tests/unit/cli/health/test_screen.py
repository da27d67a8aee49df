"""A check's report on a terminal: problems first, coloured there alone; what is well in a line, or each."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.cli.health.screen import NARROWEST, lines, show
from postmaster.health.finding import Severity
from postmaster.health.report import Report, words
from postmaster.render.escape import printable
from tests.tools.reports import all_well, any_report, everything

WIDTH = 100


def told(report: Report, width: int | None = None, *, every: bool = False) -> str:
    return "".join(f"{line.text}\n" for line in lines(report, width, every=every))


def on_a_terminal(report: Report) -> str:
    """What a terminal gets."""
    mine, theirs = pty.openpty()
    got: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # its other end is closed
            while part := os.read(mine, 4096):
                got.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as output:
        show(output, report)
    reader.join()
    os.close(mine)
    return b"".join(got).decode()


def test_problems_come_first_each_with_what_to_do() -> None:
    text = told(everything())
    rows = text.splitlines()
    assert rows[0] == "mail.example.org: 2 critical problems, 1 warning, 1 unknown, 1 acknowledged"
    assert rows[2].startswith("critical  services smtp ")
    assert rows[2].endswith("  port 25 does not answer: Connection refused")
    assert rows[3].strip() == "-> " + str(everything().findings[0].finding.remedy)
    assert rows[4].strip() == "since 24 Nov, 06:48 (11m)"
    states = [row.split()[0] for row in rows if row and not row[0].isspace()][1:-1]
    assert states == ["critical", "critical", "warning", "unknown", "warning", "ok"]
    assert "ok        services 7, machine 3\n" in text
    assert rows[-1] == "mail is critical"
    assert "acknowledged by root until 29 Nov, 07:00: the new one comes on <Monday>" in text


def test_what_is_well_is_listed_when_asked_for() -> None:
    assert "greets after" not in told(all_well())
    rows = told(all_well(), every=True).splitlines()
    assert sum(row.startswith("ok ") for row in rows) == len(all_well().findings)
    assert rows[-1] == "mail is ok"


@given(any_report(), st.integers(20, 200) | st.none(), st.booleans())
def test_every_problem_is_shown_whole_and_safe(report: Report, width: int | None, every: bool) -> None:
    text = told(report, width, every=every)
    assert all(line == printable(line) for line in text.split("\n"))
    squeezed = "".join(text.split())
    for one in report.findings:
        if every or one.finding.severity is not Severity.ok:
            for part in (words.name(one.finding), one.finding.message):
                assert "".join(printable(part).split()) in squeezed


@given(st.integers(60, 200))
def test_messages_are_broken_at_the_width_and_commands_never(width: int) -> None:
    for line in lines(everything(), width):
        if "->" not in line.text and not line.dim and not line.text.startswith("mail.example.org"):
            longest = max(map(len, line.text.split()), default=0)
            assert len(line.text) <= max(width, 12 + 32 + max(NARROWEST, longest))
    assert f"-> {everything().findings[0].finding.remedy}\n" in told(everything(), width)


def test_colour_is_for_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    drawn = on_a_terminal(everything())
    assert "\x1b[1;31mcritical\x1b[0m" in drawn
    assert "\x1b[2m" in drawn  # dim: how long it has lasted
    bare = re.sub(r"\x1b\[[\d;]*m", "", drawn).replace("\r\n", "\n")
    assert bare == told(everything(), WIDTH)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in on_a_terminal(everything())
    pipe = io.StringIO()
    show(pipe, replace(everything(), host="[red]x"))
    assert "\x1b" not in pipe.getvalue()
    assert pipe.getvalue().startswith("[red]x: ")


def test_into_a_pipe_rich_is_not_loaded() -> None:
    script = (
        "import sys; from postmaster.cli.health import screen; from tests.tools.reports import all_well; "
        "screen.show(sys.stdout, all_well()); assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
