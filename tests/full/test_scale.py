"""A large directory is listed, shown and published in about the memory that a small one takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from postmaster.directory.migrate import initialise
from postmaster.settings import as_toml
from tests.tools.building import open_builder, settings_under
from tests.tools.measured import measured

pytestmark = pytest.mark.timeout(600)

FEW, MANY = 100, 20_000


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
    return measured(python, environment={**os.environ, "POSTMASTER_CONFIG": str(settings)}, timeout=300)[1]


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
