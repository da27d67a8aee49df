"""A large directory is listed, shown and published in about the memory that a small one takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postmaster.directory.migrate import initialise
from postmaster.settings import as_toml
from tests.tools.building import open_builder, settings_under

pytestmark = pytest.mark.timeout(600)

FEW, MANY = 100, 20_000
#: A small parent, as a child's peak is at least what its parent held when it was made.
PEAK = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
assert done.returncode == 0
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directory(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directory(tmp_path_factory.mktemp("many"), MANY)


def directory(folder: Path, users: int) -> Path:
    settings, file = settings_under(folder / "d"), folder / "postmaster.toml"
    initialise(settings)
    with open_builder(settings) as make:
        make.fill("example.org", users)
    file.write_text(as_toml(settings))
    return file


def peak(settings: Path, *command: str) -> float:
    """The most that a command held in memory, in MiB."""
    python = [sys.executable, "-m", "postmaster", *command]
    done = subprocess.run(
        [sys.executable, "-S", "-c", PEAK, *python],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "POSTMASTER_CONFIG": str(settings)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (("user", "list"), 5),
        (("user", "list", "-o", "json"), 5),
        (("user", "list", "-o", "csv"), 5),
        (("user", "show", "u42@example.org"), 5),
        (("domain", "list"), 5),
        (("user", "set", "u42@example.org", "--name", "Amy"), 5),
        (("publish",), 5),
        # One transaction, whose pages are held until it ends (`cache_spill=OFF`): 1 KiB for each user.
        (("publish", "--rebuild"), MANY / 1024),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_memory_does_not_grow_with_the_directory(
    few: Path, many: Path, command: tuple[str, ...], allowed: float
) -> None:
    small, large = peak(few, *command), peak(many, *command)
    assert large <= small + allowed
