"""PostfixAdmin, of any version since 2.3: tables `domain`, `alias_domain`, `mailbox`, `alias`.

A mailbox has a row in `alias` too: where its mail goes. If that row names the mailbox, a copy is kept. An
alias domain is in `domain` as well, with aliases of its own (abuse@, postmaster@) that PostfixAdmin makes for
every domain. The names of its tables may begin with a text of the administrator's choice (`database_prefix`).
"""

from __future__ import annotations

from collections.abc import Collection

from postmaster.bulk.foreign.dump import Record
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import take

ROOT = "/var/vmail"
SOURCE = "a database URL, or a dump of it"
_TABLES = ("domain", "alias_domain", "mailbox", "alias")
_NO_EXPIRY = "2000-01-01"  # what is written where passwords do not expire


def gather(source: str, into: Gathered) -> None:
    tables = take(source, _TABLES, into, needed=("domain", "mailbox", "alias"), prefixed=True)
    left_out = take_domains(tables["domain"], into)
    take_alias_domains(tables["alias_domain"], into)
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
        if row.text("password_expiry")[: len(_NO_EXPIRY)] > _NO_EXPIRY:
            into.note("passwords have a day on which they expire there, and here they have none")
    for row in tables["alias"]:
        take_alias(row, people, left_out, into)


def take_domains(rows: list[Record], into: Gathered) -> set[str]:
    """Take in the domains that are served; the others, in small letters, are returned and noted."""
    left_out = set()
    for row in rows:
        name, transport = row.text("domain"), row.text("transport")
        if name == "ALL":  # whose administrators are everybody's
            continue
        if not row.flag("active") or row.flag("backupmx", default=False):
            why = "is a backup MX" if row.flag("active") else "is not active"
            into.note(f"domain {name} {why} there, and is left out with all that is in it")
            left_out.add(name.lower())
            continue
        if transport not in ("", "virtual", "dovecot") and not transport.startswith("lmtp:"):
            into.note(f"domain {name} has the transport {transport[:100]!r} there, and is delivered here")
        into.domain(row.place, name)
    return left_out


def take_alias_domains(rows: list[Record], into: Gathered) -> None:
    for row in rows:
        name = row.text("alias_domain")
        if row.flag("active"):
            into.alias_domain(row.place, name, row.text("target_domain"))
        else:
            into.note(f"alias domain {name} is not active there, and is left out")


def take_alias(row: Record, people: Collection[str], left_out: Collection[str], into: Gathered) -> None:
    """A row of `alias`: of a mailbox its forward, else an alias."""
    place, address = row.place, row.text("address")
    if address.lower().rpartition("@")[2] in left_out:
        return
    targets = [one.strip() for one in row.text("goto").replace("\n", ",").split(",") if one.strip()]
    autoreply = [one for one in targets if "#" in one.partition("@")[0]]
    if autoreply:
        into.note(f"{address} answers by itself there (vacation), which a Sieve script does here")
        targets = [address if one in autoreply else one for one in targets]
    if row.flag("active"):
        into.route(place, address, targets, people)
    elif targets != [address]:
        what = "the forward of" if address.lower() in people else "alias"
        into.note(f"{what} {address} is not active there, and is left out")
