"""No recipient is refused or deferred because of our writes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tools import committer
from tests.tools.mail import Lab, password_hash

COMMITS = [pytest.param(200, id="200"), pytest.param(2000, id="2000", marks=pytest.mark.full)]
RECIPIENTS_A_SESSION = 50
RESTART_EVERY = 2.0  # seconds
PAUSE = 0.003  # seconds between recipients, so that the commits get their turn on two cores


def proxymaps(lab: Lab) -> list[int]:
    """The lab's proxymap processes."""
    master = str(next(one.pid for one in lab.status.services if one.name == "smtp"))
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            words = (folder / "stat").read_text().replace("(", " ").replace(")", " ").split()
            if folder.name.isdigit() and words[1] == "proxymap" and words[3] == master:
                found.append(int(folder.name))
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("commits", COMMITS)
def test_every_recipient_is_taken_beside_commits(
    lab: Lab, domain: str, capsys: pytest.CaptureFixture[str], commits: int
) -> None:
    amy = f"amy@{domain}"
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
        make.alias(f"team@{domain}", amy)
        make.alias(f"@{domain}", amy)
    recipients = (amy, f"amy+tag@{domain}", f"team@{domain}", f"anything@{domain}")
    before = len(lab.log())
    answers: Counter[int] = Counter()
    restarted, started, ended = 0, 0, None
    next_restart = time.monotonic() + RESTART_EVERY
    work = None
    try:
        # At least one whole session before the first commit, and one after the last.
        while ended is None or sum(answers.values()) < max(1000, ended + RECIPIENTS_A_SESSION):
            with lab.smtp() as client:
                for number in range(RECIPIENTS_A_SESSION):
                    client.rset()
                    client.mail("stranger@outside.test")
                    code, text = client.rcpt(recipients[number % len(recipients)])
                    answers[code] += 1
                    assert code == 250, text
                    time.sleep(PAUSE)
            if work is None:
                started = sum(answers.values())
                work = subprocess.Popen(
                    [sys.executable, committer.__file__, str(lab.status.settings_file), domain, str(commits)],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            if ended is None and work.poll() is not None:
                assert work.returncode == 0
                ended = sum(answers.values())
            if ended is None and time.monotonic() > next_restart:
                for pid in proxymaps(lab):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                        restarted += 1
                next_restart = time.monotonic() + RESTART_EVERY
        assert work is not None
        assert work.stdout is not None
        assert work.stdout.read().split()[-1] == str(commits)
    finally:
        if work is not None:
            work.kill()
            work.wait()
            if work.stdout is not None:
                work.stdout.close()
    assert set(answers) == {250}
    assert started >= RECIPIENTS_A_SESSION
    assert restarted > 0
    deaths = re.findall(
        r"process \S*/proxymap pid (\d+) (killed by signal \d+|exit status \d+)", lab.log()[before:]
    )
    ours = sum(1 for _, how in deaths if how == f"killed by signal {signal.SIGTERM.value}")
    with capsys.disabled():
        print(
            f"\n{commits} commits beside {answers[250]} recipients, each answered 250; proxymap died "
            f"{len(deaths)} times: {ours} ended by the test, {len(deaths) - ours} of itself"
        )
    lab.postmaster("setup", "check")
