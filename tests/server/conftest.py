"""A lab of real servers for the session, and domains of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from postmaster.lab import base, lifecycle
from postmaster.lab.layout import Layout
from postmaster.postfix import control, postconf
from postmaster.process import run
from tests.conftest import MARK
from tests.tools.killing import build_shim
from tests.tools.mail import Lab, loaded
from tests.tools.sink import Sink, listening

_numbers = count(1)


@pytest.fixture(scope="session")
def place(no_process_left_over: None) -> Iterator[Callable[[], Path]]:
    """Folders that the servers' users may pass through, short enough for their sockets."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{MARK}-"))
        folder.chmod(0o755)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        for marker in folder.rglob("lab.json"):  # a test that failed may have left it running
            lifecycle.stop(marker.parent)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def no_command_under_way(no_process_left_over: None) -> Iterator[None]:
    """The parent of the commands ends before it is looked for who was left over."""
    yield
    if loaded.cache_info().currsize:
        loaded().end()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that ends a program at its n-th write."""
    return build_shim(tmp_path_factory.mktemp("shim"))


def start_lab(folder: Path) -> Lab:
    return Lab(lifecycle.start(folder))


@pytest.fixture(scope="session")
def lab(place: Callable[[], Path]) -> Iterator[Lab]:
    """A running lab that all tests of a worker share. Whoever breaks its servers makes one of their own."""
    started = start_lab(place())
    yield started
    lifecycle.remove(started.root)


@pytest.fixture
def domain(lab: Lab) -> str:
    """A domain of this test's own."""
    name = f"d{next(_numbers)}-{os.getpid()}.test"
    with lab.change() as make:
        make.domain(name)
    return name


@pytest.fixture
def outside(lab: Lab) -> Iterator[Sink]:
    """Everyone else's mail server, while the test lasts.

    What other tests left waiting for it is thrown away, and Postfix told to think of it as alive: while
    nobody listened it took it for dead, and would not try again for minutes.
    """
    config = str(lab.settings.postfix.config_directory)
    run(["postsuper", "-c", config, "-d", "ALL", "deferred"])
    with listening(lab.status.outbound_port) as sink:
        run(["postqueue", "-c", config, "-f"])
        yield sink


@pytest.fixture(scope="session")
def pliable(place: Callable[[], Path]) -> Iterator[Lab]:
    """A running lab whose configuration and whole directory a test may change; `configured` puts it back."""
    started = start_lab(place())
    yield started
    lifecycle.remove(started.root)


@contextmanager
def configured(lab: Lab, *, reload: bool = True, **parameters: str) -> Iterator[Path]:
    """Set parameters of a lab's Postfix while the block lasts; gives its configuration directory.

    Without `reload` running daemons go on as before, and what is started anew sees the change.
    """
    directory = lab.settings.postfix.config_directory
    layout = Layout(lab.root)
    before = (directory / "main.cf").read_bytes()
    postconf.set_values(directory, parameters)
    base.settle(layout)
    if reload:
        control.reload(directory)
    try:
        yield directory
    finally:
        (directory / "main.cf").write_bytes(before)
        base.settle(layout)
        if reload:
            control.reload(directory)
