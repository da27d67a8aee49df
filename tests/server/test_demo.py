"""`make demo` shows an account's whole life, checks itself and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DEMO = (sys.executable, "-m", "tests.demo")
CHECKOUT = Path(__file__).parents[2]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place)}


def test_the_demo_shows_real_mail(place: Callable[[], Path]) -> None:
    folder = place()
    done = subprocess.run(
        DEMO, capture_output=True, text=True, timeout=110, env=environment(folder), cwd=CHECKOUT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for expected in (
        "$ postmaster domain add example.org",
        "$ postmaster user add amy@example.org --name 'Amy Ash' --quota 2G --generate",
        "$ postmaster alias set team@example.org amy@example.org bob@example.org",
        "$ postmaster forward set bob@example.org bob@elsewhere.example --keep-copy",
        "nobody@example.org: that address does not exist",
        "< 550 5.1.1 <nobody@example.org>",
        "Subject: Lunch",
        "At noon?",
        "not owned by user amy@example.org",
        "Connection refused",
        "$ postmaster queue flush --all",
        "friend@down.example got it.",
        "mail is ",
        "0 findings",
        "demo: all is as it should be, after ",
    ):
        assert expected in done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "when",
    [
        "$ postmaster lab start",
        "# What there is",
        pytest.param("by submission", marks=pytest.mark.full),
    ],
)
def test_an_interrupted_demo_takes_its_lab_away(place: Callable[[], Path], when: str) -> None:
    folder = place()
    with subprocess.Popen(
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(folder),
        cwd=CHECKOUT,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while when not in said and (line := demo.stdout.readline()):
            said += line
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        said += demo.stdout.read()
    assert demo.returncode == 130, said
    assert list(folder.iterdir()) == [], said
    # What a lab's servers are started with names its folder.
    left = [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _read(entry)]
    assert left == [], said


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def test_the_demo_fails_where_something_is_wrong(place: Callable[[], Path]) -> None:
    folder = place()
    folder.chmod(0o700)  # the servers' users cannot pass
    done = subprocess.run(
        DEMO, capture_output=True, text=True, timeout=60, env=environment(folder), cwd=CHECKOUT, check=False
    )
    assert done.returncode == 1
    assert f"cannot pass through {folder}" in done.stdout
    assert "demo: FAILED: " in done.stdout
    assert list(folder.iterdir()) == []
