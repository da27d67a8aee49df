"""What was there before an apply, and putting it back.

A backup is a numbered folder under `state.directory/setup` with a copy of every file that the apply
may write and a manifest: for each whether it was there, its mode and owner, and its digest before and
after. It is complete on disk before the first file is changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from postmaster.errors import NotFoundError, ServerError
from postmaster.files import make_folder, replace
from postmaster.settings import Settings

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Backup:
    """A numbered backup. `reverted` says that a revert has used it up."""

    number: int
    folder: Path
    made_at: str
    reverted: bool
    paths: tuple[Path, ...]
    postfix: Path  # whose configuration it is: Postfix's directory and Dovecot's main file
    dovecot: Path


def folder_of(settings: Settings) -> Path:
    return settings.state.directory / "setup"


def make(settings: Settings, paths: Iterable[Path]) -> Backup:
    """Copy the files as they are. Raises ServerError."""
    root = folder_of(settings)
    try:
        make_folder(root, 0o700)
        number = max((one.number for one in list_all(settings)), default=0) + 1
        folder = root / str(number)
        folder.mkdir(mode=0o700)
        entries = []
        for position, path in enumerate(paths):
            entry: dict[str, object] = {"path": str(path), "copy": None, "before": digest(path)}
            if path.exists():
                status = path.stat()
                copy = f"{position:02d}-{path.name}"
                shutil.copyfile(path, folder / copy)
                (folder / copy).chmod(0o600)
                entry |= {
                    "copy": copy,
                    "mode": status.st_mode & 0o777,
                    "uid": status.st_uid,
                    "gid": status.st_gid,
                }
            entries.append(entry)
        made_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        servers = {
            "postfix": str(settings.postfix.config_directory),
            "dovecot": str(settings.dovecot.config),
        }
        _write(folder, {"made_at": made_at, "reverted": False, **servers, "files": entries})
    except OSError as error:
        raise ServerError(
            f"no backup can be made in {root}: {error.strerror}", hint="nothing was changed; run it as root"
        ) from error
    return find(settings, number)


def note_result(backup: Backup) -> None:
    """Write down what the files became, so that a later revert notices other changes."""
    manifest = _read(backup.folder)
    for entry in manifest["files"]:
        entry["after"] = digest(Path(entry["path"]))
    _write(backup.folder, manifest)


def changed_since(backup: Backup) -> list[Path]:
    """Files that are no longer as the apply left them."""
    return [
        Path(entry["path"])
        for entry in _read(backup.folder)["files"]
        if digest(Path(entry["path"])) != entry.get("after", entry["before"])
    ]


def restore(backup: Backup) -> None:
    """Put every file back as it was. Raises ServerError that names the first one that cannot be."""
    for entry in _read(backup.folder)["files"]:
        path = Path(entry["path"])
        try:
            if entry["copy"] is None:
                path.unlink(missing_ok=True)
                continue
            replace(
                path, (backup.folder / entry["copy"]).read_bytes(), entry["mode"], entry["uid"], entry["gid"]
            )
        except OSError as error:
            raise ServerError(
                f"{path} cannot be put back: {error.strerror}", hint=f"its copy is in {backup.folder}"
            ) from error


def mark_reverted(backup: Backup) -> None:
    _write(backup.folder, {**_read(backup.folder), "reverted": True})


def list_all(settings: Settings) -> list[Backup]:
    """All backups, oldest first. A folder without a manifest was never finished and does not count."""
    found = []
    root = folder_of(settings)
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name.isdigit() and (folder / _MANIFEST).is_file():
            manifest = _read(folder)
            paths = tuple(Path(entry["path"]) for entry in manifest["files"])
            servers = Path(manifest["postfix"]), Path(manifest["dovecot"])
            found.append(
                Backup(int(folder.name), folder, manifest["made_at"], manifest["reverted"], paths, *servers)
            )
    return sorted(found, key=lambda one: one.number)


def find(settings: Settings, number: int | None = None) -> Backup:
    """One backup; without a number the latest that is not used up. Raises NotFoundError."""
    for one in reversed(list_all(settings)):
        if one.number == number or (number is None and not one.reverted):
            return one
    raise NotFoundError(
        f"there is no backup {number}" if number else "there is nothing to revert",
        hint=f"backups are in {folder_of(settings)}",
    )


def digest(path: Path) -> str | None:
    """SHA-256 of a file, None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _read(folder: Path) -> Any:
    return json.loads((folder / _MANIFEST).read_text())


def _write(folder: Path, manifest: object) -> None:
    replace(folder / _MANIFEST, json.dumps(manifest, indent=1).encode(), 0o600)
