"""What the commands that rename tell besides their record."""

from __future__ import annotations

from collections.abc import Sequence

from postmaster.cli.state import held_of, say, say_undo
from postmaster.errors import PartialError
from postmaster.render.output import Format


def say_what_follows(output: Format, entry: int | None, on_hold: int, field: str, name: str) -> None:
    """Say what waits on hold for the old name, which a filter's `field` has, and how to undo it."""
    if on_hold:
        say(
            f"note: {on_hold} messages for the old name stay on hold; to let them go on:"
            f" postmaster queue requeue {held_of(field, name)}"
        )
    if output is Format.table:
        say_undo(entry)


def check_done(failed: Sequence[str]) -> None:
    """Raises PartialError where a step behind the new name could not be done."""
    if failed:
        raise PartialError(f"it is renamed, but not everything could be done: {'; '.join(failed)}")
