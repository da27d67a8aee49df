"""Quick answers from the truth by the driver alone, for completion and health; never an error."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import Any, Literal
from urllib.parse import quote

from postmaster.settings import Settings

Kind = Literal["domain", "user", "alias", "forward", "address"]
LIMIT = 200  # what a shell can show
PATIENCE = 2.0  # seconds; nobody waits long for a completion

_DOMAINS = "SELECT name FROM domain WHERE name LIKE :1 ESCAPE '!' ORDER BY name LIMIT :2"
_ADDRESSES = """
SELECT a.local_part || '@' || d.name FROM address a JOIN domain d ON d.id = a.domain_id
WHERE a.local_part || '@' || d.name LIKE :1 ESCAPE '!' AND {} ORDER BY 1 LIMIT :2
"""
_WHICH = {
    "user": "a.kind = 'user'",
    "alias": "a.kind = 'alias'",
    "forward": "a.kind = 'user' AND EXISTS (SELECT 1 FROM target t WHERE t.source_id = a.id)",
    "address": "1 = 1",
}


def names(settings: Settings, kind: Kind, beginning: str = "") -> list[str]:
    """Domains or addresses that begin so, at most LIMIT; none at all when anything is amiss."""
    query = _DOMAINS if kind == "domain" else _ADDRESSES.format(_WHICH[kind])
    pattern = re.sub("[!%_]", r"!\g<0>", beginning.lower()) + "%"
    return [row[0] for row in _ask(settings, query, pattern, LIMIT) or ()]


def all_domains(settings: Settings) -> list[str] | None:
    """Every domain, alias domains too, by their A-labels; None where the truth cannot be read."""
    rows = _ask(settings, "SELECT name FROM domain ORDER BY name")
    return None if rows is None else [row[0] for row in rows]


def newest_entry(settings: Settings) -> int | None:
    """The truth's last journal entry, 0 for none; None where the truth cannot be read."""
    rows = _ask(settings, "SELECT coalesce(max(id), 0) FROM journal")
    return None if rows is None else int(rows[0][0])


def _ask(settings: Settings, query: str, *values: object) -> list[tuple[Any, ...]] | None:
    """The rows of a query with `:1`, `:2`, …; None where the truth cannot be read."""
    file = settings.directory.file
    if file is None:
        return _ask_postgresql(settings, query, *values)
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=PATIENCE)
        ) as truth:
            return truth.execute(re.sub(":([12])", r"?\1", query), values).fetchall()
    except (sqlite3.Error, ValueError):
        return None


def _ask_postgresql(settings: Settings, query: str, *values: object) -> list[tuple[Any, ...]] | None:
    from postmaster.directory.postgresql import connection_parameters
    from postmaster.errors import DirectoryError

    try:
        parameters = {**connection_parameters(settings), "connect_timeout": int(PATIENCE)}
    except DirectoryError:
        return None
    import psycopg

    try:
        with psycopg.connect(**parameters) as connection:
            connection.execute(f"SET statement_timeout = {int(1000 * PATIENCE)}")
            return connection.execute(re.sub(":([12])", "%s", query).encode(), values).fetchall()
    except (psycopg.Error, ValueError):
        return None
