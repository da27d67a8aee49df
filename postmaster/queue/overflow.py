"""Groups of a summary that are too many for memory: by sender or client there can be as many as messages.

They are put down as they come in a temporary SQLite file, each perhaps in several pieces, and put together
when they are asked for. What is told is exact. The file has no name (SQLite deletes it as it opens it), so
nothing is left of it however the process ends; it needs some 200 bytes a group below TMPDIR or /var/tmp.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from postmaster.errors import ServerError

CACHE = 4096  # KiB of the file that SQLite keeps in memory

_COUNTS = ("messages", "recipients", "bytes", *(f"age_{number}" for number in range(10)))
_COLUMNS = ("name", "key", *_COUNTS, "oldest", "next_retry", "example")
_WHOLE = (
    f"SELECT name, key, {', '.join(f'sum({one}) {one}' for one in _COUNTS)}, min(oldest) oldest, "
    "min(next_retry) next_retry, min(example) example FROM piece GROUP BY key"
)

#: A group as it is put down: key, then the numbers of `_COUNTS`, oldest, next retry, example.
Row = tuple[Any, ...]


class Overflow:
    """What did not fit. Raises ServerError where the temporary file cannot take any more."""

    def __init__(self) -> None:
        with _plain_errors():
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(f"PRAGMA cache_size = -{CACHE}")
            self._database.execute("PRAGMA temp_store = FILE")  # what is sorted too
            self._database.execute(f"CREATE TABLE piece ({', '.join(_COLUMNS)})")
        self._is_whole = True

    def add(self, rows: Iterable[Row]) -> None:
        """Put down groups, or pieces of them."""
        marks = ", ".join("?" * len(_COLUMNS))
        with _plain_errors():
            self._database.execute("BEGIN")
            self._database.executemany(
                f"INSERT INTO piece VALUES ({marks})",
                ((_name(key), json.dumps(key), *rest) for key, *rest in rows),
            )
            self._database.execute("COMMIT")
        self._is_whole = False

    def __len__(self) -> int:
        """The number of groups."""
        with _plain_errors():
            self._put_together()
            number: int = self._database.execute("SELECT count(*) FROM piece").fetchone()[0]
        return number

    def rows(self, first: str | None = None, limit: int = 0) -> Iterator[Row]:
        """The groups, whole: by the counts `first`, `messages` (largest first) and the key's text, or in no
        order; at most `limit`, 0 for all.
        """
        order = "" if first is None else f"ORDER BY {first} DESC, messages DESC, name"
        with _plain_errors():
            self._put_together()
            for _, key, *rest in self._database.execute(f"SELECT * FROM piece {order} LIMIT {limit or -1}"):
                found = json.loads(key)
                yield tuple(found) if isinstance(found, list) else found, *rest

    def _put_together(self) -> None:
        if not self._is_whole:
            self._database.execute(f"CREATE TABLE whole AS {_WHOLE}")
            self._database.execute("DROP TABLE piece")
            self._database.execute("ALTER TABLE whole RENAME TO piece")
            self._is_whole = True

    def __del__(self) -> None:
        if hasattr(self, "_database"):
            self._database.close()


def _name(key: Any) -> bytes:
    """What groups of equal size are ordered by. JSON of postqueue may hold half a surrogate pair."""
    return str(key).encode("utf-8", "surrogatepass")


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ServerError(
            f"there are too many groups for memory, and the temporary file for them failed: {error}",
            hint="set TMPDIR to a folder with more room, or narrow it with a filter",
        ) from None
