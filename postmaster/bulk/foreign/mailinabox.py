"""Mail-in-a-Box: `users.sqlite` with tables `users` and `aliases` (and since 0.52 `auto_aliases`).

An alias `@example.net` with the one target `@example.org` is an alias domain. `permitted_senders` are grants.
"""

from __future__ import annotations

from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import read

ROOT = "/home/user-data/mail/mailboxes"
SOURCE = "users.sqlite, below /home/user-data/mail"
_LOST = ("mfa",)


def gather(source: str, into: Gathered) -> None:
    found = read(source, ("users", "aliases", "auto_aliases", *_LOST), needed=("users", "aliases"))
    for place, why in found.problems:
        into.problem(place, "", "", why)
    people = set()
    for row in found.tables["users"]:
        address = row.text("email")
        local, _, domain = address.lower().rpartition("@")
        people.add(address.lower())
        quota = row.text("quota")
        into.user(
            row.place,
            address,
            password=row.text("password"),
            folder=f"{domain}/{local}",
            quota_bytes=None if quota in ("", "0") else quota,
        )
        if row.text("privileges").strip():
            into.note(f"{address} is an administrator there, and administrators here are the system's")
    rows = [*found.tables["aliases"], *found.tables.get("auto_aliases", [])]
    seen = set()
    for row in rows:
        address = row.text("source")
        if address.lower() in seen:
            continue  # what was set by hand goes before what comes by itself
        seen.add(address.lower())
        targets = [
            one.strip() for one in row.text("destination").replace("\n", ",").split(",") if one.strip()
        ]
        if address.startswith("@") and len(targets) == 1 and targets[0].startswith("@"):
            into.domain(row.place, address[1:], targets[0][1:])
            continue
        keeps, others = own_and_others(address, targets)
        if address.lower() in people:
            into.forward(row.place, address, others, keep_copy=keeps)
        elif others:
            into.alias(row.place, address, others)
        for login in row.text("permitted_senders").replace("\n", ",").split(","):
            if login.strip() and login.strip().lower() != address.lower():
                into.entry(row.place, "grant", address, user=login.strip(), address=address)
    into.domains_of_addresses()
    for name in _LOST:
        if lost := found.tables.get(name):
            into.note(f"{len(lost)} rows of {name} have no counterpart here")
