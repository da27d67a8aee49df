"""Folders of mail against users: each has its own.

Dovecot makes a folder at the first mail or login, so a new user has none yet. A removed user's folder that
was to be kept, or is in the trash, is known to the directory and no finding. Names that begin with a dot are
not mail's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from postmaster.directory.snapshot import Snapshot
from postmaster.routing.check.finding import Finding
from postmaster.settings import Settings

NEW = timedelta(days=1)  # so long a user may be without mail


def check(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    root = settings.mail.root
    if not root.is_dir():
        if snapshot.mailboxes:
            message = f"the mail root {root} is not there, so mail folders could not be checked"
            yield Finding("not_checked", str(root), message, "see mail.root in the settings; mount it")
        return
    known = {box.mail_id for box in snapshot.mailboxes.values()}
    kept = snapshot.kept_folders
    try:
        present = set(_folders(str(root), known | kept))
    except OSError as error:
        message = f"{error.filename} cannot be read: {error.strerror}"
        yield Finding("not_checked", str(root), message, "run it as root")
        return
    for name in sorted(present - known - kept):
        yield Finding(
            "mail_folder_without_user",
            str(root / name),
            "no user has this folder",
            "move it away or delete it when nobody needs its mail any more",
        )
    old = datetime.now(UTC).replace(tzinfo=None) - NEW
    for one in sorted(snapshot.mailboxes, key=snapshot.text):
        box = snapshot.mailboxes[one]
        if box.mail_id not in present and box.created_at <= old:
            yield Finding(
                "user_without_mail_folder",
                snapshot.shown(one),
                f"{root / box.mail_id} is not there: the user never had mail, or it is gone",
                "restore the folder from a backup if there was mail",
            )


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
