"""Quick answers from the truth by the standard library alone, for completion and health; never an error."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Literal

from postmaster.settings import Settings

Kind = Literal["domain", "user", "alias", "forward", "address"]
LIMIT = 200  # what a shell can show

_DOMAINS = "SELECT name FROM domain WHERE name >= ?1 AND name < ?1 || char(1114111) ORDER BY name LIMIT ?2"
_ADDRESSES = """
SELECT a.local_part || '@' || d.name AS found FROM address a JOIN domain d ON d.id = a.domain_id
WHERE found LIKE ?1 || '%' AND {} ORDER BY found LIMIT ?2
"""
_WHICH = {
    "user": "a.kind = 'user'",
    "alias": "a.kind = 'alias'",
    "forward": "a.kind = 'user' AND EXISTS (SELECT 1 FROM target t WHERE t.source_id = a.id)",
    "address": "1",
}


def names(settings: Settings, kind: Kind, beginning: str = "") -> list[str]:
    """Domains or addresses that begin so, at most LIMIT; none at all when anything is amiss."""
    prefix, _, path = settings.directory.url.partition(":///")
    if not prefix.startswith("sqlite") or not path:
        return []
    query = _DOMAINS if kind == "domain" else _ADDRESSES.format(_WHICH[kind])
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as connection:
            return [row[0] for row in connection.execute(query, (beginning.lower(), LIMIT))]
    except (sqlite3.Error, ValueError):
        return []


def newest_entry(settings: Settings) -> int | None:
    """The truth's last journal entry, 0 for none; None where the truth cannot be read."""
    prefix, _, path = settings.directory.url.partition(":///")
    if not prefix.startswith("sqlite") or not path:
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])
    except (sqlite3.Error, ValueError):
        return None
