"""queue and health where no server runs: clear words, the right exit status. With servers: tests/server."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from postmaster.health.checks import NAMES
from postmaster.queue.store import open_store
from postmaster.settings import load_settings
from tests.tools import stand_in

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
    return stand_in.postqueue(tmp_path, monkeypatch, LINES)


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


def test_without_postfix(bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = bare("queue", "list", expect=1)
    assert "postconf is not installed" in told.err
    assert told.err.count("\n") == 1


@pytest.fixture
def passable(tmp_path: Path) -> None:
    """The servers' users get to the look-ups; what pytest makes is its own user's alone."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
        if folder.name.startswith("pytest-of-") or folder.parent == Path(tempfile.gettempdir()):
            break


def test_health_without_servers(cli: Cli, passable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [row["name"] for row in cli("health", "list", "-o", "json").json]
    assert names == list(NAMES)
    for name in ("SMTP", "SUBMISSION", "SUBMISSIONS", "IMAP", "IMAPS", "POP3", "POP3S"):
        monkeypatch.setenv(f"POSTMASTER_SERVER_{name}_PORT", "1")  # tcpmux: nobody listens
    told = cli("health", "check", "services", "-o", "json", expect=2).json
    assert told["status"] == "critical"
    listeners = [one for one in told["findings"] if not one["object"].endswith(" relay")]
    assert {finding["code"] for finding in listeners} == {"service-down"}
    told = cli("health", "check", "directory", "-o", "json", expect=None).json
    assert {f["status"] for f in told["findings"] if f["object"].endswith(".db")} == {"ok"}
    assert all(f["remedy"] for f in told["findings"] if f["status"] != "ok")
    assert "mail is critical" in cli("health", "check", "services", expect=2).out
    assert "there is no check nonsense" in cli("health", "check", "nonsense", expect=3).err


def test_health_notices_look_ups_that_servers_cannot_use(cli: Cli, passable: None, tmp_path: Path) -> None:
    cli("domain", "add", "example.org")
    lookups = tmp_path / "d" / "lookups"
    for gone in (["-shm"], ["-wal", "-shm"]):
        for ending in gone:
            (lookups / f"postfix.db{ending}").unlink()
        told = cli("health", "check", "directory", "-o", "json", expect=2).json
        wanted = " and ".join(f"postfix.db{ending}" for ending in gone) + " is missing"
        assert any(f["message"].startswith(wanted) for f in told["findings"])
        cli("publish")
        told = cli("health", "check", "directory", "-o", "json", expect=None).json
        assert {f["status"] for f in told["findings"] if f["object"].endswith(".db")} == {"ok"}
    (lookups / "dovecot.db").unlink()
    assert "publish" in cli("health", "check", "directory", expect=2).out


def test_an_empty_history_and_an_empty_trash_say_so(bare: Cli) -> None:
    for words, said in ((("history",), "nothing was done to the queue yet"), (("trash", "list"), "is empty")):
        shown = bare("queue", *words)
        assert (shown.out, said in shown.err) == ("", True)
        quiet = bare("queue", *words, "-o", "json")
        assert (quiet.json, quiet.err) == ([], "")
    assert bare("queue", "trash", "purge", "--all", "-o", "json").json == {"purged": 0}


def test_a_history_leaves_out_what_a_narrow_terminal_has_no_room_for(
    bare: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(load_settings(bare.file).state) as store:
        store.begin(
            verb="hold",
            command="queue hold --all",
            who="root",
            reason="to look at it",
            filter_text="--all",
            options={},
            messages=[],
        )
    for width, is_whole in ((60, False), (80, False), (140, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        shown = bare("queue", "history")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.out)
        assert max(map(len, plain.splitlines())) <= width
        assert ("STATE" in plain, "to look at it" in plain) == (is_whole, is_whole)
        assert "root" in plain
    assert "nothing" not in shown.err
