"""Folders of mail against users: each has its own.

Dovecot makes a folder at the first mail or login, so a new user has none yet. A removed user's folder is
where the directory says: kept in its place, or in the trash; elsewhere a removal was cut short. Other names
that begin with a dot are not mail's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from postmaster.directory.snapshot import Snapshot
from postmaster.routing.check.finding import Finding
from postmaster.settings import Settings

TRASH = ".trash"  # below the mail root: a folder's name there is its mail_id, percent-encoded
NEW = timedelta(days=1)  # so long a user may be without mail


def check(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    root = settings.mail.root
    if not root.is_dir():
        if snapshot.mailboxes:
            message = f"the mail root {root} is not there, so mail folders could not be checked"
            yield Finding("not_checked", str(root), message, "see mail.root in the settings; mount it")
        return
    known = {box.mail_id for box in snapshot.mailboxes.values()}
    try:
        present = set(_folders(str(root), known | snapshot.removed.keys()))
        in_trash = {unquote(name) for name in _names(root / TRASH)}
    except OSError as error:
        message = f"{error.filename} cannot be read: {error.strerror}"
        yield Finding("not_checked", str(root), message, "run it as root")
        return
    for name in sorted(present - known):
        wanted = snapshot.removed.get(name, "")
        if wanted != "keep":
            yield _without_user(str(root / name), wanted)
    for name in sorted(in_trash):
        wanted = snapshot.removed.get(name, "")
        if wanted != "trash":
            yield _without_user(str(root / TRASH / quote(name, safe="")), wanted)
    old = datetime.now(UTC).replace(tzinfo=None) - NEW
    for one in sorted(snapshot.mailboxes, key=snapshot.text):
        box = snapshot.mailboxes[one]
        if box.mail_id not in present and box.created_at <= old:
            yield Finding(
                "user_without_mail_folder",
                snapshot.shown(one),
                f"{root}/{box.mail_id} is not there: the user never had mail, or it is gone",
                "restore the folder from a backup if there was mail; else the next message makes it",
            )


def _without_user(path: str, wanted: str) -> Finding:
    """A folder that is nobody's, or that a removal left where it is (`wanted`: trash, delete)."""
    if wanted in ("trash", "delete"):
        what = "moved to the trash" if wanted == "trash" else "deleted"
        return Finding(
            "mail_folder_without_user",
            path,
            f"its user was removed and it was to be {what}, which was interrupted",
            "postmaster user trash purge --unfinished",
        )
    return Finding(
        "mail_folder_without_user",
        path,
        "no user has this folder",
        "move it away or delete it when nobody needs its mail any more",
    )


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _folders(root: str, known: set[str]) -> Iterator[str]:
    """The folders below the mail root, in the form of `mail_id`; a known one is not looked into."""
    parents = {part for name in known if "/" in name for part in _parents(name)}
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(os.path.join(root, above)) as entries:
            for entry in entries:
                name = f"{above}/{entry.name}" if above else entry.name
                if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=True):
                    continue
                if name in parents and name not in known:
                    waiting.append(name)
                else:
                    yield name


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
