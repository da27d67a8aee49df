"""A copy of the truth in one file, and the way back.

A copy is of one moment, whoever writes meanwhile: SQLite's backup holds a read lock while it copies, so a
command that writes waits for it. It has every hash, so it is readable to its owner alone.

A restore writes into the file of the truth and never puts another in its place: a command that has it open
sees the old state or the new one, and a restore that is cut short is rolled back by the next who opens it.
What was there before is kept as a backup of its own, for some days (`replaced.py`).

Of a truth in PostgreSQL the file is a copy too (`transfer.py`), and so is the way back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from postmaster.directory import migrate, replaced, transfer
from postmaster.directory.engines import LOCK_TIMEOUT, make_engine
from postmaster.directory.schema import REVISION
from postmaster.errors import DirectoryError, ExistsError, NotFoundError, UsageError
from postmaster.files import complete, make_folder, remedy
from postmaster.settings import Settings

MODE = 0o600
TRIES = 5  # to keep what was there, while others write


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy: its revision, its last journal entry (0: none), how many users it has, its size in bytes."""

    file: Path
    revision: str
    entry: int
    users: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in force, and where the state before is kept; None where there was none."""

    backup: Backup
    upgraded_to: str | None
    before: Path | None


def backup(settings: Settings, file: Path, *, overwrite: bool = False) -> Backup:
    """Copy the truth, complete on disk under its name or not at all. Raises ExistsError, DirectoryError."""
    source = settings.directory.file
    if source is not None and not source.exists():
        raise NotFoundError(f"there is no directory at {source}", hint="run: postmaster init")
    if source is not None and file.exists() and file.samefile(source):
        raise UsageError(f"{file} is the directory itself", hint="name another file")
    if source is not None and not os.access(source, os.R_OK):
        raise DirectoryError(f"the directory {source} cannot be read", hint="run it as root")
    if file.exists() and not overwrite:
        raise ExistsError(f"{file} is there already", hint="name another file, or add --force")
    with _plain_errors(file), complete(file, MODE) as new:
        if source is None:
            transfer.copy(settings, transfer.in_file(settings, new))
        else:
            with closing(_open(source)) as truth, closing(sqlite3.connect(new)) as copy:
                truth.backup(copy)  # in one step: what is copied is of one moment
                copy.execute("PRAGMA journal_mode = DELETE")
        return replace(examine(new), file=file)


def examine(file: Path) -> Backup:
    """What a copy is of. Raises NotFoundError, DirectoryError for one that is damaged or not ours."""
    if not file.is_file():
        raise NotFoundError(f"there is no file {file}")
    with _plain_errors(file), closing(_open(file)) as copy:
        damage = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        broken = copy.execute("PRAGMA foreign_key_check").fetchone()
        if damage != "ok" or broken is not None:
            raise DirectoryError(f"{file} is damaged: {damage if damage != 'ok' else 'rows without parents'}")
        revision = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        if revision is None:
            raise DirectoryError(f"{file} is no copy of a directory")
        return Backup(
            file=file,
            revision=revision[0],
            entry=copy.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0],
            users=copy.execute("SELECT count(*) FROM account").fetchone()[0],
            bytes=file.stat().st_size,
        )


def locked(file: Path) -> set[str]:
    """The logins that are locked in a copy that `examine` accepted."""
    with _plain_errors(file), closing(_open(file)) as copy:
        names = {name for _, name, *_ in copy.execute("PRAGMA table_info(account)")}
        if "locked_at" not in names:
            return set()
        rows = copy.execute(
            "SELECT a.local_part || '@' || d.name FROM account u JOIN address a ON a.id = u.id"
            " JOIN domain d ON d.id = a.domain_id WHERE u.locked_at IS NOT NULL"
        )
        return {login for (login,) in rows}


def restore(settings: Settings, file: Path) -> Restored:
    """Put a copy in force as the truth. A copy of an older version is upgraded on the way.

    The look-ups are the caller's. Raises NotFoundError, DirectoryError; then the truth is as it was.
    """
    found = examine(file)
    if found.revision > REVISION:
        raise DirectoryError(
            f"{file} is of version {found.revision}, this program knows {REVISION}",
            hint="install the newer postmaster that made it",
        )
    folder = replaced.folder_of(settings)
    make_folder(folder, 0o700)
    truth = settings.directory.file
    before = None
    near = truth or folder / "directory.db"
    work = near.with_name(f".{near.name}.{os.getpid()}.restore")
    with _plain_errors(near):
        try:
            os.close(os.open(work, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, MODE))
            with closing(_open(file)) as copy, closing(sqlite3.connect(work)) as own:
                copy.backup(own)
            if found.revision != REVISION:
                _upgrade(settings, work)
            if truth is None:
                before = transfer.copy(transfer.in_file(settings, work), settings, replace_rows=True).before
            else:
                was_there = truth.exists()
                engine = make_engine(settings, create=True)
                engine.dispose()
                with (
                    closing(_open(work)) as own,
                    closing(sqlite3.connect(truth, timeout=LOCK_TIMEOUT, isolation_level=None)) as target,
                ):
                    if was_there:
                        before = _keep(settings, target)
                    own.backup(target)
        finally:
            for one in (work, work.with_name(work.name + "-journal")):
                one.unlink(missing_ok=True)
    return Restored(found, REVISION if found.revision != REVISION else None, before)


def _keep(settings: Settings, truth: sqlite3.Connection) -> Path:
    """A copy of the truth, with all that others write while it is made. Raises DirectoryError."""
    for _ in range(TRIES):
        version = truth.execute("PRAGMA data_version").fetchone()
        kept = backup(settings, replaced.new_file(settings, "restore")).file
        if truth.execute("PRAGMA data_version").fetchone() == version:
            return kept
        kept.unlink()
    raise DirectoryError("others write to the directory all the time", hint="stop them, and try again")


def _upgrade(settings: Settings, work: Path) -> None:
    engine = make_engine(transfer.in_file(settings, work))
    try:
        migrate.upgrade(engine)
    finally:
        engine.dispose()


def _open(file: Path) -> sqlite3.Connection:
    """Open a file to be read alone; what an interrupted writer left is rolled back where we may."""
    mode = "rw" if os.access(file, os.W_OK) else "ro"
    return sqlite3.connect(
        f"file:{quote(os.fsencode(file))}?mode={mode}", uri=True, timeout=LOCK_TIMEOUT, isolation_level=None
    )


@contextmanager
def _plain_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise DirectoryError(
                f"there is no room for {file}", hint="make room, and run it again"
            ) from error
        raise DirectoryError(f"{file} is damaged, locked or no copy of a directory: {error}") from error
    except OSError as error:
        raise DirectoryError(
            f"{error.filename or file} cannot be used: {error.strerror}", hint=remedy(error)
        ) from error
