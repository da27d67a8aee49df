"""Directories that a restore or a copy replaced: each is kept in a file of its own, for some days.

As long as a replaced password's hash is kept in the history, and for the same reason: the files have every
hash. They go with the next backup, restore or copy that replaces one; the newest of them always stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from postmaster.files import make_folder
from postmaster.settings import Settings, days_before

_STAMP = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"before-(?:restore|copy)-([0-9]{8}T[0-9]{12}Z)\.db")


def folder_of(settings: Settings) -> Path:
    return settings.state.directory / "backups"


def new_file(settings: Settings, what: str) -> Path:
    """A name for what a `restore` or `copy` is about to replace, in a folder that is there."""
    make_folder(folder_of(settings), 0o700)
    return folder_of(settings) / f"before-{what}-{datetime.now(UTC):{_STAMP}}.db"


def forget(settings: Settings, but: Collection[Path] = ()) -> list[Path]:
    """Delete the files that are older than `directory.replaced_days`, and give back which.

    Neither the newest is deleted nor one of `but`. Whatever else is in the folder is left alone, and so is a
    file that cannot be deleted: the next time it is tried again.
    """
    before = days_before(datetime.now(UTC), settings.directory.replaced_days)
    spared = {file.resolve() for file in but}
    gone = []
    for made_at, file in sorted(_all(settings))[:-1]:
        if made_at < before and file.resolve() not in spared:
            try:
                file.unlink()
            except OSError:
                continue
            gone.append(file)
    return gone


def _all(settings: Settings) -> list[tuple[datetime, Path]]:
    found = []
    try:
        files = list(folder_of(settings).iterdir())
    except OSError:
        return []
    for file in files:
        match = _NAME.fullmatch(file.name)
        try:
            if match is not None and file.is_file() and not file.is_symlink():
                found.append((datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC), file))
        except (OSError, ValueError):  # of a date that is none
            continue
    return found
