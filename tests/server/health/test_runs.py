"""Runs that are cut off, that meet each other, a full disk, or a server that says nothing."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.health import alone
from postmaster.health import state as module
from postmaster.health.finding import NO_ANSWER, OK, Check, Context, Finding, Measure, Severity
from postmaster.health.record import Wish, report
from postmaster.health.report import Report
from postmaster.health.run import run
from postmaster.health.state import open_state
from postmaster.settings import ServerSettings, Settings, StateSettings, as_toml
from tests.tools import killing
from tests.tools.building import settings_under

COMMAND = [sys.executable, "-m", "postmaster"]


def settings_in(folder: Path, **health: Any) -> Settings:
    base = settings_under(folder)
    return replace(base, health=replace(base.health, **health))


def written(settings: Settings, folder: Path) -> Path:
    file = folder / "postmaster.toml"
    file.write_text(as_toml(settings))
    return file


def ill(_: Context) -> list[Finding]:
    measures = tuple(Measure(f"m{n}", n) for n in range(50))
    return [Finding("queue", "size", "bad", Severity.critical, "long", "look", measures)]


def made(settings: Settings, **wish: Any) -> Report:
    with report(settings, [Check("queue", "", {}, ill)], Wish(**wish)) as result:
        return result


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_at_any_write_spoils_nothing(place: Callable[[], Path], shim: Path) -> None:
    """It is kept whole or not at all, the next run takes over, and what began is told once by who told it."""
    folder = place()
    settings = settings_in(folder, flap=1, webmail_url="no address")
    worker = killing.worker(written(settings, folder), shim)
    database = folder / module.FILE
    kills, runs, status = 0, 0, -9
    try:
        for n in range(1, 500):
            task = {"n": n, "command": ["health", "check", "webmail", "--changes", "-o", "json"]}
            status = worker.ask(json.dumps(task) + "\n")
            kills += status < 0
            with open_state(settings.state) as state:
                known = state.known()
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                (now,) = connection.execute("SELECT count(*) FROM run").fetchone()
                events = connection.execute("SELECT object, change FROM event").fetchall()
            assert now in (runs, runs + 1)
            assert len(set(events)) == len(events), "a problem began twice"
            assert (now > 0) is any(one.level for one in known.values())
            runs = now
            if status >= 0:
                break
    finally:
        worker.end()
    assert status >= 0, "it never completed"
    assert kills > 10
    with open_state(settings.state) as state:
        assert state.changes(time.time())[0] == [], "it completed, and so it was told"
    print(f"killed {kills} times, {runs} runs kept")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Take what room is left."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as output:
        try:
            while output.write(b"x" * 512):
                pass
        except OSError:
            return file
    raise AssertionError


def test_a_full_disk_loses_the_state_of_its_runs_alone(place: Callable[[], Path]) -> None:
    with small_disk(place() / "small", "512k") as folder:
        settings = settings_in(folder, flap=1)
        with report(settings, [Check("queue", "", {}, lambda _: ())], Wish(changes=True)) as before:
            assert before.quiet
        filler = fill(folder)
        first = made(settings, changes=True)
        assert "this run is not kept" in first.notes[0]
        assert "full" in first.notes[0]
        assert [event.finding.code for event in first.events or ()] == ["bad"]
        assert made(settings, changes=True).quiet, "once a day"
        plain = made(settings)
        assert plain.notes
        assert plain.status is Severity.critical
        filler.unlink()
        again = made(settings, changes=True)
        assert not again.notes
        assert [event.finding.code for event in again.events or ()] == ["bad"]
        assert made(settings, changes=True).quiet
        with closing(sqlite3.connect(folder / module.FILE)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_disk_that_is_full_from_the_start_costs_no_report(place: Callable[[], Path]) -> None:
    with small_disk(place() / "small", "64k") as folder:
        fill(folder)
        told = made(settings_in(folder), changes=True)
        assert told.notes
        assert told.status is Severity.critical


def test_20_checks_of_which_3_hang() -> None:
    """The report comes when the deadline does, and names them."""
    gate = threading.Event()

    def well(_: Context) -> list[Finding]:
        return [Finding("well", "x", OK, Severity.ok, "fine")]

    def hang(_: Context) -> Iterator[Finding]:
        yield Finding("hangs", "x", OK, Severity.ok, "so far")
        gate.wait(60)

    checks = [Check(f"c{n}", "", {}, hang if n in (3, 9, 19) else well) for n in range(20)]
    settings = replace(Settings(), health=replace(Settings().health, deadline=1.0))
    begun = time.monotonic()
    try:
        found = run(settings, checks)
    finally:
        took = time.monotonic() - begun
        gate.set()
    assert took <= settings.health.deadline + 1
    assert [one.check for one in found if one.code == NO_ANSWER] == ["c3", "c9", "c19"]
    assert len(found) == 20 + 3


@contextmanager
def silent() -> Iterator[int]:
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


def test_a_server_that_says_nothing_costs_the_command_its_deadline(place: Callable[[], Path]) -> None:
    folder = place()
    with silent() as port:
        names = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
        base = settings_in(folder, deadline=2.0)
        ports: dict[str, Any] = {f"{name}_port": port for name in names}
        settings = replace(base, server=ServerSettings(**ports))
        done = subprocess.run(
            [*COMMAND, "--config", written(settings, folder), "health", "check", "-o", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    told = json.loads(done.stdout)
    assert done.returncode == 2
    assert told["took"] <= settings.health.deadline + 1
    silent_ones = {
        one["object"] for one in told["findings"] if one["check"] == "services" and one["status"] != "ok"
    }
    assert silent_ones >= {"smtp"}
    assert {one["check"] for one in told["findings"]} >= {"services", "queue", "machine"}


def test_two_commands_at_once(place: Callable[[], Path]) -> None:
    """The second says so in one line and ends, as the run before did; the state is the first one's."""
    folder = place()
    with ExitStack() as waiting:
        base = settings_in(folder, deadline=60.0)
        settings = replace(base, server=ServerSettings(smtp_port=waiting.enter_context(silent())))
        command = [*COMMAND, "--config", str(written(settings, folder)), "health", "check", "services"]
        with report(settings, [Check("queue", "", {}, ill)]):
            pass
        with subprocess.Popen([*command, "--skip", "queue"], stdout=subprocess.PIPE, text=True) as first:
            _until_locked(folder / alone.LOCK)
            second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            plugin = subprocess.run(
                [*command, "-o", "nagios"], capture_output=True, text=True, timeout=60, check=False
            )
            waiting.close()  # which ends what the first one waits for
            first.communicate(timeout=60)
    assert first.returncode == 2
    words = "another health check is under way; mail was critical in the run before it"
    assert second.returncode == plugin.returncode == 2
    assert second.stderr.startswith(f"postmaster: {words}")
    assert second.stderr.count("\n") == 1
    assert second.stdout == ""
    assert plugin.stdout == f"MAIL CRITICAL - {words}\n"
    with closing(sqlite3.connect(folder / module.FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (2,)


def test_a_run_that_does_not_end_is_told_once(
    place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is another process's, which hangs; who asks by hand is told each time, and whom to end."""
    folder = place()
    settings = settings_in(folder)
    hanging = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); time.sleep(60)"
    with report(settings, [Check("queue", "", {}, ill)]):
        pass
    with subprocess.Popen([sys.executable, "-c", hanging, str(folder / alone.LOCK)]) as stuck:
        try:
            _until_locked(folder / alone.LOCK)
            with pytest.raises(alone.BusyError, match="is under way; mail was critical"):
                made(settings, changes=True)
            monkeypatch.setattr(alone, "STUCK", 0.0)
            (note,) = made(settings, changes=True).notes
            assert f"(process {stuck.pid})" in note
            assert f"kill {stuck.pid}" in note
            for wish in ({"changes": True}, {}):
                with pytest.raises(alone.BusyError, match=f"process {stuck.pid}"):
                    made(settings, **wish)
        finally:
            stuck.kill()
    assert made(settings).notes == ()


def _until_locked(path: Path) -> None:
    import fcntl

    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        time.sleep(0.01)
    raise AssertionError


def test_several_timers_at_once_tell_a_change_once(place: Callable[[], Path]) -> None:
    """Each keeps its run, one after the other; the mail is written to the file of whoever told it first."""
    folder = place()
    settings = settings_in(folder, flap=1, disk_free_warning=101.0)
    command = [
        *COMMAND,
        "--config",
        str(written(settings, folder)),
        "health",
        "check",
        "machine",
        "--changes",
    ]
    running = [
        subprocess.Popen([*command, "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60) for process in running]
    told = [json.loads(out) for out, _ in said if out]
    assert told
    assert sum(bool(one["changes"]) for one in told) == 1
    assert all("another health check is under way" in err for out, err in said if not out)
    with open_state(StateSettings(folder)) as state:
        assert state.last_run() is not None
