"""Steps of a change that are tried whatever becomes of the others: what failed is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from postmaster.errors import PostmasterError

Progress = Callable[[str], None]  # is told what is under way
Step = tuple[str, Callable[[], None]]  # what it is called, and the step


def take(steps: Iterable[Step], progress: Progress) -> list[str]:
    """Take each step. Gives those that could not be done, and why: `ending sessions: …`."""
    failed = []
    for what, step in steps:
        progress(what)
        try:
            step()
        except PostmasterError as error:
            failed.append(f"{what}: {error.message}")
    return failed
