"""The record of queue actions: who, when, why, on what, and what became of each message.

A small SQLite file in the state directory, root's alone. An action and all its messages are committed before
the first of them is touched, each outcome as soon as it is known. So after a kill the record says which
messages may have been left on hold, and each is found again by its identity.

Whoever acts keeps a byte of the lock file locked; the system lets go of it when the process ends, however
it ends. An action without an end whose byte is free was interrupted.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postmaster.errors import NotFoundError, PostmasterError, RightsError
from postmaster.files import make_folder
from postmaster.queue.message import Message, Recipient
from postmaster.settings import StateSettings
from postmaster.sqlite import prepare, transaction

FILE = "queue.db"
LOCK = "queue.lock"
TRASH = "trash"
LOCK_TIMEOUT = 30.0  # seconds that a command waits for another one's transaction
VERSION = 1
STATES = ("copied", "deleted", "preparing", "restoring")  # of a copy
RESTORED = "restored"  # of one that is in the trash no more: its message came back under a new ID

_TABLES = """
CREATE TABLE action (
    number INTEGER PRIMARY KEY,
    verb TEXT NOT NULL,
    command TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT,
    filter TEXT,
    options TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE item (
    action INTEGER NOT NULL REFERENCES action,
    number INTEGER NOT NULL,
    instance TEXT NOT NULL,
    queue_id TEXT NOT NULL,
    arrival_time INTEGER NOT NULL,
    message_size INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    queue_name TEXT NOT NULL,
    step TEXT,
    outcome TEXT,
    detail TEXT,
    PRIMARY KEY (action, number)
) WITHOUT ROWID;
CREATE INDEX open_items ON item (action) WHERE outcome IS NULL;
CREATE INDEX items_of_a_message ON item (queue_id);
CREATE TABLE copy (
    number INTEGER PRIMARY KEY,
    action INTEGER NOT NULL,
    instance TEXT NOT NULL,
    queue_id TEXT NOT NULL,
    arrival_time INTEGER NOT NULL,
    message_size INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    queue_name TEXT NOT NULL,
    owner INTEGER NOT NULL,
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    new_id TEXT,
    UNIQUE (instance, queue_id, arrival_time)
);
CREATE INDEX copies_that_came_back ON copy (new_id) WHERE new_id IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Action:
    """Times in seconds since the epoch. `open` counts the messages whose outcome is not known."""

    number: int
    verb: str
    command: str
    who: str
    reason: str | None
    filter: str | None
    options: dict[str, Any]
    started: int
    ended: int | None
    messages: int
    bytes: int
    open: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """A message of an action. `step`: how far its handling had come where that matters after a kill."""

    number: int
    message: Message
    step: str | None
    outcome: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Copy:
    """A message in the trash. `state`: copied (its original may be there still), deleted;
    preparing and restoring while it is on its way back as `new_id`; restored once it has gone."""

    number: int
    action: int
    message: Message
    owner: int
    file: str
    bytes: int
    state: str
    since: int
    new_id: str | None


class StoreError(PostmasterError):
    """The record of queue actions is damaged or cannot be written."""

    code = "store"


class Store:
    """The open record. Every method is one transaction."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.folder = folder
        self.trash = folder / TRASH
        self._connection = connection
        self._lock = lock
        self._running: set[int] = set()

    def begin(
        self,
        *,
        verb: str,
        command: str,
        who: str,
        reason: str | None,
        filter_text: str | None,
        options: dict[str, Any],
        messages: Sequence[Message],
    ) -> int:
        """Write an action and all its messages down, and mark it as running. Gives back its number."""
        total = sum(message.message_size for message in messages)
        with self._transaction() as execute:
            number: int | None = execute(
                "INSERT INTO action (verb, command, who, reason, filter, options, started, messages, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(verb, command, who, reason, filter_text, json.dumps(options)),
                    *(int(time.time()), len(messages), total),
                ),
            ).lastrowid
            assert number is not None
            self._connection.executemany(
                "INSERT INTO item (action, number, instance, queue_id, arrival_time, message_size, sender,"
                " recipients, queue_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((number, at, *_columns(message)) for at, message in enumerate(messages)),
            )
            self.run(number)
        return number

    def run(self, number: int) -> None:
        """Mark an action as running while this process lives. Raises PostmasterError when it runs already."""
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            raise StoreError(
                f"action {number} is running in another process", hint="wait until it has ended"
            ) from None
        self._running.add(number)

    def is_running(self, number: int) -> bool:
        """Whether a living process is at work on an action."""
        if number in self._running:
            return True
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return True
        fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, number)
        return False

    def settle(self, number: int, outcomes: Iterable[tuple[int, str, str | None]]) -> None:
        """Write down what became of messages: (number of the item, outcome, detail)."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE item SET outcome = ?, detail = ? WHERE action = ? AND number = ?",
                ((outcome, detail, number, item) for item, outcome, detail in outcomes),
            )

    def step(self, number: int, item: int, step: str | None) -> None:
        """Write down how far the handling of one message has come."""
        with self._transaction() as execute:
            execute("UPDATE item SET step = ? WHERE action = ? AND number = ?", (step, number, item))

    def end(self, number: int) -> None:
        """The action is over: every message has an outcome."""
        with self._transaction() as execute:
            execute("UPDATE action SET ended = ? WHERE number = ?", (int(time.time()), number))
        fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, number)
        self._running.discard(number)

    def action(self, number: int) -> Action:
        """One action. Raises NotFoundError."""
        found = list(self._actions("WHERE number = ?", (number,)))
        if not found:
            raise NotFoundError(f"there is no action {number}", hint="postmaster queue history lists them")
        return found[0]

    def actions(self, limit: int = 0) -> Iterator[Action]:
        """Actions, the latest first; 0: all of them."""
        return self._actions("ORDER BY number DESC LIMIT ?", (limit or -1,))

    def unfinished(self) -> list[Action]:
        """Actions that were interrupted: no end, and no process at work on them."""
        return [one for one in self._actions("WHERE ended IS NULL") if not self.is_running(one.number)]

    def _actions(self, clause: str, values: tuple[Any, ...] = ()) -> Iterator[Action]:
        rows = self._connection.execute(
            "SELECT number, verb, command, who, reason, filter, options, started, ended, messages, bytes"
            f" FROM action {clause}",
            values,
        ).fetchall()
        for row in rows:
            counts = dict(
                self._connection.execute(
                    "SELECT coalesce(outcome, ''), count(*) FROM item WHERE action = ? GROUP BY 1", (row[0],)
                )
            )
            unsettled = counts.pop("", 0)
            number, verb, command, who, reason, filter_text, options, *times, messages, size = row
            started, ended = times
            yield Action(
                *(number, verb, command, who, reason, filter_text, json.loads(options), started, ended),
                *(messages, size, unsettled, counts),
            )

    def items(self, number: int, *, only_open: bool = False) -> Iterator[Item]:
        """The messages of an action; `only_open`: those without an outcome."""
        rows = self._connection.execute(
            "SELECT number, instance, queue_id, arrival_time, message_size, sender, recipients, queue_name,"
            " step, outcome, detail FROM item WHERE action = ?"
            + (" AND outcome IS NULL" if only_open else ""),
            (number,),
        )
        for row in rows:
            yield Item(row[0], _message(row[1:8]), *row[8:])

    def add_copies(self, number: int, copies: Iterable[tuple[Message, int, str, int]]) -> None:
        """Enter copies that were just made: (message, owner's uid, file's name, bytes)."""
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO copy (action, instance, queue_id, arrival_time, message_size, sender,"
                " recipients, queue_name, owner, file, bytes, state, since)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'copied', ?)",
                (
                    (number, *_columns(message), owner, name, size, int(time.time()))
                    for message, owner, name, size in copies
                ),
            )

    def set_copies(self, state: str, messages: Iterable[Message]) -> None:
        """Set the state of the copies of these messages."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE copy SET state = ?, since = ?"
                " WHERE instance = ? AND queue_id = ? AND arrival_time = ?",
                ((state, int(time.time()), *message.identity) for message in messages),
            )

    def set_copy(self, number: int, state: str, new_id: str | None = None) -> None:
        with self._transaction() as execute:
            execute(
                "UPDATE copy SET state = ?, new_id = coalesce(?, new_id) WHERE number = ?",
                (state, new_id, number),
            )

    def set_restored(self, number: int) -> None:
        """A copy's message is in the queue again and its file gone: what is left of it is history."""
        with self._transaction() as execute:
            execute(
                "UPDATE copy SET state = ?, since = ? WHERE number = ?", (RESTORED, int(time.time()), number)
            )

    def copies(self, states: Sequence[str] = ("deleted", "preparing", "restoring")) -> list[Copy]:
        """What is in the trash, the oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._connection.execute(
            "SELECT number, action, instance, queue_id, arrival_time, message_size, sender, recipients,"
            f" queue_name, owner, file, bytes, state, since, new_id FROM copy WHERE state IN ({marks})"
            " ORDER BY number",
            tuple(states),
        )
        return [Copy(row[0], row[1], _message(row[2:9]), *row[9:]) for row in rows.fetchall()]

    def copy_of(self, message: Message) -> Copy | None:
        """The copy of this very message, whatever its state."""
        rows = self._connection.execute(
            "SELECT number, action, instance, queue_id, arrival_time, message_size, sender, recipients,"
            " queue_name, owner, file, bytes, state, since, new_id FROM copy"
            " WHERE instance = ? AND queue_id = ? AND arrival_time = ?",
            message.identity,
        ).fetchall()
        return Copy(rows[0][0], rows[0][1], _message(rows[0][2:9]), *rows[0][9:]) if rows else None

    def forget_copies(self, numbers: Iterable[int]) -> None:
        """Take copies out of the record; their files are the caller's."""
        with self._transaction():
            self._connection.executemany("DELETE FROM copy WHERE number = ?", ((n,) for n in numbers))

    def prune(self, before: int) -> None:
        """Forget actions that ended before this moment, and what came back before it."""
        with self._transaction() as execute:
            execute("DELETE FROM copy WHERE state = ? AND since < ?", (RESTORED, before))
            old = "SELECT number FROM action WHERE ended < ?"
            execute(f"DELETE FROM item WHERE action IN ({old})", (before,))
            execute("DELETE FROM action WHERE ended < ?", (before,))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with _plain_errors(self.folder), transaction(self._connection):
            yield self._connection.execute


@contextmanager
def open_store(settings: StateSettings) -> Iterator[Store]:
    """Open the record, making it where there is none. Raises RightsError, StoreError."""
    folder = settings.directory
    try:
        make_folder(folder, 0o755)
        make_folder(folder / TRASH, 0o700)
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.close(os.open(folder / FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except PermissionError as error:
        raise RightsError(
            f"{error.filename} may not be written: queue actions are recorded there",
            hint="run it again with sudo",
        ) from None
    except OSError as error:
        raise StoreError(f"{error.filename or folder} cannot be made: {error.strerror}") from None
    try:
        with _plain_errors(folder):
            connection = sqlite3.connect(folder / FILE, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            with _plain_errors(folder):
                _prepare(connection, folder)
            yield Store(folder, connection, lock)
        finally:
            connection.close()
    finally:
        os.close(lock)


def _prepare(connection: sqlite3.Connection, folder: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # a commit is one write to disk, not three
    connection.execute("PRAGMA synchronous = FULL")
    version = prepare(connection, _TABLES, VERSION)
    if version != VERSION:
        raise StoreError(
            f"{folder / FILE} is of version {version}, this program knows {VERSION}",
            hint="install the newer postmaster that made it",
        )


@contextmanager
def _plain_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the record of queue actions in {folder / FILE} failed: {error}",
            hint="nothing is done without it; is the disk full, or the file damaged?",
        ) from error


def _columns(message: Message) -> tuple[Any, ...]:
    return (
        message.instance,
        message.queue_id,
        message.arrival_time,
        message.message_size,
        _storable(message.sender),
        json.dumps([one.address for one in message.recipients]),
        message.queue_name,
    )


def _message(row: Sequence[Any]) -> Message:
    instance, queue_id, arrival, size, sender, recipients, queue = row
    return Message(
        instance=instance,
        queue_name=queue,
        queue_id=queue_id,
        arrival_time=arrival,
        message_size=size,
        sender=readable(sender),
        recipients=[Recipient(address) for address in json.loads(recipients)],
    )


def _storable(text: str) -> str:
    """SQLite takes no surrogates, which is how an undecodable byte is kept; JSON's escapes do."""
    return json.dumps(text)


def readable(text: str) -> str:
    """A text of the record as it was before it was stored."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, str):
            return found
    return text
