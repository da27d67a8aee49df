"""Making and upgrading the truth and the look-ups: what `postmaster init` does.

Safe to repeat and to interrupt: the truth's migrations run in one transaction, the look-ups are
written anew from it. Alembic is loaded here and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.directory import lookups
from postmaster.directory.database import (
    Directory,
    check_revision,
    current_revision,
)
from postmaster.directory.engines import address_of, make_engine, migrating, plain_errors
from postmaster.directory.places import grant, places
from postmaster.directory.schema import REVISION
from postmaster.errors import DirectoryError
from postmaster.files import make_folder
from postmaster.process import current_actor
from postmaster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


def initialise(settings: Settings) -> tuple[str, ...]:
    """Make or upgrade everything of the directory; lines that say what was done.

    Raises DirectoryError.
    """
    done: list[str] = []
    try:
        _make_folders(settings, done)
    except OSError as error:
        raise DirectoryError(
            f"{error.filename} cannot be made: {error.strerror}", hint="run it as root, or see the settings"
        ) from error
    file = settings.directory.file
    engine = make_engine(settings, create=True)
    try:
        _set_truth_rights(file, done)
        with plain_errors(settings):
            before, after = upgrade(engine)
        if before is None:
            done.append(f"made the directory {address_of(settings)} (version {after})")
        elif before != after:
            done.append(f"upgraded the directory {address_of(settings)} from version {before} to {after}")
        missing = _missing(settings, engine)
        directory = Directory(settings, engine, command="init", actor=current_actor())
        published = directory.publish()
        done += [f"made the look-ups {path}" for path in missing]
        done += [f"brought the look-ups {path} up to date" for path in published.files if path not in missing]
        done += _grant(settings, engine)
    finally:
        engine.dispose()
    if not settings.lookups.in_database:
        done += _group_notes(settings)
    return tuple(done)


def _missing(settings: Settings, engine: Engine) -> list[Path | str]:
    """The places of look-ups that are about to be made."""
    missing = []
    for place in places(settings.lookups, engine):
        there = place.name.exists() if isinstance(place.name, Path) else place.entry() is not None
        if not there:
            missing.append(place.name)
    return missing


def _grant(settings: Settings, engine: Engine) -> list[str]:
    """Let the servers' roles read the views, where servers query the database; what is missing for it."""
    if not settings.lookups.in_database:
        return []
    with engine.connect() as connection, connection.begin():
        return [
            f"nobody may read schema {file.schema_name} yet: there is no role {file.schema_name}"
            f" (CREATE ROLE {file.schema_name} LOGIN, then init again)"
            for file in lookups.FILES
            if not grant(connection, file)
        ]


def upgrade(engine: Engine, revision: str = "head") -> tuple[str | None, str | None]:
    """Run the migrations up or down to a revision; (revision before, revision after).

    Revisions are numbered so that a later one sorts behind; `head` and `base` are Alembic's words.
    """
    from alembic import command
    from alembic.config import Config

    with migrating(engine) as connection:
        before = current_revision(connection)
        if before is not None and before > REVISION:
            check_revision(before)
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
        config.attributes["connection"] = connection
        down = revision == "base" or (before is not None and revision < before)
        (command.downgrade if down else command.upgrade)(config, revision)
        after = current_revision(connection)
    return before, after


def migrations_folder() -> Path:
    """Where the migrations are: in the installed package, else in the checkout. Raises DirectoryError."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise DirectoryError("this installation has no migrations", hint="install postmaster again")


def _make_folders(settings: Settings, done: list[str]) -> None:
    file = settings.directory.file
    folders = dict.fromkeys([settings.state.directory, *([file.parent] if file else [])])
    # The mode: the look-ups below must be reachable.
    done += [f"made the folder {folder}" for folder in folders if make_folder(folder, lookups.FOLDER_MODE)]
    if settings.lookups.in_database:
        return
    there = settings.lookups.directory.is_dir()
    if lookups.prepare_folder(settings.lookups):
        done.append(f"{'set the rights of' if there else 'made'} the folder {settings.lookups.directory}")


def _set_truth_rights(file: Path | None, done: list[str]) -> None:
    if file is None:
        return
    present = file.stat()
    if present.st_mode & 0o777 != 0o600:
        file.chmod(0o600)
        done.append(f"set the rights of {file} to 0600")
    if os.geteuid() == 0 and (present.st_uid, present.st_gid) != (0, 0):
        os.chown(file, 0, 0)
        done.append(f"gave {file} to root")


def _group_notes(settings: Settings) -> list[str]:
    return [
        f"{file.path(settings.lookups)} is not given to group {file.group(settings.lookups)}: "
        + ("there is no such group" if os.geteuid() == 0 else "only root can")
        for file in lookups.FILES
        if lookups.group_id(file.group(settings.lookups)) is None
    ]
