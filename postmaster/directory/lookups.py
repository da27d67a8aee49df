"""The look-up files: what Postfix and Dovecot read, as plain tables under stable views.

`postfix.db` (root:postfix 0640) has domains, addresses, aliases, forwards and owners, and no
secret. `dovecot.db` (root:dovecot 0640) has all that passdb and userdb need. The views are the
contract with the servers and change only by adding; the tables under them mirror the truth's rows,
less what a server need not know.

Servers have these files open while we write. What makes that safe (Postfix `dict_sqlite.c` ends its
process at a lock, and so does a reader that misses `-wal` or `-shm` and may not make them):
- WAL mode, short transactions, written in place, `cache_spill` off;
- the side files are never removed: each process keeps one more connection to each file, which is
  never closed, so nobody is ever the last to close (see `_keep`);
- a new file is filled beside its place, given its owner and mode, renamed in, then put in WAL mode.
Whatever is missing or has the wrong owner or mode is put right each time we write.

No promise that a reader never meets a lock: with `proxy:` in front it costs a client a second, and
no recipient is refused.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from postmaster.errors import DirectoryError
from postmaster.files import make_folder
from postmaster.settings import LookupsSettings

#: Changes with the tables or views below; a file of another version is made anew in place.
VERSION = 3
LOCK_TIMEOUT = 30.0  # seconds
FILE_MODE = 0o640
FOLDER_MODE = 0o711  # servers pass through; they need not list

#: What stands for no end: the first second past what a date can say.
EVER = 253402300800

_PUBLISHED = """
CREATE TABLE published (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL,
    entry INTEGER NOT NULL, made_at TEXT NOT NULL);
"""

_POSTFIX = """
CREATE TABLE domain (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, alias_of_id INTEGER);
CREATE INDEX ix_domain_alias ON domain (alias_of_id);
CREATE TABLE address (
    id INTEGER PRIMARY KEY, domain_id INTEGER NOT NULL, local_part TEXT NOT NULL, kind TEXT NOT NULL,
    keeps_from INTEGER NOT NULL, open_from INTEGER NOT NULL, open_until INTEGER NOT NULL,
    sends_until INTEGER NOT NULL, login TEXT,
    UNIQUE (domain_id, local_part));
CREATE UNIQUE INDEX ix_address_login ON address (login) WHERE login IS NOT NULL;
CREATE TABLE target (
    id INTEGER PRIMARY KEY, source_id INTEGER NOT NULL, position INTEGER NOT NULL,
    local_part TEXT NOT NULL, domain TEXT NOT NULL,
    open_from INTEGER NOT NULL, open_until INTEGER NOT NULL);
CREATE INDEX ix_target_source ON target (source_id, position);
CREATE TABLE sender_grant (
    id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, domain_id INTEGER NOT NULL,
    local_part TEXT NOT NULL);
CREATE INDEX ix_sender_grant_account ON sender_grant (account_id);
CREATE INDEX ix_sender_grant_domain ON sender_grant (domain_id, local_part);

-- An address by each name it answers to: its own, and one in every alias domain.
CREATE VIEW answer AS
    SELECT a.id, a.local_part, d.name AS domain FROM domain d JOIN address a ON a.domain_id = d.id
    WHERE a.local_part <> ''
    UNION ALL
    SELECT a.id, a.local_part, d.name FROM domain d JOIN address a ON a.domain_id = d.alias_of_id
    WHERE a.local_part <> '';
-- Targets that mail can go on to: it ends in a mailbox that takes it, or leaves the house (`dead_ends.py`).
CREATE VIEW open_target AS
    SELECT source_id, local_part, domain FROM target
    WHERE open_from <= unixepoch() AND unixepoch() < open_until;

CREATE VIEW virtual_mailbox_domain AS SELECT name AS domain FROM domain WHERE alias_of_id IS NULL;
CREATE VIEW virtual_alias_domain AS SELECT name AS domain FROM domain WHERE alias_of_id IS NOT NULL;
CREATE VIEW virtual_mailbox AS
    SELECT a.local_part, d.name AS domain, a.local_part || '@' || d.name AS address
    FROM domain d JOIN address a ON a.domain_id = d.id WHERE a.kind = 'user';
CREATE VIEW virtual_alias AS
    SELECT a.local_part, d.name AS domain,
           t.local_part AS target_local, t.domain AS target_domain,
           CASE WHEN EXISTS (SELECT 1 FROM domain l WHERE l.name = t.domain) THEN 1 ELSE 0 END AS is_local
    FROM domain d JOIN address a ON a.domain_id = d.id JOIN open_target t ON t.source_id = a.id
    WHERE a.local_part <> ''
    UNION ALL
    SELECT a.local_part, d.name, a.local_part, d.name, 1
    FROM domain d JOIN address a ON a.domain_id = d.id WHERE a.keeps_from <= unixepoch()
    UNION ALL
    SELECT a.local_part, d.name, a.local_part, h.name, 1
    FROM domain d JOIN domain h ON h.id = d.alias_of_id JOIN address a ON a.domain_id = h.id
    WHERE a.local_part <> '';
CREATE VIEW catch_all AS
    SELECT d.name AS domain, t.local_part || '@' || t.domain AS target
    FROM domain d JOIN address a ON a.domain_id = d.id AND a.local_part = ''
    JOIN open_target t ON t.source_id = a.id;
CREATE VIEW recipient_access AS
    SELECT n.local_part, n.domain, '550 5.2.1 Mailbox disabled, not accepting messages' AS action
    FROM answer n JOIN address a ON a.id = n.id
    WHERE unixepoch() < a.open_from OR a.open_until <= unixepoch();
-- A grant of a whole domain has an empty local part. Grants hold in alias domains as addresses do.
CREATE VIEW sender_login AS
    SELECT n.local_part, n.domain, a.login FROM answer n JOIN address a ON a.id = n.id
    WHERE a.login IS NOT NULL
    UNION ALL
    SELECT g.local_part, d.name, a.login
    FROM domain d JOIN sender_grant g ON g.domain_id = d.id JOIN address a ON a.id = g.account_id
    WHERE a.login IS NOT NULL
    UNION ALL
    SELECT g.local_part, d.name, a.login
    FROM domain d JOIN sender_grant g ON g.domain_id = d.alias_of_id JOIN address a ON a.id = g.account_id
    WHERE a.login IS NOT NULL;
CREATE VIEW submission_login AS
    SELECT login, 'OK' AS action FROM address WHERE login IS NOT NULL AND unixepoch() < sends_until;
"""

_DOVECOT = """
CREATE TABLE account (
    id INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, password TEXT NOT NULL, mail_id TEXT NOT NULL,
    may_login INTEGER NOT NULL, imap INTEGER NOT NULL, pop3 INTEGER NOT NULL, send INTEGER NOT NULL,
    receive INTEGER NOT NULL, quota_bytes INTEGER, redirects INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE TABLE app_password (
    id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE,
    imap INTEGER NOT NULL, pop3 INTEGER NOT NULL, send INTEGER NOT NULL);
CREATE INDEX ix_app_password_account ON app_password (account_id);

-- A service of Dovecot lets a login in where it has the right of this name; an app password as well.
CREATE VIEW may AS
    SELECT id, login, 'imap' AS service, 'imap' AS needs FROM account
    WHERE may_login = 1 AND imap = 1 AND unixepoch() < until
    UNION ALL SELECT id, login, 'pop3', 'pop3' FROM account
    WHERE may_login = 1 AND pop3 = 1 AND unixepoch() < until
    UNION ALL SELECT id, login, 'smtp', 'send' FROM account
    WHERE may_login = 1 AND send = 1 AND unixepoch() < until
    UNION ALL SELECT id, login, 'submission', 'send' FROM account
    WHERE may_login = 1 AND send = 1 AND unixepoch() < until
    UNION ALL SELECT id, login, 'sieve', '' FROM account WHERE may_login = 1 AND unixepoch() < until
    UNION ALL SELECT id, login, 'doveadm', '' FROM account WHERE may_login = 1 AND unixepoch() < until;

CREATE VIEW passdb AS
    SELECT m.login, m.service, a.password FROM may m JOIN account a ON a.id = m.id WHERE a.password <> '';
CREATE VIEW app_passdb AS
    SELECT m.login, m.service, p.sha256, p.name FROM may m JOIN app_password p ON p.account_id = m.id
    WHERE CASE m.needs WHEN 'imap' THEN p.imap WHEN 'pop3' THEN p.pop3 WHEN 'send' THEN p.send END = 1;
CREATE VIEW userdb AS
    SELECT login, mail_id, quota_bytes,
           CASE WHEN receive = 1 AND unixepoch() < until THEN 1 ELSE 0 END AS receive, redirects
    FROM account;
CREATE VIEW user_list AS SELECT login FROM account;
"""


@dataclass(frozen=True, slots=True)
class LookupFile:
    """One published file: its name, its tables and views, and the setting that names who reads it."""

    name: str
    schema: str
    tables: tuple[str, ...]
    group_setting: str

    @property
    def schema_name(self) -> str:
        """Of the schema, and of the role that reads it, where servers query PostgreSQL."""
        return self.name.removesuffix(".db")

    def path(self, settings: LookupsSettings) -> Path:
        return settings.directory / self.name

    def group(self, settings: LookupsSettings) -> str:
        return str(getattr(settings, self.group_setting))


POSTFIX = LookupFile("postfix.db", _POSTFIX, ("domain", "address", "target", "sender_grant"), "postfix_group")
DOVECOT = LookupFile("dovecot.db", _DOVECOT, ("account", "app_password"), "dovecot_group")

#: In the order of publishing: a right is withdrawn in Dovecot before anything else is seen.
FILES = (DOVECOT, POSTFIX)


def side_files(path: Path) -> tuple[Path, Path]:
    """The files that must stand beside a look-up file in WAL mode."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


@contextmanager
def writing(file: LookupFile, settings: LookupsSettings) -> Iterator[sqlite3.Connection]:
    """One transaction on a look-up file, which is made or mended first. Raises DirectoryError."""
    path = file.path(settings)
    try:
        if not path.exists():
            _create(file, settings)
        _set_rights(file, settings)
        _keep(path)
        connection = _connect(path)
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_spill=OFF")
            connection.execute("BEGIN IMMEDIATE")
            _upgrade(connection, file)
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.close()
        _set_rights(file, settings)
    except sqlite3.Error as error:
        raise DirectoryError(
            f"the look-up file {path} cannot be written: {error}", hint="run: postmaster publish --rebuild"
        ) from error
    except OSError as error:
        raise DirectoryError(f"the look-up file {path} cannot be written: {error.strerror}") from error


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A look at one moment of a look-up file. Raises DirectoryError."""
    try:
        with contextlib.closing(_look(path)) as connection:
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise DirectoryError(
            f"the look-up file {path} cannot be read: {error}", hint="run: postmaster publish --rebuild"
        ) from error


def replace_damaged(settings: LookupsSettings) -> tuple[Path, ...]:
    """Put an empty file in the place of each one that cannot be read; gives back which.

    The servers keep the damaged file open until they are reloaded.
    """
    replaced = []
    for file in FILES:
        path = file.path(settings)
        if path.exists() and not _is_sound(path):
            for side in side_files(path):
                side.unlink(missing_ok=True)
            _create(file, settings)
            replaced.append(path)
    return tuple(replaced)


def published_entry(path: Path) -> tuple[int, str] | None:
    """(journal entry, when it was made) up to which a file is published; None if it cannot say."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(_look(path)) as connection:
            row = connection.execute("SELECT entry, made_at, version FROM published").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None or row[2] != VERSION else (row[0], row[1])


def prepare_folder(settings: LookupsSettings) -> bool:
    """Make the folder that servers pass through; whether it was missing or had another mode."""
    if make_folder(settings.directory, FOLDER_MODE):
        return True
    if (settings.directory.stat().st_mode & 0o777) == FOLDER_MODE:
        return False
    settings.directory.chmod(FOLDER_MODE)
    return True


def group_id(name: str) -> int | None:
    """The id of a group, None where there is none or we may not give files to it."""
    import grp

    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        return None
    return number if os.geteuid() == 0 or number in os.getgroups() else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)


def _look(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, so that closing it as the last one leaves the side files alone."""
    uri = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)


_kept: dict[tuple[int, str, int], sqlite3.Connection] = {}


def _keep(path: Path) -> None:
    """Put a file in WAL mode and hold it open with a connection that is never closed.

    SQLite removes `-wal` and `-shm` when the last connection closes; at the end of a process that
    did not close its own, they stay. One more reference, never given back, keeps the interpreter
    from closing it on its way out. Keyed by process, as a connection must not cross a fork.
    """
    import ctypes

    inode = path.stat().st_ino
    key = (os.getpid(), str(path), inode)
    if key in _kept:
        if all(side.exists() for side in side_files(path)):
            return
        # As long as one connection of this process is open SQLite shares what it has, and makes nothing.
        _kept.pop(key).close()
    connection = _connect(path)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise DirectoryError(f"{path} cannot be put in WAL mode", hint="is its file system a network share?")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the read that makes the side files
    _kept[key] = connection


def _create(file: LookupFile, settings: LookupsSettings) -> None:
    """Make a file with tables and no rows, complete before any server can see it."""
    path = file.path(settings)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with contextlib.closing(_connect(new)) as connection:
            connection.execute("PRAGMA page_size=4096")
            connection.execute("BEGIN IMMEDIATE")
            _upgrade(connection, file)
            connection.execute("COMMIT")
        _set_rights_of(new, file, settings)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _upgrade(connection: sqlite3.Connection, file: LookupFile) -> None:
    """Make tables and views in an empty file, or anew in one of another version, in this transaction."""
    try:
        row = connection.execute("SELECT version FROM published").fetchone()
    except sqlite3.OperationalError:
        row = None
    if row is not None and row[0] == VERSION:
        return
    there = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for kind, name in sorted(there, reverse=True):  # views before tables
        connection.execute(f'DROP {kind} "{name}"')
    for statement in statements(file):
        connection.execute(statement)
    connection.execute("INSERT INTO published VALUES (1, ?, 0, '')", (VERSION,))


def statements(file: LookupFile) -> Iterator[str]:
    """Each one that makes the file's tables and views."""
    # Not executescript(): it would commit the transaction that this is part of.
    lines = [line for line in (_PUBLISHED + file.schema).splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";\n"):
        if statement.strip():
            yield statement


def _is_sound(path: Path) -> bool:
    try:
        with contextlib.closing(_look(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _set_rights(file: LookupFile, settings: LookupsSettings) -> None:
    path = file.path(settings)
    for one in (path, *side_files(path)):
        with contextlib.suppress(FileNotFoundError):
            _set_rights_of(one, file, settings)


def _set_rights_of(path: Path, file: LookupFile, settings: LookupsSettings) -> None:
    present = path.stat()
    group = group_id(file.group(settings))
    if group is not None and present.st_gid != group:
        os.chown(path, -1, group)
    if os.geteuid() == 0 and present.st_uid != 0:
        os.chown(path, 0, -1)
    if present.st_mode & 0o777 != FILE_MODE:
        path.chmod(FILE_MODE)
