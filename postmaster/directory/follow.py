"""Publishing as long as it runs: for a mail host that keeps files of its own from a truth elsewhere.

PostgreSQL tells of each change (NOTIFY); what was missed while it was away is caught up, since publishing
starts from the entry that the files know. The files go on answering meanwhile. Nothing needs to be cleaned
up when it is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from postmaster.directory import postgresql
from postmaster.directory.database import open_directory
from postmaster.directory.publish import Published
from postmaster.errors import DirectoryError
from postmaster.settings import Settings

POLL = 30.0  # seconds after which it looks without having been told
POLL_SQLITE = 2.0  # nobody tells of a change in a file
POLL_STANDBY = 5.0  # nor does a standby, which takes no LISTEN
PATIENCE = (1.0, 30.0)  # seconds until it tries again: at first, at most

Tell = Callable[[Published | DirectoryError], None]


def follow(settings: Settings, tell: Tell, *, wanted: Callable[[], bool] = lambda: True) -> None:
    """Publish each change soon after it is made, while `wanted`. `tell` hears what was done.

    It hears once of what is amiss, as a truth that is away, and of what was caught up afterwards.
    """
    wait, trouble = PATIENCE[0], ""
    while wanted():
        try:
            with _listening(settings) as changes:
                for _ in changes:
                    done = _publish(settings)
                    if done.files or trouble:
                        tell(done)
                    wait, trouble = PATIENCE[0], ""
                    if not wanted():
                        return
        except DirectoryError as error:
            if error.message != trouble:
                tell(error)
            trouble = error.message
            time.sleep(wait)
            wait = min(2 * wait, PATIENCE[1])


def _publish(settings: Settings) -> Published:
    with open_directory(settings, command="publish", publish=False) as directory:
        return directory.publish()


@contextmanager
def _listening(settings: Settings) -> Iterator[Iterator[None]]:
    """Something each time that there may be a change, at once for the first time. Raises DirectoryError."""
    if settings.directory.file is not None:
        yield _every(POLL_SQLITE)
        return
    parameters = postgresql.connection_parameters(settings)
    import psycopg

    try:
        with psycopg.connect(**parameters, autocommit=True) as connection:
            try:
                connection.execute(f"LISTEN {postgresql.CHANNEL}")
            except psycopg.errors.ReadOnlySqlTransaction:
                yield _every(POLL_STANDBY)
            else:
                yield _told(connection)
    except psycopg.Error as error:
        text = postgresql.complaint(error)
        raise DirectoryError(
            f"the directory is away: {text}", hint=postgresql.hint(text, error.sqlstate)
        ) from error


def _told(connection: Any) -> Iterator[None]:
    while True:
        yield
        for _ in connection.notifies(timeout=POLL, stop_after=1):
            pass


def _every(seconds: float) -> Iterator[None]:
    while True:
        yield
        time.sleep(seconds)
