"""Checking the whole directory at once: faults of its graph, of what surrounds it, of what servers read.

`findings` reads the truth in a few queries, each over everything, and asks Postfix's tables in lots; how many
users there are changes neither number. Nothing is changed, and nothing is published first.
"""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.errors import PostmasterError
from postmaster.routing.check.finding import CODES, Finding
from postmaster.settings import Settings

__all__ = ["CODES", "Finding", "findings"]


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that is not as it should be, as it is found. Raises DirectoryError without a truth.

    What needs Postfix's configuration is left out where there is none, and a finding says so.
    """
    from postmaster.directory.database import open_directory
    from postmaster.directory.snapshot import take
    from postmaster.routing.check import folders, graph, lookups, postfix, roles

    # The look-ups while the truth is held: in a file nobody can publish a later state meanwhile.
    with open_directory(settings, publish=False) as directory, directory.read() as reading:
        snapshot = take(reading)
        behind = list(lookups.check(snapshot, directory))
    yield from graph.check(snapshot)
    yield from roles.check(snapshot, settings)
    yield from behind
    yield from folders.check(snapshot, settings)
    try:
        yield from postfix.check(snapshot, settings)
    except PostmasterError as error:
        yield Finding(
            "not_checked",
            "Postfix",
            f"what Postfix's tables say could not be checked: {error.message}",
            error.hint or "run it as root on the mail server",
        )
