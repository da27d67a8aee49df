"""ViMbAdmin: tables `domain`, `mailbox`, `alias`.

As in PostfixAdmin a mailbox has an alias of its own; an alias domain is an alias `@example.net` that leads to
`@example.org`.
"""

from __future__ import annotations

from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.postfixadmin import take_alias, take_domains
from postmaster.bulk.foreign.tables import take

ROOT = "/srv/vmail"
SOURCE = "a database URL, or a dump of it"


def gather(source: str, into: Gathered) -> None:
    tables = take(source, ("domain", "mailbox", "alias"), into, needed=("domain", "mailbox", "alias"))
    left_out = take_domains(tables["domain"], into)
    people = set()
    for row in tables["mailbox"]:
        address = row.text("username")
        if address.lower().rpartition("@")[2] in left_out:
            continue
        if row.flag("delete_pending", default=False):
            into.note(f"{address} is about to be deleted there, and is left out")
            continue
        people.add(address.lower())
        active, quota = row.flag("active"), row.number("quota")
        allowed = row.text("access_restriction").upper()
        only = [one.strip() for one in allowed.replace(" ", ",").split(",") if one.strip()]
        every = not only or "ALL" in only
        if not every and not {"IMAP", "POP3", "SMTP"} >= set(only):
            into.note(f"{address}: access to {allowed[:60]!r} has no counterpart here as a whole")
        # maildir:/srv/vmail/example.org/amy/mail:LAYOUT=fs
        kind, colon, where = row.text("maildir").partition(":")
        where = (where if colon else kind).partition(":")[0].rstrip("/")
        home = row.text("homedir").rstrip("/")
        inside = where.removeprefix(f"{home}/") if home and where.startswith(f"{home}/") else ""
        into.user(
            row.place,
            address,
            password=row.text("password"),
            name=row.text("name"),
            folder=(home if inside else where) or home or None,
            inside=inside,
            quota_bytes=quota if quota > 0 else None,
            login=active,
            receive=active,
            imap=every or "IMAP" in only,
            pop3=every or "POP3" in only,
            send=active and (every or "SMTP" in only),
        )
    for row in tables["alias"]:
        take_alias(row, people, left_out, into)
