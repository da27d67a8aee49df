"""The round trip: a real message in and out, its faults, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from postmaster.health.finding import Finding, Severity
from postmaster.health.run import choose, run
from postmaster.settings import Settings
from tests.tools.mail import Lab, password_hash

from .conftest import faulty
from .faults import dovecot_with, gone, postfix_stopped

ROUND_TRIP = ["round-trip"]
OTHERS = ["round-trip/*"]


def tried(settings: Settings) -> dict[str, Finding]:
    return {one.object: one for one in run(settings, choose(ROUND_TRIP, []))}


def left(lab: Lab) -> dict[str, object]:
    """All that a round trip could leave behind."""
    found: dict[str, object] = {}
    for name, table in (("dovecot", "account"), ("postfix", "address"), ("postfix", "domain")):
        file = lab.root / "lookups" / f"{name}.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            rows = connection.execute(f"SELECT count(*) FROM {table} WHERE id < 0").fetchone()[0]
        found |= {f"rows of {table}": rows} if rows else {}
    folders = [path.name for path in (lab.root / "mail").glob("probe-*")]
    found |= {"folders": folders} if folders else {}
    queued = json.loads(lab.postmaster("queue", "list", "sender=probe@*", "-o", "json").stdout)
    found |= {"messages": queued} if queued else {}
    notes = list((lab.root / "state" / "health" / "trips").glob("*"))
    return found | ({"notes": notes} if notes else {})


def test_a_message_goes_in_and_out_and_leaves_nothing(sick: Lab) -> None:
    found = tried(sick.settings)
    assert {name: one.code for name, one in found.items()} == dict.fromkeys(
        ("submission", "imap", "pop3", "total"), "ok"
    )
    assert all(one.measures[0].unit == "s" for one in found.values())
    assert left(sick) == {}


def test_it_can_be_turned_off(sick: Lab) -> None:
    assert tried(replace(sick.settings, health=replace(sick.settings.health, round_trip=False))) == {}


def test_nothing_is_delivered_where_the_socket_is_gone(sick: Lab) -> None:
    fault = gone(sick.root / "spool" / "private" / "dovecot-lmtp")
    with faulty(sick.settings, ROUND_TRIP, "not-delivered", "imap", fault) as found:
        assert "No such file or directory" in found.message
        assert left(sick) == {}


def test_postfix_stopped(sick: Lab) -> None:
    with faulty(sick.settings, ROUND_TRIP, "submission-refused", "submission", postfix_stopped(sick)):
        assert left(sick) == {}


def test_pop3_off(sick: Lab) -> None:
    off = "service pop3-login {\n  inet_listener pop3 {\n    port = 0\n  }\n}"
    with faulty(sick.settings, ROUND_TRIP, "pop3-refused", "pop3", dovecot_with(sick, off)):
        assert left(sick) == {}


def test_a_slow_round_trip(sick: Lab) -> None:
    settings = replace(sick.settings, health=replace(sick.settings.health, round_trip_warning=0.0))
    found = tried(settings)["total"]
    assert (found.code, found.severity) == ("round-trip-slow", Severity.warning)


def killed_run(lab: Lab) -> None:
    """A run that is killed while its message waits in the queue."""
    words = ("--config", str(lab.status.settings_file), "health", "check", "round-trip")
    environment = {**os.environ, "POSTMASTER_HEALTH_DEADLINE": "60"}
    # Nobody tells it that the message cannot be delivered: it goes on looking.
    code = (
        "from postmaster.health.checks import round_trip\n"
        "round_trip._Round._hindrance = lambda self: ''\n"
        "from postmaster.cli.main import run\nrun()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends = time.monotonic() + 30
    try:
        while not left(lab).get("messages") and time.monotonic() < ends:
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_what_a_killed_run_left_is_taken_away_by_the_next(sick: Lab) -> None:
    with gone(sick.root / "spool" / "private" / "dovecot-lmtp"):
        killed_run(sick)
        assert {"rows of account", "messages", "notes"} <= set(left(sick))
    assert {one.code for one in tried(sick.settings).values()} == {"ok"}
    assert left(sick) == {}


@pytest.fixture
def lasting(sick: Lab, tmp_path: Path) -> Settings:
    """A user for the round trip."""
    with sick.change() as make:
        make.user("probe@lab.test", password_hash=password_hash(), quota=1 << 20)
    file = tmp_path / "probe.password"
    file.write_text("correct horse battery\n")
    file.chmod(0o600)
    health = replace(sick.settings.health, probe_address="probe@lab.test", probe_password_file=str(file))
    return replace(sick.settings, health=health)
