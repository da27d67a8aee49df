"""Mail-in-a-Box: `users.sqlite` with tables `users` and `aliases`, and since 0.52 `auto_aliases`.

An alias goes before the user of the same address, and one without targets is only there for its
`permitted_senders`. Who may send as an address are those, or where there are none, the users it leads to.
"""

from __future__ import annotations

from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import take

ROOT = "/home/user-data/mail/mailboxes"
SOURCE = "users.sqlite, below /home/user-data/mail"


def gather(source: str, into: Gathered) -> None:
    tables = take(source, ("users", "aliases", "auto_aliases"), into, needed=("users", "aliases"))
    people = set()
    for row in tables["users"]:
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
            into.administrator(address)
    seen = set()
    for row in [*tables["aliases"], *tables["auto_aliases"]]:
        address = row.text("source")
        if address.lower() in seen:
            continue  # what was set by hand goes before what comes by itself
        seen.add(address.lower())
        targets = _items(row.text("destination"))
        into.route(row.place, address, targets, people)
        permitted = row.values.get("permitted_senders")
        if permitted is not None:
            logins = _items(permitted)
            into.senders(row.place, address, logins, people)
            for login in logins:
                if login.lower() not in people:
                    into.note(f"{login[:100]} may send as {address} there, and is no user")
        elif not address.startswith("@"):
            into.senders(row.place, address, targets, people)
    into.domains_of_addresses()


def _items(text: str) -> list[str]:
    return [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]
