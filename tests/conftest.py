"""What holds for every test: bounded property tests, a clean environment, no process left over."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

from tests.tools.machine import memory_folder, missing_for_servers

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100, print_blob=True)
IN_CI = os.environ.get("CI", "") == "true"
hypothesis.settings.load_profile("ci" if IN_CI else "dev")

#: Every process that a test starts inherits it, and a server that cleans its environment works below
#: a folder of this name, so what was left over is found and nobody else's process is.
MARK = f"mail-{uuid.uuid4().hex[:8]}"
os.environ["MAIL_TEST_RUN"] = MARK

# Workers and whatever else is started inherit it; pytest itself has asked for the folder already.
if "TMPDIR" not in os.environ and (memory := memory_folder()) is not None:
    os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.relative_to(Path(__file__).parent).parts
        for folder in {"server", "full"}.intersection(folders[:1]):
            item.add_marker(getattr(pytest.mark, folder))
        # To trace the same lines a hundred times doubles what they cost; coverage is that of the other tests.
        if hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.no_cover)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("server") is None:
        return
    reason = missing_for_servers("gcc")
    if reason is not None and IN_CI:
        pytest.fail(f"CI must run the tests with real servers: {reason}")
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The command line, called in this process, sets its own, in which servers find no way to their files."""
    os.umask(0o022)
    yield
    os.umask(0o022)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a directory of their own."""
    for name in os.environ:
        if name.startswith("POSTMASTER_") or name in ("SUDO_USER", "NO_COLOR"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_look_ups_kept_open() -> Iterator[None]:
    """A process keeps the look-ups that it wrote open for good: too many, where each test has its own."""
    yield
    lookups = sys.modules.get("postmaster.directory.lookups")
    kept = getattr(lookups, "_kept", {})
    for key in list(kept):
        if "pytest-of-" in key[1]:  # not those of a lab, whose servers need the files beside it
            kept.pop(key).close()


@pytest.fixture(scope="session", autouse=True)
def no_process_left_over() -> Iterator[None]:
    """Set up first and so torn down last: by then every server and helper has ended."""
    yield
    left = {pid: what for pid in _pids() if (what := _ours(pid)) is not None}
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"processes left over: {left}"


def _pids() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            yield int(entry)


def _ours(pid: int) -> str | None:
    """The command line of a process that this run started and that still lives."""
    folder = Path("/proc", str(pid))
    try:
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        traces = [(folder / name).read_bytes() for name in ("environ", "cmdline")]
        traces.append(os.fsencode((folder / "cwd").readlink()))
    except OSError:
        return None
    if state == "Z" or not any(MARK.encode() in trace for trace in traces):
        return None
    return traces[1].replace(b"\0", b" ").decode("utf-8", "replace").strip() or folder.name
