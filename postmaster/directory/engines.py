"""The two databases that can hold the truth: how each is opened, locked for a change, and complains.

Whoever opens it meets no difference. A read is of one moment: SQLite's transaction, PostgreSQL's
REPEATABLE READ. A change begins with the only write lock: BEGIN IMMEDIATE, or LOCK TABLE on the journal
before the snapshot is taken (PostgreSQL, LOCK: "before executing any SELECT"), so that nothing is decided on
what another change is about to replace.

SQLite is in rollback-journal mode: one file is the backup.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from postmaster.database_url import SCHEMES, scheme
from postmaster.directory import postgresql
from postmaster.errors import DirectoryError
from postmaster.files import remedy
from postmaster.settings import Settings
from postmaster.shell import word

LOCK_TIMEOUT = 30.0  # seconds that a command waits for another one's transaction
INIT_HINT = "run: postmaster init"

_WRITES = "postmaster_writes"  # execution option: the transaction takes the write lock
_MIGRATION_LOCK = 0x706F73746D  # advisory, for when there is no table to lock yet


def make_engine(settings: Settings, *, create: bool = False) -> Engine:
    """An engine for the truth; with `create`, a missing SQLite file is made, readable to its owner alone.

    Raises DirectoryError.
    """
    kind = scheme(settings.directory.url)
    if kind == "sqlite":
        return _sqlite(settings.directory.file, create)
    if kind in SCHEMES:
        return _postgresql(settings)
    why = f"names {kind}, which is not supported" if kind else "is not a database URL"
    raise DirectoryError(
        f"directory.url {why}",
        hint="use sqlite:////var/lib/postmaster/directory.db or postgresql://USER@HOST/DATABASE",
    )


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions begin with the write lock."""
    return engine.execution_options(**{_WRITES: True})


def address_of(settings: Settings) -> str:
    """The truth's file or URL, for people; never with a password."""
    return str(settings.directory.file or postgresql.url(settings).shown)


def is_postgresql(of: Engine | Connection) -> bool:
    return of.dialect.name == "postgresql"


def tell_followers(connection: Connection) -> None:
    """Let those who follow the journal know at the commit that there is something new."""
    if is_postgresql(connection):
        connection.exec_driver_sql(f"NOTIFY {postgresql.CHANNEL}")


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction for a migration: it alone, and foreign keys do not act while tables are made anew.

    Raises DirectoryError when rows would be left without their parents.
    """
    if is_postgresql(engine):
        # READ COMMITTED: what another migration did while we waited must be seen.
        waiting = engine.execution_options(isolation_level="READ COMMITTED")
        with waiting.connect() as connection, connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection
        return
    with for_writing(engine).connect() as connection:
        # Batch changes drop and rename tables, which would delete child rows (SQLite, section
        # "Making Other Kinds Of Table Schema Changes"). It has no effect inside a transaction.
        connection.connection.execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if broken is not None:
                raise DirectoryError(f"the migration would leave rows of {broken[0]} without their parents")
        connection.connection.execute("PRAGMA foreign_keys=ON")


@contextmanager
def plain_errors(settings: Settings) -> Iterator[None]:
    """Turn the database's complaints into one clear line."""
    try:
        yield
    except DatabaseError as error:
        state = getattr(error.orig, "sqlstate", None)
        text = postgresql.complaint(error.orig)
        if "locked" in text or state == "55P03":
            file = settings.directory.file
            raise DirectoryError(
                f"another command kept the directory locked for {LOCK_TIMEOUT:g} s",
                hint="try again"
                + (
                    f"; see who holds it with: fuser {word(file)}"
                    if file
                    else "; pg_stat_activity shows who holds it"
                ),
            ) from error
        if state is not None and state.startswith("40"):
            raise DirectoryError(f"the database refused the change: {text}", hint="try again") from error
        if isinstance(error, OperationalError) or settings.directory.file is None:
            raise DirectoryError(
                f"the directory cannot be used: {text}", hint=postgresql.hint(text, state)
            ) from error
        raise DirectoryError(
            f"the directory is damaged or not ours: {text}", hint="restore it from a backup"
        ) from error


def _sqlite(file: Path | None, create: bool) -> Engine:
    if file is None or str(file) == ":memory:":
        raise DirectoryError("directory.url names no file", hint="use sqlite:////absolute/path/directory.db")
    _check_file(file, create)
    url = URL.create("sqlite", database=str(file))
    engine = create_engine(url, connect_args={"isolation_level": None, "timeout": LOCK_TIMEOUT})

    @event.listens_for(engine, "connect")
    def prepare(dbapi: Any, _record: Any) -> None:
        dbapi.execute("PRAGMA foreign_keys=ON")
        dbapi.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver is in autocommit, so that a transaction begins where we say and with the lock we say.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(settings: Settings) -> Engine:
    parameters = postgresql.connection_parameters(settings)
    engine = create_engine(
        "postgresql+psycopg://", connect_args=parameters, isolation_level="REPEATABLE READ"
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITES):
            # Neither takes a snapshot. Readers go on: they meet the lock of no row.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'")
            connection.exec_driver_sql("LOCK TABLE journal IN SHARE ROW EXCLUSIVE MODE")

    return engine


def _check_file(file: Path, create: bool) -> None:
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        if not create:
            raise DirectoryError(f"there is no directory at {file}", hint=INIT_HINT) from None
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass  # another init was quicker
        except OSError as error:
            raise DirectoryError(f"{file} cannot be made: {error.strerror}") from None
        return
    except OSError as error:
        raise DirectoryError(
            f"the directory {file} cannot be opened: {error.strerror}", hint=remedy(error)
        ) from None
    if not stat.S_ISREG(mode):
        raise DirectoryError(f"the directory {file} is not a regular file")
    if not os.access(file, os.R_OK | os.W_OK):
        number = errno.EROFS if os.statvfs(file).f_flag & os.ST_RDONLY else errno.EACCES
        refusal = OSError(number, os.strerror(number))
        raise DirectoryError(
            f"the directory {file} cannot be opened: {refusal.strerror}", hint=remedy(refusal)
        )
