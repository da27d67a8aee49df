"""Entries by chance, of everything that a directory can hold, that keep its rules."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.app_passwords import PROTOCOLS
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    UserEntry,
)
from tests.tools.building import HASH, A

HASHES = (HASH, "{BLF-CRYPT}$2y$05$" + "a" * 53, "{SSHA}" + "A" * 32, "")
LOCALS = ("amy", "no", "on", "null", "1e3", "o'neil", "'q", "=x", "a.b_c", "&co", "~t", "bob", "0x10")
OUTSIDE = tuple(
    A(one)
    for one in (
        "x@elsewhere.test",
        "+y@other.test",
        '"odd name"@elsewhere.test',
        '"a\\"b"@xn--bcher-kva.test',
    )
)
_moments = st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))
_seconds = _moments.map(lambda one: one.replace(microsecond=0))
_names = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=30).map(
    str.strip
)


@st.composite
def directories(draw: st.DrawFn) -> list[Entry]:
    """The entries of one directory, in the order in which they are read."""
    homes = [Domain(f"g{n}.test") for n in range(draw(st.integers(1, 2)))] + [Domain("xn--bcher-kva.example")]
    twins = [Domain(f"t{n}.test") for n in range(draw(st.integers(0, 2)))]
    found: list[Entry] = [DomainEntry(one, None, draw(_moments)) for one in sorted(homes)]
    stands_for = {one: homes[-at] for at, one in enumerate(twins)}  # the same one in every directory
    found += [DomainEntry(one, home, draw(_moments)) for one, home in stands_for.items()]
    people: list[Address] = []
    others: list[Address] = []
    for home in homes:
        for local in draw(st.lists(st.sampled_from(LOCALS), unique=True, max_size=7)):
            (people if draw(st.booleans()) else others).append(Address(home, LocalPart(local)))
        if draw(st.booleans()):
            others.append(Address(home, LocalPart("")))
    people.sort()
    others.sort()
    for at, one in enumerate(people):
        switches = {name: draw(st.booleans()) for name in ("login", "imap", "pop3", "send", "receive")}
        found.append(
            UserEntry(
                address=one,
                name=draw(_names),
                password=draw(st.sampled_from(HASHES)),
                **switches,
                quota_bytes=draw(st.none() | st.integers(1, 2**50)),
                until=draw(st.none() | _seconds),
                locked_at=draw(st.none() | _moments),
                mail_id=draw(st.sampled_from([f"{at:020x}", f"{one.domain.ascii}/u{at}", f"a/b/{at}.c@d"])),
                created_at=draw(_moments),
            )
        )
    reachable = [*people, *OUTSIDE]
    reachable += [Address(one.domain, LocalPart(f"{one.local.text}+tag")) for one in people]
    reachable += [
        Address(twin, one.local) for twin, home in stands_for.items() for one in people if one.domain == home
    ]
    for one in others:
        targets = draw(st.lists(st.sampled_from(reachable), min_size=1, max_size=4, unique=True))
        found.append(AliasEntry(one, tuple(targets), draw(st.none() | _seconds), draw(_moments)))
        if one.local.text:
            reachable.append(one)
    for one in people:
        if draw(st.booleans()):
            targets = draw(st.lists(st.sampled_from(OUTSIDE), min_size=1, unique=True))
            found.append(ForwardEntry(one, tuple(targets), draw(st.booleans()), draw(st.none() | _seconds)))
    for one in people:
        wanted = [Address(home, LocalPart(local)) for home in homes for local in ("", "sales", "amy")]
        for other in sorted(draw(st.sets(st.sampled_from(wanted), max_size=3)) - {one}):
            found.append(GrantEntry(one, other, draw(_moments)))
    for one in people:
        for name in sorted(draw(st.sets(st.sampled_from(["phone", "my laptop", "x.y_z-1"])))):
            protocols = draw(st.sets(st.sampled_from(PROTOCOLS), min_size=1))
            digest = hashlib.sha256(f"{one.ascii} {name}".encode()).hexdigest()
            ordered = tuple(p for p in PROTOCOLS if p in protocols)
            found.append(AppPasswordEntry(one, name, digest, ordered, draw(_moments)))
    return found


#: A moment that is over, for an entry that has ended.
PAST = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
