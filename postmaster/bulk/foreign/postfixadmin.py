"""PostfixAdmin, of any version since 2.3: tables `domain`, `alias_domain`, `mailbox`, `alias`.

A mailbox has a row in `alias` too: where its mail goes. If that row names the mailbox, a copy is kept.
"""

from __future__ import annotations

from postmaster.bulk.foreign.dump import Record
from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import read

ROOT = "/var/vmail"
SOURCE = "a database URL, or a dump of it"
_LOST = ("vacation", "fetchmail", "mailbox_app_password", "totp_exception_address")


def gather(source: str, into: Gathered) -> None:
    found = read(
        source,
        ("domain", "alias_domain", "mailbox", "alias", *_LOST),
        needed=("domain", "mailbox", "alias"),
    )
    for place, why in found.problems:
        into.problem(place, "", "", why)
    tables = found.tables
    left_out = set()
    for row in tables["domain"]:
        name = row.text("domain")
        if name == "ALL":
            continue
        if not row.flag("active") or row.flag("backupmx", default=False):
            why = "is a backup MX" if row.flag("active") else "is not active"
            into.note(f"domain {name} {why} there, and is left out with all that is in it")
            left_out.add(name.lower())
            continue
        into.domain(row.place, name)
    for row in tables.get("alias_domain", []):
        name = row.text("alias_domain")
        if not row.flag("active"):
            into.note(f"alias domain {name} is not active there, and is left out")
            continue
        # It is listed as a domain as well.
        into.wanted.listed = [
            one
            for one in into.wanted.listed
            if not (one.entry.kind == "domain" and one.entry.title.lower() == name.lower())
        ]
        into.domain(row.place, name, row.text("target_domain"))
    people = set()
    for row in tables["mailbox"]:
        address = row.text("username")
        if address.lower().rpartition("@")[2] in left_out:
            continue
        people.add(address.lower())
        quota = row.number("quota")
        active = row.flag("active")
        into.user(
            row.place,
            address,
            password=row.text("password"),
            name=row.text("name"),
            folder=row.text("maildir").rstrip("/") or None,
            quota_bytes=quota if quota > 0 else None,
            login=active,
            receive=active,
            send=active and row.flag("smtp_active"),
        )
    for row in tables["alias"]:
        take_alias(row, people, left_out, into)
    for name in _LOST:
        if rows := tables.get(name):
            into.note(f"{len(rows)} rows of {name} have no counterpart here")


def take_alias(row: Record, people: set[str], left_out: set[str], into: Gathered) -> None:
    """A row of `alias`: of a mailbox its forward, else an alias."""
    place, address, active = row.place, row.text("address"), row.flag("active")
    goto = row.text("goto")
    if address.lower().rpartition("@")[2] in left_out:
        return
    targets = [one.strip() for one in goto.replace("\n", ",").split(",") if one.strip()]
    autoreply = [one for one in targets if "#" in one.partition("@")[0]]
    if autoreply:
        into.note(f"{address} answers by itself there (vacation), which a Sieve script does here")
        targets = [one for one in targets if one not in autoreply]
    is_user = address.lower() in people
    if not active:
        what = "the forward of " if is_user else "alias "
        if targets != [address]:
            into.note(f"{what}{address} is not active there, and is left out")
        return
    keeps, others = own_and_others(address, targets)
    if is_user:
        into.forward(place, address, others, keep_copy=keeps or bool(autoreply))
    elif keeps and not others:
        into.problem(place, "alias", address, "leads to itself alone, and there is no mailbox of that name")
    else:
        into.alias(place, address, others)
