"""An account that exists in the look-ups alone, for proofs on live servers and for the round trip."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from postmaster.directory.lookups import DOVECOT, EVER, LookupFile
from postmaster.directory.places import Place, Writing, host_files, places
from postmaster.settings import Settings

LIFETIME = 600.0  # seconds after which a probe that was left behind is taken away

_ADDRESS = re.compile(r"probe@probe-[0-9a-f]{12}\.invalid")
_MAIL_ID = re.compile(r"probe-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Probe:
    """`number` is that of its rows, `mail_id` the name of its mail folder."""

    address: str
    password: str
    domain: str
    number: int
    mail_id: str


def is_probe(address: str) -> bool:
    """Whether an address is such a mailbox's."""
    return _ADDRESS.fullmatch(address) is not None


def new_probe() -> Probe:
    """A mailbox with a random password in a domain of its own, which is nowhere yet."""
    from postmaster.directory import passwords

    name = f"probe-{secrets.token_hex(6)}.invalid"  # RFC 2606: never a real domain
    number, mail_id = -time.time_ns() // 1000, f"probe-{secrets.token_hex(8)}"
    return Probe(f"probe@{name}", passwords.generate_password(), name, number, mail_id)


@contextmanager
def probe_account(settings: Settings, probe: Probe | None = None) -> Iterator[Probe]:
    """A probe that can log in, send and receive, gone when the block ends, with its mail.

    Its rows have negative ids, which say when they were made; publishing takes away what a crash
    left behind. Raises DirectoryError.
    """
    from postmaster.directory import passwords

    probe = probe or new_probe()
    hashed = passwords.hash_password(probe.password)
    try:
        with _open_places(settings) as found:
            for place in found:
                with place.writing() as connection:
                    _insert(connection, place.file, probe, hashed)
        yield probe
    finally:
        remove_probe(settings, probe.number, probe.mail_id)


def remove_probe(settings: Settings, number: int, mail_id: str) -> None:
    """Take away what is left of a probe: its rows, then its mail folder. Safe to repeat."""
    with _open_places(settings) as found:
        for place in found:
            with place.writing() as connection:
                for table in place.file.tables:
                    connection.execute(f"DELETE FROM {table} WHERE id = ? AND id < 0", (number,))
    if _MAIL_ID.fullmatch(mail_id):
        shutil.rmtree(settings.mail.root / mail_id, ignore_errors=True)


def remove_old_probes(connection: Writing, file: LookupFile) -> None:
    """Take away probes that outlived any proof."""
    cutoff = -int((time.time() - LIFETIME) * 1e6)
    for table in file.tables:
        connection.execute(f"DELETE FROM {table} WHERE id < 0 AND id > ?", (cutoff,))


@contextmanager
def _open_places(settings: Settings) -> Iterator[list[Place]]:
    if not settings.lookups.in_database:
        yield host_files(settings.lookups)
        return
    from postmaster.directory.engines import make_engine

    engine = make_engine(settings)
    try:
        yield places(settings.lookups, engine)
    finally:
        engine.dispose()


def _insert(connection: Writing, file: LookupFile, probe: Probe, hashed: str) -> None:
    number = probe.number
    if file is DOVECOT:
        connection.execute(
            "INSERT INTO account VALUES (?, ?, ?, ?, 1, 1, 1, 1, 1, NULL, 1, ?)",
            (number, probe.address, hashed, probe.mail_id, EVER),
        )
        return
    connection.execute("INSERT INTO domain VALUES (?, ?, NULL)", (number, probe.domain))
    connection.execute(
        "INSERT INTO address VALUES (?, ?, 'probe', 'user', 0, 0, ?, ?, ?)",
        (number, number, EVER, EVER, probe.address),
    )
