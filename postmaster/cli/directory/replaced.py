"""Saying which files of replaced directories were deleted, as their time is over."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from postmaster.cli.state import say
from postmaster.settings import Settings


def forget_replaced(settings: Settings, but: Collection[Path] = ()) -> list[Path]:
    """Delete those that are old enough, all but these, tell people, and give back which."""
    from postmaster.directory import replaced

    gone = replaced.forget(settings, but)
    for file in gone:
        say(f"removed: {file}, a replaced directory of more than {settings.directory.replaced_days} days ago")
    return gone
