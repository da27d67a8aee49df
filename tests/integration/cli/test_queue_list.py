"""`queue list` and `queue show` as people and scripts meet them, on a terminal and in a pipe.

`postqueue` and `postcat` are stand-ins that print files: text that no real queue can be made to hold.
"""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli

ESC = "\x1b[31m"


def entry(number: int, **given: Any) -> dict[str, Any]:
    return {
        "queue_name": "deferred",
        "queue_id": f"AAAA{number:06X}",
        "arrival_time": int(time.time()) - 60 * number,
        "message_size": 1000 + number,
        "forced_expire": False,
        "sender": f"sender-with-a-long-name-{number}@a-very-long-domain-name.example",
        "recipients": [
            {
                "address": f"{ESC}r{number}@example.net",
                "delay_reason": f"{ESC}a reason " + "of some length " * 9,
            },
            {"address": "second@example.net"},
        ],
        **given,
    }


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (
        ("postconf", f"echo queue_directory = {tmp_path}/none"),
        ("postqueue", f"cat {tmp_path}/listing"),
        ("postcat", f"cat {tmp_path}/message"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def fill(folder: Path, count: int) -> None:
    lines = [json.dumps(entry(number)) for number in range(1, count + 1)]
    (folder / "listing").write_text("".join(f"{line}\n" for line in lines))


def on_a_terminal(cli: Cli, *arguments: str, columns: int = 100) -> tuple[int, str]:
    """(exit status, what a terminal gets), standard error included."""
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "postmaster", "--config", str(cli.file), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
        env={**os.environ, "COLUMNS": str(columns), "LINES": "30", "TERM": "xterm"},
    )
    os.close(side)
    said = b""
    try:
        while part := os.read(main, 65536):
            said += part
    except OSError:  # what the end of a terminal looks like
        pass
    os.close(main)
    return child.wait(), said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_gets_fifty_lines_that_fit(bare: Cli, programs: Path, columns: int) -> None:
    fill(programs, 70)
    status, said = on_a_terminal(bare, "queue", "list", columns=columns)
    assert status == 0
    assert "20 more; --limit 0 shows all" in said
    lines = [line for line in said.splitlines() if "AAAA" in line]
    assert len(lines) == 50
    assert all(re.match(r"AAAA[0-9A-F]{6} ", line) for line in lines)  # an ID is copied: it is never cut
    assert ESC not in said
    assert "\\x1b[31ma reason" in said
    assert "…" in said
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in said.splitlines()]
    assert max(map(len, plain)) <= columns
    assert len(on_a_terminal(bare, "queue", "list", "--limit", "0", columns=columns)[1].splitlines()) == 71


def test_programs_get_everything(bare: Cli, programs: Path) -> None:
    fill(programs, 70)
    rows = [json.loads(line) for line in bare("queue", "list", "-o", "jsonl").out.splitlines()]
    assert len(rows) == 70
    assert bare("queue", "list", "-o", "json").json == rows
    assert rows[0]["recipients"][0]["address"] == f"{ESC}r1@example.net"
    assert rows[0]["expires"] is rows[0]["damage"] is rows[0]["recipients_done"] is None
    header = bare("queue", "list", "-o", "csv").out.splitlines()[0]
    assert header.split(",") == list(rows[0])
    picked = bare("queue", "list", "--columns", "id,reason,age", "-o", "jsonl", "--limit", "1").out
    assert list(json.loads(picked)) == ["queue_id", "reason", "age"]


def test_an_empty_queue(bare: Cli, programs: Path) -> None:
    fill(programs, 0)
    listed = bare("queue", "list")
    assert (listed.out, listed.err) == ("", "no messages\n")
    assert bare("queue", "list", "-o", "json").json == []
    assert bare("queue", "list", "-o", "jsonl").out == ""
    assert bare("queue", "list", "-o", "csv").out.startswith("instance,queue_name,queue_id")
    assert bare("queue", "list", "--sort", "age", "-o", "json").json == []


def test_too_many_to_sort_need_a_limit(bare: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from postmaster.cli.queue import listing

    monkeypatch.setattr(listing, "SORT_LIMIT", 9)
    fill(programs, 10)
    refused = bare("queue", "list", "--sort", "size", "-o", "jsonl", expect=2)
    assert refused.error["message"] == "sorting more than 9 messages needs --limit"
    done = bare("queue", "list", "--sort", "size", "--limit", "3", "-o", "jsonl")
    assert [json.loads(line)["message_size"] for line in done.out.splitlines()] == [1010, 1009, 1008]
    assert done.err == "7 more; --limit 0 shows all\n"
    done = bare("queue", "list", "--sort=-size", "--limit", "3", "-o", "jsonl")
    assert [json.loads(line)["message_size"] for line in done.out.splitlines()] == [1001, 1002, 1003]


def test_a_forced_source_that_cannot_be_read_is_refused(bare: Cli, programs: Path) -> None:
    refused = bare("queue", "list", "--source", "spool", expect=1)
    assert "cannot be read: No such file or directory" in refused.err


MESSAGE = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= \x1b[31m\n"
    b"From: =?utf-8?b?G1szMW1ldmls?= <evil@example.org>\n"
    b"X-Other: not shown by itself\n"
    b"Content-Type: multipart/mixed; boundary=b\n\n"
    b"--b\n\nHello \x1b]0;title\x07 \xe2\x80\xaedlrow\n\n"
    b'--b\nContent-Type: application/pdf; name="\x1b[2Jbill.pdf"\n\n%PDF\n--b--\n'
)


def test_a_message_is_shown_and_cannot_reach_the_terminal(bare: Cli, programs: Path) -> None:
    fill(programs, 3)
    (programs / "message").write_bytes(MESSAGE)
    status, said = on_a_terminal(bare, "queue", "show", "AAAA000001", "--body")
    assert status == 0
    assert not any(c in said for c in ("\x1b", "\x07", "\u202e"))
    assert "Subject: Grüße" in said
    assert "X-Other" not in said
    assert "application/pdf" in said
    assert "bill.pdf" in said
    assert "dlrow" in said
    assert "X-Other: not shown by itself" in bare("queue", "show", "AAAA000001", "--headers").out
    shown = bare("queue", "show", "AAAA000001", "-o", "json", "--body").json
    assert shown["parts"][2]["file_name"] == "\x1b[2Jbill.pdf"
    assert shown["recipients_finished"] is None
    several = bare("queue", "show", "AAAA000001", "AAAA000002", "-o", "json").json
    assert [one["queue_id"] for one in several] == ["AAAA000001", "AAAA000002"]


def test_a_raw_message_goes_into_a_pipe_alone(bare: Cli, programs: Path) -> None:
    fill(programs, 2)
    (programs / "message").write_bytes(MESSAGE)
    status, said = on_a_terminal(bare, "queue", "show", "AAAA000001", "--raw")
    assert (status, "\x1b" in said) == (2, False)
    assert "add --escape" in said
    status, said = on_a_terminal(bare, "queue", "show", "AAAA000001", "--raw", "--escape")
    assert (status, "\x1b" in said) == (0, False)
    assert "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= \\x1b[31m\n" in said
    piped = subprocess.run(
        [
            sys.executable,
            "-m",
            "postmaster",
            "--config",
            str(bare.file),
            "queue",
            "show",
            "AAAA000001",
            "--raw",
        ],
        capture_output=True,
        check=True,
    )
    assert piped.stdout == MESSAGE
    assert "one message" in bare("queue", "show", "AAAA000001", "AAAA000002", "--raw", expect=2).err


def test_some_of_several_are_there(bare: Cli, programs: Path) -> None:
    fill(programs, 1)
    (programs / "message").write_bytes(b"\n")
    done = bare("queue", "show", "AAAA000001", "AAAA0000FF", expect=3)
    assert "queue id" in done.out
    assert "there is no message AAAA0000FF" in done.err
    assert "no message ../etc/passwd" in bare("queue", "show", "../etc/passwd", expect=1).err


def test_what_the_list_does_not_need_is_not_loaded(bare: Cli, programs: Path) -> None:
    fill(programs, 3)
    code = (
        "import sys; from postmaster.cli.main import main;"
        f"main(['--config', {str(bare.file)!r}, 'queue', 'list', '-o', 'jsonl']);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('sqlalchemy', 'alembic', 'passlib', 'argon2', 'rich', 'cryptography', 'email')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
