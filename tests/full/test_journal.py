"""Postfix's and Dovecot's lines in a real journal, as journalctl prints it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postmaster.cli.main import app
from postmaster.postfix.forms import LEFT_OUT
from postmaster.trace.blocks import blocks, placed_blocks
from postmaster.trace.filter import Filter
from postmaster.trace.report import count, unparsed
from postmaster.trace.sources import Notes, Period, Source
from tests.conftest import IN_CI
from tests.tools.journal import MAIL, REMOTE, Entry, write

BEGIN = datetime(2026, 5, 28, 20, 0, 0, 250_000, tzinfo=UTC).timestamp()
ID = "4B7Z2K5NHbz8gQ"
LONG = b"x" * 9000
_TEXTS = (
    (0, "postfix/smtpd", b"ID: client=c[192.0.2.1]"),
    (1, "postfix/cleanup", b"ID: message-id=<\xff\x01@outside.test>"),
    (2, "postfix/qmgr", b"ID: from=<amy@x.test>, size=700, nrcpt=1 (queue active)"),
    (3, "postfix/smtp", b"ID: to=<bob@y.test>, relay=none, delay=3, dsn=4.4.1, "
     b"status=deferred (" + LONG + b")"),
    (4, "dovecot", b"lmtp(bob@y.test)<1><s>: Error: two\nlines"),
    (5, "kernel", b"postfix/smtpd[1]: nothing of ours"),
    (6, "postfix/smtp", b"ID: to=<bob@y.test>, relay=y[192.0.2.9]:25, delay=6, dsn=2.0.0, "
     b"status=sent (250 ok)"),
    (6.5, "postfix/qmgr", b"ID: removed"),
)  # fmt: skip
ENTRIES = [
    Entry(BEGIN + at, name, 10, text.replace(b"ID", ID.encode()), "0" if name == "kernel" else MAIL)
    for at, name, text in _TEXTS
]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REMOTE.exists() or shutil.which("journalctl") is None:
        reason = "systemd-journal-remote is not installed"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("journal") / "system.journal"
    write(path, ENTRIES)
    return path


@pytest.fixture
def as_the_servers(journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """journalctl reads this journal for its own."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("journalctl")} --file {journal} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return Source(None, BEGIN)


def printed(journal: Path, *options: str) -> str:
    argv = ["journalctl", "--file", str(journal), "-o", "json", *options]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_servers_journal_is_counted(as_the_servers: Source) -> None:
    notes = Notes()
    found = count([[as_the_servers]], Period(), Filter(), notes)
    assert not notes.problems
    assert {key: number for key, number in found.totals.items() if number} == {
        "received": 1, "delivered": 1, "deferred": 1, "deferrals": 1, "bytes_received": 700,
        "bytes_delivered": 700}  # fmt: skip
    assert found.complaints == {("error", "dovecot lmtp", "two lines"): 1}
    assert (found.lines, found.unknown) == (len(ENTRIES) - 1, 0)  # the kernel's is of another facility
    assert [len(reason) > 100 for _, reason in found.reasons] == [True]


@pytest.mark.parametrize(("begin", "end"), [(0.9, 2.1), (1.0, 3.0), (0.4, 0.6), (5.9, 9.0)])
def test_a_period_of_the_journal_is_exact(as_the_servers: Source, begin: float, end: float) -> None:
    period = Period(BEGIN + begin, BEGIN + end)
    expected = [e for e in ENTRIES if begin <= round(e.time - BEGIN, 3) < end and e.facility == MAIL]
    text = b"".join(blocks(as_the_servers, period, Notes()))
    assert [line.partition(b" ")[0].decode() for line in text.splitlines()] == [
        datetime.fromtimestamp(one.time, UTC).isoformat(timespec="microseconds") for one in expected
    ]


def test_a_line_has_one_place_whatever_is_asked_for(as_the_servers: Source) -> None:
    """What journalctl prints begins elsewhere each time: its bytes cannot tell two lines apart."""

    def places(since: float) -> list[int]:
        return [
            place
            for block in placed_blocks(as_the_servers, Period(BEGIN + since), Notes())
            for place in block.places([found.start() for found in re.finditer(rb"(?m)^.", block.text)])
        ]

    every = places(-1.0)
    assert len(set(every)) == len(every) == len(ENTRIES) - 1
    assert every == sorted(every)
    assert places(3.0) == every[-len(places(3.0)) :]
    assert len(places(3.0)) == sum(e.facility == MAIL and e.time >= BEGIN + 3 for e in ENTRIES)


def test_a_message_is_traced_in_what_was_printed(journal: Path, tmp_path: Path) -> None:
    log = tmp_path / "mail.json"
    log.write_text(printed(journal, "--all"))
    done = CliRunner().invoke(app, ["trace", ID, "--log", str(log), "-o", "json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert (found["sender"], found["outcome"], found["size"]) == ("amy@x.test", "sent", 700)
    assert found["message_id"] == "<\udcff\x01@outside.test>"
    assert len(found["lines"]) == 6
    (one,) = found["recipients"]
    assert (one["attempts"], one["relay"]) == (2, "y[192.0.2.9]:25")


def test_a_text_that_journalctl_left_out_is_counted_as_not_understood(journal: Path, tmp_path: Path) -> None:
    log = tmp_path / "mail.json"
    log.write_text(printed(journal))
    logs = [[Source(log, log.stat().st_mtime, log.stat().st_size)]]
    lines = list(unparsed(logs, Period(), Notes()))
    assert [LEFT_OUT in line for line in lines] == [True]
    assert count(logs, Period(), Filter(), Notes()).totals["deferrals"] == 0
