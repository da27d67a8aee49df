"""How a truth in PostgreSQL is reached, by the driver alone: parameters, password, what its errors mean.

Without SQLAlchemy: completion, health and what follows the journal ask by psycopg itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from postmaster.database_url import DatabaseUrl, parse
from postmaster.errors import DirectoryError, SettingsError
from postmaster.settings import Settings
from postmaster.shell import word

CONNECT_TIMEOUT = 10  # seconds that a database server may take to answer
SEND_TIMEOUT = 30000  # milliseconds until a server that acknowledges nothing is taken for gone
CHANNEL = "postmaster_journal"  # NOTIFY tells on it that there is a new entry

_FAILED = "connection failed: "
_BEGINNINGS = re.compile("^(connection failed|connection is bad|consuming input failed): ")

#: What PostgreSQL or libpq says -> what the administrator does about it; the first that fits.
_HINTS = {
    "database .* does not exist": (
        "make it: createdb --owner=USER --template=template0 --encoding=UTF8 DATABASE"
    ),
    "disk is full": "make room, and run it again",
    "password": "directory.password_file names a file with the password (0600)",
    "no encryption": "the server wants TLS: sslmode=verify-full in directory.url",
    "invalid connection option|invalid .* value": "see the parameters after ? in directory.url",
    "no pg_hba.conf entry": "let this host and user in: pg_hba.conf on the server",
    "too many clients|connection slots": "try again; the limit is max_connections in postgresql.conf",
    "the database system is": "it is starting or ending: try again in a moment",
    "recovery|read-only|not read-write": (
        "a standby only reads: name the primary in directory.url, or all hosts with"
        " ?target_session_attrs=read-write"
    ),
    "refused|timeout|could not translate|failed to resolve|No such file|closed the conn|terminating|eof": (
        "is PostgreSQL running there?"
    ),
    "SSL|certificate": "see sslmode and sslrootcert in directory.url",
}


def url(settings: Settings) -> DatabaseUrl:
    """The URL of a truth in PostgreSQL. Raises DirectoryError."""
    try:
        return parse(settings.directory.url)
    except SettingsError as error:
        raise DirectoryError("directory.url is not the URL of a PostgreSQL", hint=error.hint) from None


def connection_parameters(settings: Settings) -> dict[str, Any]:
    """What psycopg.connect takes to reach a truth in PostgreSQL. Raises DirectoryError.

    The password comes from the URL, which then stands in a file that is its owner's alone or in the
    environment; from directory.password_file; or from where libpq looks itself (PGPASSFILE, ~/.pgpass).
    """
    try:
        import psycopg  # noqa: F401 (whether it is there)
    except ImportError:
        raise DirectoryError(
            "a directory in PostgreSQL needs the driver psycopg",
            hint="pip install 'postmaster[postgresql]'",
        ) from None
    said = url(settings)
    if not said.name:
        raise DirectoryError("directory.url names no database", hint="postgresql://USER@HOST/DATABASE")
    password = said.password
    if said.has_password:
        check_secret(settings.file, "POSTMASTER_DIRECTORY_URL")
    elif settings.directory.password_file:
        password = _read_secret(Path(settings.directory.password_file))
    given = {
        "host": ",".join(host for host, _ in said.hosts),
        "port": ",".join(str(port or "") for _, port in said.hosts),  # an empty one among several: the usual
        "user": said.user,
        "password": password,
        "dbname": said.name,
        "connect_timeout": CONNECT_TIMEOUT,
        "tcp_user_timeout": SEND_TIMEOUT,
        "application_name": "postmaster",
        **dict(said.options),
    }
    return {name: value for name, value in given.items() if value}


def check_secret(file: Path | None, variable: str) -> None:
    """Refuse a settings file with a database's password that others may read, unless a variable of the
    environment stands for it. Raises DirectoryError.
    """
    try:
        mode = 0 if file is None else file.stat().st_mode
    except OSError:
        mode = 0
    if mode & 0o077 and variable not in os.environ:
        raise DirectoryError(
            f"{file} holds the database's password and others may read it",
            hint=f"chmod 600 {word(file)}, or give the URL by {variable} in the environment",
        )


def _read_secret(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o077:
            raise DirectoryError(f"others may read {file}", hint=f"chmod 600 {word(file)}")
        return file.read_text().splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else "no password in it"
        raise DirectoryError(f"directory.password_file {file} cannot be read: {why}") from None


def complaint(error: BaseException | None) -> str:
    """What a driver says, in one line. psycopg tells of several hosts that were tried a line each."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    tried = [line.partition(_FAILED)[2] for line in lines if line.startswith("- ") and _FAILED in line]
    if tried:
        return "; ".join(dict.fromkeys(tried))
    return _BEGINNINGS.sub("", lines[0]) if lines else type(error).__name__


def hint(text: str, state: str | None) -> str | None:
    """What to do about a complaint, by its text and its SQLSTATE."""
    if state == "42501":
        return "the user in directory.url must own the database"
    return next((what for pattern, what in _HINTS.items() if re.search(pattern, text)), None)
