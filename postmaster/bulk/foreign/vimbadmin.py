"""ViMbAdmin: tables `domain`, `mailbox`, `alias`. As in PostfixAdmin a mailbox has an alias of its own."""

from __future__ import annotations

from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.postfixadmin import take_alias
from postmaster.bulk.foreign.tables import read

ROOT = "/srv/vmail"
SOURCE = "a database URL, or a dump of it"
_LOST = ("archive", "mailbox_pref", "directory_entry")


def gather(source: str, into: Gathered) -> None:
    found = read(source, ("domain", "mailbox", "alias", *_LOST), needed=("domain", "mailbox", "alias"))
    for place, why in found.problems:
        into.problem(place, "", "", why)
    left_out = set()
    for row in found.tables["domain"]:
        name = row.text("domain")
        if row.flag("active") and not row.flag("backupmx", default=False):
            into.domain(row.place, name)
        else:
            into.note(f"domain {name} is not active or a backup MX there, and is left out with all in it")
            left_out.add(name.lower())
    people = set()
    for row in found.tables["mailbox"]:
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
    for row in found.tables["alias"]:
        take_alias(row, people, left_out, into)
    for name in _LOST:
        if lost := found.tables.get(name):
            into.note(f"{len(lost)} rows of {name} have no counterpart here")
