"""Asking look-up tables for what Postfix would read in them, whatever their type.

A `sqlite:` table is read here, as `dict_sqlite.c` would: explaining an address asks dozens of keys, and a
`postmap` that opened the file directly and closed it as the last one would take its side files away, on
which every server's next look-up would fail. All other types are asked through `postmap`, with `proxy:`
where Postfix runs. What was asked once is kept: answers are of one moment.

`differences` asks the running server for every key that was read here, one `postmap -q -` for a table.

Sources: maps.c, dict_sqlite.c, and DICT_FLAG_PATTERN in dict_*.c.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from postmaster.errors import ProcessError, RightsError, ServerError
from postmaster.postfix import control
from postmaster.postfix.postconf import split_list

PATIENCE = 5.0  # seconds that a look-up waits for a lock
_PLAIN_KEYS = frozenset({"dbpath", "query", "expansion_limit"})
#: Types whose tables hold patterns, or are services: parts of an address are not looked up there.
_PATTERNS = frozenset({"regexp", "pcre", "cidr", "tcp", "socketmap", "randmap"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A key for which the running server says something else than the table that we read."""

    table: str
    key: str
    read: str | None
    live: str | None


class Tables:
    """Tables of one Postfix instance. `running` is whether its proxymap can be asked."""

    def __init__(self, config_directory: Path, *, running: bool) -> None:
        self.config_directory = config_directory
        self.running = running
        self._answers: dict[str, dict[str, str | None]] = {}
        self._files: dict[str, _Sqlite | None] = {}
        self._connections: dict[Path, sqlite3.Connection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def find(self, table: str, key: str) -> str | None:
        """The answer to one key; None where there is none. Raises as `find_all`."""
        return self.find_all(table, [key])[key]

    def find_all(self, table: str, keys: Iterable[str]) -> dict[str, str | None]:
        """The answers to many keys. Raises ServerError, and RightsError where only others may ask."""
        known = self._answers.setdefault(table, {})
        wanted = list(dict.fromkeys(key for key in keys))
        missing = [key for key in wanted if key not in known]
        if missing:
            known.update(self._ask(table, missing))
        return {key: known[key] for key in wanted}

    def first(self, tables: Sequence[str], keys: Sequence[str]) -> tuple[str, str, str] | None:
        """(table, key, answer) for the first key that a table knows: keys outside, tables inside.

        The first key is whole, the others are parts of it. Case is folded where Postfix folds it. A table
        is asked for all of its keys at once, when its turn comes. Raises as `find_all`.
        """
        asked: dict[str, dict[str, str | None]] = {}
        for number, key in enumerate(keys):
            for table in tables:
                is_pattern = holds_patterns(table)
                if number and is_pattern:
                    continue
                if table not in asked:
                    wanted = keys[:1] if is_pattern else [one.lower() for one in keys]
                    asked[table] = self.find_all(table, wanted)
                answer = asked[table][key if is_pattern else key.lower()]
                if answer is not None:
                    return table, key, answer
        return None

    def differences(self) -> list[Difference]:
        """Where the running server answers otherwise than what was read here. Raises ServerError."""
        found = []
        for table, answers in self._answers.items():
            if not self.running or self._sqlite(table) is None:
                continue
            live = self._postmap(table, [key for key in answers if _is_safe(key)])
            found += [
                Difference(table, key, read, live.get(key))
                for key, read in answers.items()
                if _is_safe(key) and live.get(key) != read
            ]
        return found

    def _ask(self, table: str, keys: list[str]) -> dict[str, str | None]:
        sqlite = self._sqlite(table)
        if sqlite is None:
            live = self._postmap(table, [key for key in keys if _is_safe(key)])
            return {key: live.get(key) for key in keys}
        if os.geteuid() != 0 and not os.access(sqlite.database, os.R_OK):
            raise RightsError(
                f"this user may not read {sqlite.database}, which Postfix asks", hint="run it as root"
            )
        try:
            connection = self._connection(sqlite.database)
            return {key: sqlite.answer(connection, key) for key in keys}
        except sqlite3.Error as error:
            raise ServerError(
                f"the table {table} cannot be read: {error}", hint="run it as root; then: postmaster publish"
            ) from error

    def _postmap(self, table: str, keys: list[str]) -> dict[str, str]:
        name = table if self.running else table.removeprefix("proxy:")
        try:
            return control.query(self.config_directory, name, keys) if keys else {}
        except ProcessError as error:
            raise ServerError(
                f"the table {table} cannot be asked: {error.message}", hint="is Postfix running?"
            ) from error

    def _connection(self, database: Path) -> sqlite3.Connection:
        if database not in self._connections:
            uri = f"file:{quote(str(database))}?mode=ro"  # as the last to close it, leaves the side files
            self._connections[database] = sqlite3.connect(
                uri, uri=True, timeout=PATIENCE, isolation_level=None
            )
        return self._connections[database]

    def _sqlite(self, table: str) -> _Sqlite | None:
        """How to read an SQLite table here; None for another type, or one with rules of its own."""
        if table not in self._files:
            kind, _, name = table.removeprefix("proxy:").partition(":")
            self._files[table] = _read_sqlite(Path(name)) if kind == "sqlite" else None
        return self._files[table]


def holds_patterns(table: str) -> bool:
    """Whether keys are matched by patterns, or by a service, so that only whole ones are asked for."""
    kind, _, name = table.removeprefix("proxy:").partition(":")
    if kind in ("pipemap", "unionmap"):  # as the first of their tables
        members = split_list(name.strip()[1:-1])
        return bool(members) and holds_patterns(members[0])
    return kind in _PATTERNS


@dataclass(frozen=True, slots=True)
class _Sqlite:
    database: Path
    query: str

    def answer(self, connection: sqlite3.Connection, key: str) -> str | None:
        asked = _expand(self.query, key.lower())
        if asked is None or not asked.isprintable():
            return None
        with contextlib.closing(connection.execute(asked)) as rows:
            texts = [str(row[0]) for row in rows if row[0] is not None and row[0] != ""]
        return ",".join(texts) or None


def _read_sqlite(file: Path) -> _Sqlite | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    given: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            if name:
                given[name] += " " + line.strip()
            continue
        name, _, text = line.partition("=")
        name = name.strip()
        given[name] = text.strip()
    if not {"dbpath", "query"} <= given.keys() <= _PLAIN_KEYS or given.get("expansion_limit", "0") != "0":
        return None
    if not re.fullmatch(r"(?:[^%]|%[sud%])*", given["query"]):
        return None
    return _Sqlite(Path(given["dbpath"]), given["query"])


def _expand(query: str, key: str) -> str | None:
    """The query for a key; None where Postfix would ask nothing (db_common.c)."""
    local, at, domain = key.rpartition("@")
    if not at:
        local, domain = key, ""
    if ("%d" in query and not domain) or ("%u" in query and not local):
        return None
    parts = {"s": key, "u": local, "d": domain, "%": "%"}
    return re.sub(r"%([sud%])", lambda found: parts[found[1]].replace("'", "''"), query)


def _is_safe(key: str) -> bool:
    """Whether a key can stand on a line of its own."""
    return bool(key) and key.isprintable()
