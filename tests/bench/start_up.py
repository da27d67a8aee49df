"""How long a command takes to start and do little, beside the interpreter and the libraries alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from postmaster.directory.migrate import initialise
from postmaster.lab import lifecycle
from postmaster.settings import as_toml
from tests.bench.measuring import POSTMASTER, PYTHON, Figure, LeftOut, compared, in_turn, process
from tests.tools.building import open_builder, settings_under
from tests.tools.machine import missing_for_servers

RUNS = 30
BARE, LIBRARIES = "python -c pass", 'python -c "import typer, sqlalchemy"'
BARE_LIMIT, LIBRARIES_LIMIT = 10.0, 1.4


def figures() -> Iterator[Figure | LeftOut]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        tasks: dict[str, Callable[[], object]] = {
            BARE: process([PYTHON, "-c", "pass"]),
            LIBRARIES: process([PYTHON, "-c", "import typer, sqlalchemy"]),
            "postmaster --version": process([POSTMASTER, "--version"]),
            "postmaster user show": process(
                [POSTMASTER, "user", "show", "amy@example.org"], settings=_directory(folder)
            ),
        }
        why = missing_for_servers()
        try:
            if why is None:
                lab = lifecycle.start(folder / "lab")
                tasks["postmaster queue list (empty)"] = process(
                    [POSTMASTER, "queue", "list"], settings=lab.settings_file
                )
                tasks["postconf"] = process(
                    ["postconf", "-c", str(folder / "lab" / "postfix"), "-x", "queue_directory"]
                )
            times = in_turn(tasks, RUNS)
        finally:
            if why is None:
                lifecycle.remove(folder / "lab")
    yield compared("postmaster --version", times["postmaster --version"], times[BARE], BARE, BARE_LIMIT)
    listing = "postmaster queue list (empty)"
    if why is None:
        note = f"of which postconf {times['postconf'].least:.1f}"
        yield compared(listing, times[listing], times[BARE], BARE, BARE_LIMIT, note)
    else:
        yield LeftOut(listing, why)
    yield compared(
        "postmaster user show", times["postmaster user show"], times[LIBRARIES], LIBRARIES, LIBRARIES_LIMIT
    )


def _directory(folder: Path) -> Path:
    """The settings file of a directory with one user."""
    settings, file = settings_under(folder / "d"), folder / "postmaster.toml"
    initialise(settings)
    with open_builder(settings) as make:
        make.domain("example.org")
        make.user("amy@example.org")
    file.write_text(as_toml(settings))
    return file
