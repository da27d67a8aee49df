"""The names of tests are the same each time: workers share them, and a failure is run again by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def names(seed: str) -> list[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:randomly",
            "-p",
            "no:cacheprovider",
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": seed},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_the_names_of_tests_depend_on_neither_chance_nor_time() -> None:
    first = names("1")
    assert len(first) > 1000
    assert names("2") == first
