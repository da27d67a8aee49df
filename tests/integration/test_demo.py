"""Without root `make demo` shows what needs none, and says what it left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
#: Nobody, who still may read everything: a checkout and an interpreter of root's are out of others' reach.
READER = [
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
]


def test_without_root_the_demo_shows_what_needs_none() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [*(READER if os.geteuid() == 0 else []), sys.executable, "-m", "tests.demo"],
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "TMPDIR": folder},
            cwd=CHECKOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(Path(folder).iterdir()) == []
    for expected in (
        "$ postmaster init",
        "only root can",
        "$ postmaster user list --domain example.org -o csv",
        '"team@example.org"',
        "nobody@example.org: that address does not exist",
        "demo: all is as it should be, after ",
        "demo: left out: real mail, the queue, health and setup check, as the servers start as root",
    ):
        assert expected in done.stdout
    assert "lab start" not in done.stdout
