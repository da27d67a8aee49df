"""The machine: each fault is made for real where that is safe, else its threshold put above what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.health.checks import machine
from postmaster.health.finding import Context, Severity
from postmaster.lab import lifecycle
from postmaster.postfix import postconf
from postmaster.settings import Settings
from tests.tools.mail import Lab

from .conftest import faulty

MIB = 1 << 20


def settings(lab: Lab, **given: Any) -> Settings:
    own = lab.settings
    return replace(own, health=replace(own.health, **given))


@pytest.fixture
def small(sick: Lab, tmp_path: Path) -> Iterator[Settings]:
    """The lab's mail folder on a file system of its own, of 4 MiB and 64 inodes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=64", "none", str(folder)], check=True)
    yield replace(sick.settings, mail=replace(sick.settings.mail, root=folder))
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def spool(sick: Lab, tmp_path: Path) -> Iterator[tuple[Settings, Path]]:
    """Postfix's configuration with its queue on a file system of 256 MiB; nothing is started there."""
    folder, config = tmp_path / "spool", tmp_path / "postfix"
    folder.mkdir()
    shutil.copytree(sick.settings.postfix.config_directory, config)
    configure(config, queue_directory=str(folder))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)], check=True)
    yield replace(sick.settings, postfix=replace(sick.settings.postfix, config_directory=config)), folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def taken(folder: Path, size: int = 0, files: int = 0) -> Iterator[None]:
    """So many bytes, or files, of a file system."""
    if size:
        with (folder / "big").open("wb") as big:
            os.posix_fallocate(big.fileno(), 0, size)
    for number in range(files):
        (folder / str(number)).touch()
    yield
    for path in folder.iterdir():
        path.unlink()


def test_the_mails_disk_is_nearly_full(small: Settings) -> None:
    with faulty(small, ["machine"], "disk-full", "mail", taken(small.mail.root, size=4 * MIB - 65536)) as one:
        assert "2 % of the space" in one.message


def test_the_mails_inodes_are_gone(small: Settings) -> None:
    with faulty(small, ["machine"], "inodes-gone", "mail", taken(small.mail.root, files=60)) as found:
        assert found.measures[1].value < 5


def test_the_queues_disk_is_nearly_full(spool: tuple[Settings, Path]) -> None:
    own, folder = spool
    with faulty(own, ["machine"], "disk-full", "queue", taken(folder, size=250 * MIB)) as found:
        assert "Postfix takes no message" in found.message


def test_there_is_room_in_percent_and_too_little_for_a_message(spool: tuple[Settings, Path]) -> None:
    own, _folder = spool
    config = own.postfix.config_directory
    with faulty(own, ["machine"], "disk-full", "queue", large_messages(config)) as found:
        assert found.measures[0].severity is Severity.ok


@contextmanager
def large_messages(config: Path) -> Iterator[None]:
    configure(config, message_size_limit=str(200 * MIB))
    yield
    configure(config, message_size_limit=str(10 * MIB))


def configure(config: Path, **values: str) -> None:
    """Change main.cf and date it back: Postfix waits until a changed one is two seconds old."""
    postconf.set_values(config, values)
    then = time.time() - 10
    os.utime(config / "main.cf", (then, then))


@pytest.mark.parametrize(
    ("code", "object", "given", "severity"),
    [
        ("memory-low", "memory", {"memory_free_critical": 100.0, "memory_free_warning": 100.0}, "critical"),
        ("memory-low", "memory", {"memory_free_warning": 100.0}, "warning"),
        ("load-high", "load", {"load_warning": -1.0, "load_critical": -1.0}, "critical"),
    ],
)
def test_a_threshold_above_what_is_there(
    sick: Lab, code: str, object: str, given: dict[str, Any], severity: str
) -> None:
    def found(settings: Settings) -> list[tuple[str, str]]:
        context = Context(settings, time.monotonic() + 5)
        return [(one.code, one.severity.name) for one in machine.run(context) if one.object == object]

    calm = {"load_warning": 1e6, "load_critical": 1e6}  # whoever else works here
    assert found(settings(sick, **calm)) == [("ok", "ok")]
    assert found(settings(sick, **{**calm, **given})) == [(code, severity)]


def test_swap_and_open_files_are_judged_by_what_the_kernel_tells() -> None:
    limits = Settings().health
    told = {one.object: one.code for one in machine._memory({"SwapTotal": 100, "SwapFree": 5}, limits)}
    assert told == {"swap": "swap-full"}
    told = {one.object: one.code for one in machine._memory({"SwapTotal": 100, "SwapFree": 90}, limits)}
    assert told == {"swap": "ok"}
    assert machine._files().code == "ok"


@contextmanager
def backup_of(folder: Path, age: float) -> Iterator[None]:
    (folder / "day").mkdir(exist_ok=True)
    for name, hours in (("old", age + 500), ("newest", age)):
        path = folder / "day" / name
        path.touch()
        moment = time.time() - hours * 3600
        os.utime(path, (moment, moment))
    yield
    backup_of_today(folder)


def backup_of_today(folder: Path) -> None:
    (folder / "today").touch()


def test_the_backup_is_old(sick: Lab, tmp_path: Path) -> None:
    backup_of_today(tmp_path)
    os.utime(tmp_path / "today")
    own = settings(sick, backup_path=str(tmp_path))

    @contextmanager
    def old() -> Iterator[None]:
        (tmp_path / "today").unlink()
        with backup_of(tmp_path, 30):
            yield

    with faulty(own, ["machine"], "backup-old", "backup", old(), severity=Severity.warning) as found:
        assert "30.0 hours old" in found.message


def test_there_is_no_backup(sick: Lab, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one").touch()
    own = settings(sick, backup_path=str(tmp_path / "b"))

    @contextmanager
    def gone() -> Iterator[None]:
        (tmp_path / "b").rename(tmp_path / "c")
        yield
        (tmp_path / "c").rename(tmp_path / "b")

    with faulty(own, ["machine"], "backup-missing", "backup", gone()) as found:
        assert str(tmp_path / "b") in found.message


def test_a_folder_cannot_be_looked_at(sick: Lab, tmp_path: Path) -> None:
    own = replace(sick.settings, mail=replace(sick.settings.mail, root=tmp_path / "mail"))
    (tmp_path / "mail").mkdir()

    @contextmanager
    def gone() -> Iterator[None]:
        (tmp_path / "mail").rmdir()
        yield
        (tmp_path / "mail").mkdir()

    with faulty(own, ["machine"], "disk-unknown", "mail", gone(), severity=Severity.unknown):
        pass


@contextmanager
def updated(program: Path) -> Iterator[None]:
    """A program replaced as a package manager does: the new one renamed over the old one."""
    new = program.with_name(program.name + ".new")
    shutil.copy2(program, new)
    new.rename(program)
    yield


@pytest.mark.full
def test_a_server_runs_what_was_replaced(place: Any) -> None:
    """Postfix runs from a copy of its programs in a lab of its own."""
    started = Lab(lifecycle.start(place()))
    config = started.settings.postfix.config_directory
    programs = started.root / "programs"
    shutil.copytree(postconf.value(config, "daemon_directory"), programs)
    configure(config, daemon_directory=str(programs))
    lifecycle.stop(started.root)
    lifecycle.start(started.root)

    @contextmanager
    def replaced() -> Iterator[None]:
        with updated(programs / "master"):
            yield
        lifecycle.stop(started.root)
        lifecycle.start(started.root)

    with faulty(
        started.settings, ["machine"], "restart-servers", "postfix", replaced(), severity=Severity.warning
    ) as found:
        assert str(programs / "master") in found.message
        assert found.remedy == "systemctl restart postfix"
    lifecycle.remove(started.root)


def test_the_clock_is_known_or_said_to_be_unknown(sick: Lab) -> None:
    own = settings(sick, clock=True)
    (found,) = (o for o in machine.run(Context(own, time.monotonic() + 5)) if o.object == "clock")
    synchronised, _ = machine._kernel_clock()
    assert (found.code == "ok") is synchronised
    if not synchronised:
        assert found.code in ("clock-unsynchronised", "clock-unknown")
        assert found.remedy
