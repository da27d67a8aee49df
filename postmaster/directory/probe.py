"""An account that exists in the look-ups alone, for proofs on live servers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from postmaster.directory.lookups import DOVECOT, EVER, LookupFile
from postmaster.directory.places import Place, Writing, places
from postmaster.settings import Settings

LIFETIME = 600.0  # seconds after which a probe that was left behind is taken away


@dataclass(frozen=True, slots=True)
class Probe:
    """An account that exists in the look-ups alone, for a proof on live servers."""

    address: str
    password: str
    domain: str


@contextmanager
def probe_account(settings: Settings) -> Iterator[Probe]:
    """A mailbox with a random password in a domain of its own, gone when the block ends.

    Its rows have negative ids, which say when they were made; publishing takes away what a crash
    left behind. Raises DirectoryError.
    """
    from postmaster.directory import passwords

    name = f"probe-{secrets.token_hex(6)}.invalid"  # RFC 2606: never a real domain
    probe = Probe(f"probe@{name}", passwords.generate_password(), name)
    hashed = passwords.hash_password(probe.password)
    row_id = -time.time_ns() // 1000
    with _open_places(settings) as found:
        try:
            for place in found:
                with place.writing() as connection:
                    _insert(connection, place.file, row_id, probe, hashed)
            yield probe
        finally:
            for place in found:
                with place.writing() as connection:
                    for table in place.file.tables:
                        connection.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))


def remove_old_probes(connection: Writing, file: LookupFile) -> None:
    """Take away probes that outlived any proof."""
    cutoff = -int((time.time() - LIFETIME) * 1e6)
    for table in file.tables:
        connection.execute(f"DELETE FROM {table} WHERE id < 0 AND id > ?", (cutoff,))


@contextmanager
def _open_places(settings: Settings) -> Iterator[list[Place]]:
    if settings.lookups.source != "database":  # the files alone: no need for the truth
        yield places(settings.lookups, None)
        return
    from postmaster.directory.engines import make_engine

    engine = make_engine(settings)
    try:
        yield places(settings.lookups, engine)
    finally:
        engine.dispose()


def _insert(connection: Writing, file: LookupFile, row_id: int, probe: Probe, hashed: str) -> None:
    if file is DOVECOT:
        connection.execute(
            "INSERT INTO account VALUES (?, ?, ?, ?, 1, 1, 1, 1, 1, NULL, 1, ?)",
            (row_id, probe.address, hashed, f"probe-{secrets.token_hex(8)}", EVER),
        )
        return
    connection.execute("INSERT INTO domain VALUES (?, ?, NULL)", (row_id, probe.domain))
    connection.execute(
        "INSERT INTO address VALUES (?, ?, 'probe', 'user', 0, 0, ?, ?, ?)",
        (row_id, row_id, EVER, EVER, probe.address),
    )
