"""What servers read against the truth: there, of the same moment, with the same rows.

Files on this host, and the schemas of a PostgreSQL where servers query it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postmaster.directory import lookups
from postmaster.directory.database import Directory
from postmaster.directory.lookups import DOVECOT, LookupFile
from postmaster.directory.places import Entry, Place, places
from postmaster.directory.publish import is_known
from postmaster.directory.snapshot import Snapshot
from postmaster.errors import DirectoryError
from postmaster.routing.check.finding import Finding

REBUILD = "postmaster publish --rebuild"


def check(snapshot: Snapshot, directory: Directory) -> Iterator[Finding]:
    for place in places(directory.settings.lookups, directory.engine):
        missing = _missing(place.name)
        entry = place.entry()
        if missing:
            message = f"{' and '.join(missing)} is missing: the servers' next look-up fails"
            yield Finding("lookups_missing", str(place.name), message, "postmaster publish")
        elif entry is None:
            there = isinstance(place.name, str) or place.name.exists()
            what = "it cannot be read, or is of another version" if there else "it is missing"
            yield Finding("lookups_missing", str(place.name), what, REBUILD)
        elif entry == snapshot.newest:
            yield from _differences(place, snapshot)
        elif entry[0] < snapshot.newest[0] or not _is_later(directory, entry):
            message = f"it is at journal entry {entry[0]}, the directory is at {snapshot.newest[0]}"
            yield Finding("lookups_behind", str(place.name), message, "postmaster publish")


def _missing(name: Path | str) -> list[str]:
    """The side files that a file of look-ups lacks."""
    if isinstance(name, str) or not name.exists():
        return []
    return [side.name for side in lookups.side_files(name) if not side.exists()]


def _is_later(directory: Directory, entry: Entry) -> bool:
    """Whether the truth has an entry by now: PostgreSQL takes changes while we read an earlier moment."""
    with directory.read() as reading:
        return is_known(reading, entry)


def _differences(place: Place, snapshot: Snapshot) -> Iterator[Finding]:
    real: dict[str, dict[int, tuple[Any, ...]]] = {}
    expected = list(_tables(place.file, snapshot))
    try:
        with place.reading() as connection:
            entry = connection.execute("SELECT entry, made_at FROM published").fetchone()
            if entry != snapshot.newest:
                return  # published to meanwhile, from a later moment
            for table, query, _ in expected:
                real[table] = {row[0]: row[1:] for row in connection.execute(query)}
    except DirectoryError as error:
        yield Finding("lookups_missing", str(place.name), f"it cannot be read: {error.message}", REBUILD)
        return
    for table, _, wanted in expected:
        yield from _compared(place, snapshot, table, real[table], wanted)


def _compared(
    place: Place,
    snapshot: Snapshot,
    table: str,
    real: dict[int, tuple[Any, ...]],
    wanted: dict[int, tuple[Any, ...]],
) -> Iterator[Finding]:
    if real != wanted:
        wrong = [key for key in real.keys() | wanted.keys() if real.get(key) != wanted.get(key)]
        named = sorted(_named(snapshot, table, key, real) for key in wrong)[:3]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        message = f"{len(wrong)} rows of {table} are not the directory's: {', '.join(named)}{more}"
        yield Finding("lookups_differ", str(place.name), message, REBUILD)


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
