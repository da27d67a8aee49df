"""queue and health where no server runs: clear words, the right exit status. With servers: tests/server."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from .conftest import Cli

LINES = [
    b'{"queue_name": "deferred", "queue_id": "AAA1", "arrival_time": 1780000000, "message_size": 2048,'
    b' "forced_expire": false, "sender": "amy@example.org", "recipients": [{"address": "x@example.net",'
    b' "delay_reason": "connect to mx.example.net: \\u001b[31mrefused"}, {"address": "y@example.net"}]}',
    b'{"queue_name": "hold", "queue_id": "BBB2", "arrival_time": 1780000100, "message_size": 10,'
    b' "sender": "MAILER-DAEMON", "recipients": [{"address": "[red]z@example.net"}]}',
]


@pytest.fixture
def postqueue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for postqueue that prints a file: lines that no real queue can be made to hold."""
    listing = tmp_path / "listing"
    listing.write_bytes(b"\n".join(LINES) + b"\n")
    program = tmp_path / "bin" / "postqueue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {listing}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return listing


def test_a_queue_as_table_and_json(bare: Cli, postqueue: Path) -> None:
    table = bare("queue", "list").out
    assert "\x1b" not in table
    assert "\\x1b[31mrefused" in table
    assert "x@example.net (+1)" in table
    assert "[red]z@example.net" in table
    rows = bare("queue", "list", "-o", "json").json
    assert set(rows[0]) >= {
        *("queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender", "recipients"),
    }
    assert rows[0]["arrival_time"] == "2026-05-28T20:26:40Z"
    assert rows[1]["sender"] == ""
    assert rows[1]["forced_expire"] is None
    assert bare("queue", "list", "--limit", "1", "-o", "json").json == rows[:1]
    assert "1 more" in bare("queue", "list", "--limit", "1").err


def test_what_cannot_be_read_is_counted(bare: Cli, postqueue: Path) -> None:
    postqueue.write_bytes(b"\n".join([LINES[0], b"rubbish", b"{}", LINES[1]]) + b"\n")
    done = bare("queue", "list", "-o", "json", expect=3)
    assert len(done.json) == 2
    assert "2 entries" in done.error["message"]


def test_a_message_that_is_not_there(bare: Cli, postqueue: Path) -> None:
    assert "no message CCC3" in bare("queue", "show", "CCC3", expect=1).err
    refused = bare("queue", "flush", "CCC3", "-o", "json", expect=1)
    assert refused.error["code"] == "not_found"
    assert refused.json["left"] == ["CCC3: not in the queue"]
    held = bare("queue", "flush", "BBB2", "-o", "json", expect=1)
    assert held.json["left"] == ["BBB2: in hold"]


def test_without_postfix(bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = bare("queue", "list", expect=1)
    assert "postqueue is not installed" in told.err
    assert told.err.count("\n") == 1


def test_health_without_servers(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [row["name"] for row in cli("health", "list", "-o", "json").json]
    assert names == ["services", "queue", "disk", "look-ups"]
    for name in ("SMTP", "SUBMISSION", "SUBMISSIONS", "IMAP", "IMAPS", "POP3", "POP3S"):
        monkeypatch.setenv(f"POSTMASTER_SERVER_{name}_PORT", "1")  # tcpmux: nobody listens
    told = cli("health", "check", "services", "-o", "json", expect=2).json
    assert told["status"] == "critical"
    assert set(told["findings"][0]) == {"check", "object", "status", "message", "remedy"}
    good = cli("health", "check", "look-ups", "-o", "json")
    assert {f["status"] for f in good.json["findings"]} == {"ok"}
    assert "mail is critical" in cli("health", "check", "services", expect=2).out
    assert "there is no check nonsense" in cli("health", "check", "nonsense", expect=3).err


def test_health_notices_look_ups_that_servers_cannot_use(cli: Cli, tmp_path: Path) -> None:
    cli("domain", "add", "example.org")
    lookups = tmp_path / "d" / "lookups"
    for gone in (["-shm"], ["-wal", "-shm"]):
        for ending in gone:
            (lookups / f"postfix.db{ending}").unlink()
        told = cli("health", "check", "look-ups", "-o", "json", expect=2).json
        wanted = " and ".join(f"postfix.db{ending}" for ending in gone) + " is missing"
        assert any(f["message"].startswith(wanted) for f in told["findings"])
        cli("publish")
        cli("health", "check", "look-ups")
    (lookups / "dovecot.db").unlink()
    assert "publish" in cli("health", "check", "look-ups", expect=2).out
