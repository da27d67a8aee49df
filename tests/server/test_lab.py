"""A lab touches nothing but its folder, and every step can be repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postmaster.errors import NotFoundError, ServerError
from postmaster.lab import lifecycle
from postmaster.lab.layout import POSTMASTER, SERVICES, is_free
from tests.tools.mail import Lab


def password_of(lab: Lab) -> str:
    return (lab.root / "postmaster.password").read_text().strip()


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "postmaster", "lab", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_start_status_stop_and_remove_by_command(place: Callable[[], Path]) -> None:
    folder = place() / "lab"
    assert command("start", folder).returncode == 0
    told = json.loads(command("status", folder, "-o", "json").stdout)
    assert [one["name"] for one in told["services"]] == list(SERVICES)
    assert set(told["services"][0]) == {"name", "host", "port", "tls", "pid"}
    assert told["running"] is True
    assert [one["name"] for one in told["services"] if one["tls"]] == ["submissions", "imaps", "pop3s"]
    assert all(Path(f"/proc/{one['pid']}").exists() for one in told["services"])
    first = Lab(lifecycle.status(folder))
    first.send(POSTMASTER, "before the stop")
    first.wait_for(POSTMASTER, "before the stop", password_of(first))

    assert command("start", folder).returncode == 0
    assert lifecycle.status(folder) == first.status

    for _ in range(2):
        assert command("stop", folder).returncode == 0
    stopped = lifecycle.status(folder)
    assert not stopped.running
    assert all(one.pid is None and is_free(one.port) for one in stopped.services)

    assert command("start", folder).returncode == 0
    again = Lab(lifecycle.status(folder))
    assert [one.port for one in again.status.services] == [one.port for one in first.status.services]
    assert len(again.wait_for(POSTMASTER, "before the stop", password_of(first))) == 1

    refused = command("remove", folder)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert command("remove", folder, "--yes").returncode == 0
    assert not folder.exists()
    assert command("status", folder).returncode == 1


def test_two_labs_run_side_by_side(lab: Lab, place: Callable[[], Path]) -> None:
    other = Lab(lifecycle.start(place()))
    try:
        other.send(POSTMASTER, "for the other lab")
        lab.send(POSTMASTER, "for the first lab")
        other.wait_for(POSTMASTER, "for the other lab", password_of(other))
        lab.wait_for(POSTMASTER, "for the first lab", password_of(lab))
        assert not any("other lab" in str(m["Subject"]) for m in lab.mailbox(POSTMASTER, password_of(lab)))
        assert {s.port for s in lab.status.services}.isdisjoint(s.port for s in other.status.services)
    finally:
        lifecycle.stop(other.root)
    assert lifecycle.status(lab.root).running
    assert lab.rcpt(POSTMASTER)[0] == 250
    lifecycle.remove(other.root)


def test_a_lab_starts_again_after_its_servers_were_killed(place: Callable[[], Path]) -> None:
    crashed = Lab(lifecycle.start(place()))
    for pid in {one.pid for one in crashed.status.services if one.pid}:
        os.kill(pid, signal.SIGKILL)
    ends = time.monotonic() + 30
    while lifecycle.status(crashed.root).running and time.monotonic() < ends:
        time.sleep(0.1)
    assert not lifecycle.status(crashed.root).running
    # Orphans still hold the ports for a moment; then the lab has its old ones or new ones.
    again = Lab(lifecycle.start(crashed.root))
    assert again.rcpt(POSTMASTER)[0] == 250
    lifecycle.remove(again.root)


def test_a_lab_is_made_nowhere_else(place: Callable[[], Path]) -> None:
    folder = place()
    (folder / "precious").write_text("mine")
    with pytest.raises(ServerError, match="is there and is no lab"):
        lifecycle.start(folder)
    for act in (lifecycle.status, lifecycle.stop, lifecycle.remove):
        with pytest.raises(NotFoundError, match="is no lab"):
            act(folder)
    assert [one.name for one in folder.iterdir()] == ["precious"]
    with pytest.raises(ServerError, match="too long"):
        lifecycle.start(folder / ("x" * 100))
    with pytest.raises(ServerError, match="cannot name"):
        lifecycle.start(folder / "with space")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerError, match="cannot pass through"):
        lifecycle.start(closed / "lab")


def test_a_running_lab_writes_nothing_outside_its_folder(lab: Lab) -> None:
    """Every path in both servers' configuration that is not the system's own is below the folder."""
    main = subprocess.run(
        [
            "postconf",
            "-c",
            str(lab.root / "postfix"),
            "-x",
            "queue_directory",
            "data_directory",
            "maillog_file",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"= {lab.root}/" in line for line in main.splitlines())
    dovecot = subprocess.run(
        ["doveconf", "-c", str(lab.root / "dovecot" / "dovecot.conf"), "base_dir", "state_dir", "log_path"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"= {lab.root}/" in line for line in dovecot.splitlines())
    submission = subprocess.run(
        ["doveconf", "-c", str(lab.root / "dovecot" / "dovecot.conf"), "-h", "submission_host"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert submission.strip() == f"127.0.0.1:{lab.port('smtp')}"
