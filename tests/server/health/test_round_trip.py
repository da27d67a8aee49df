"""The round trip: a real message in and out, its faults, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

from postmaster.health.finding import Severity
from tests.tools.mail import Lab

from .conftest import faulty
from .faults import dovecot_with, gone, postfix_stopped
from .round_trips import ROUND_TRIP, left, tried


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


def test_a_reflector_needs_an_account_that_lasts(sick: Lab) -> None:
    settings = replace(sick.settings, health=replace(sick.settings.health, reflector="echo@elsewhere.test"))
    assert tried(settings)["reflector"].code == "probe-account"
