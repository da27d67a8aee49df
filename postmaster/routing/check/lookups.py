"""The published files against the truth: there, of the same moment, with the same rows."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from postmaster.directory import lookups
from postmaster.directory.lookups import DOVECOT, FILES, LookupFile
from postmaster.directory.snapshot import Snapshot
from postmaster.routing.check.finding import Finding
from postmaster.settings import Settings

REBUILD = "postmaster publish --rebuild"
PATIENCE = 5.0  # seconds that a read waits for a lock


def check(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    for file in FILES:
        path = file.path(settings.lookups)
        missing = [side.name for side in lookups.side_files(path) if not side.exists()]
        entry = lookups.published_entry(path)
        if entry is None:
            what = "it cannot be read, or is of another version" if path.exists() else "it is missing"
            yield Finding("lookups_missing", str(path), what, REBUILD)
        elif missing:
            message = f"{' and '.join(missing)} is missing: the servers' next look-up fails"
            yield Finding("lookups_missing", str(path), message, "postmaster publish")
        elif entry != snapshot.newest:
            message = f"it is at journal entry {entry[0]}, the directory is at {snapshot.newest[0]}"
            yield Finding("lookups_behind", str(path), message, "postmaster publish")
        else:
            yield from _differences(file, snapshot, settings)


def _differences(file: LookupFile, snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    path = file.path(settings.lookups)
    for table, query, wanted in _tables(file, snapshot):
        try:
            uri = f"file:{quote(str(path))}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as connection:
                real = {row[0]: row[1:] for row in connection.execute(query)}
        except sqlite3.Error as error:
            yield Finding("lookups_missing", str(path), f"it cannot be read: {error}", REBUILD)
            return
        wrong = [key for key in real.keys() | wanted.keys() if real.get(key) != wanted.get(key)]
        if wrong:
            named = sorted(_named(snapshot, table, key, real) for key in wrong)[:3]
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            message = f"{len(wrong)} rows of {table} are not the directory's: {', '.join(named)}{more}"
            yield Finding("lookups_differ", str(path), message, REBUILD)


def _tables(file: LookupFile, snapshot: Snapshot) -> Iterator[tuple[str, str, dict[int, tuple[Any, ...]]]]:
    """(table, query, id -> what it should say). Rows below zero are probes, of no interest here."""
    if file is DOVECOT:
        yield (
            "account",
            "SELECT id, login, mail_id, password FROM account WHERE id > 0",
            {one: (snapshot.text(one), box.mail_id, box.password) for one, box in snapshot.mailboxes.items()},
        )
        return
    yield ("domain", "SELECT id, name, alias_of_id FROM domain WHERE id > 0", dict(snapshot.domains))
    yield (
        "address",
        "SELECT id, domain_id, local_part, kind FROM address WHERE id > 0",
        dict(snapshot.addresses),
    )
    yield (
        "target",
        "SELECT id, source_id, local_part, domain FROM target WHERE id > 0",
        {e.row_id: (source, e.local, e.domain) for source, edges in snapshot.edges.items() for e in edges},
    )


def _named(snapshot: Snapshot, table: str, key: int, real: dict[int, tuple[Any, ...]]) -> str:
    """What a row is about; never a password."""
    if table == "domain":
        return str(snapshot.domains.get(key, real.get(key, ("?",)))[0])
    source = real.get(key, (key,))[0] if table == "target" else key
    return snapshot.shown(source) if source in snapshot.addresses else str(real.get(key, ("?",))[0])
