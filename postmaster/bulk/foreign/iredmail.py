"""iRedMail (SQL editions): tables `domain`, `alias_domain`, `mailbox`, `alias`, `forwardings` of `vmail`.

`forwardings` has everything that leads on: a user's own delivery and forwards (`is_forwarding`), members of
an alias (`is_list`), other addresses of a user (`is_alias`), and catch-alls, whose address is a domain.
"""

from __future__ import annotations

from postmaster.bulk.foreign.dump import Record
from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import read

ROOT = "/var/vmail"
SOURCE = "a database URL, or a dump of it"
_LOST = (
    "maillists",
    "moderators",
    "sender_bcc_user",
    "recipient_bcc_user",
    "share_folder",
    "deleted_mailboxes",
)
_NEVER = "9999-"


def gather(source: str, into: Gathered) -> None:
    wanted = ("domain", "alias_domain", "mailbox", "alias", "forwardings", *_LOST)
    found = read(source, wanted, needed=("domain", "mailbox", "forwardings"))
    for place, why in found.problems:
        into.problem(place, "", "", why)
    tables = found.tables
    left_out = set()
    for row in tables["domain"]:
        name = row.text("domain")
        if row.flag("active") and not row.flag("backupmx", default=False):
            into.domain(row.place, name)
        else:
            into.note(f"domain {name} is not active or a backup MX there, and is left out with all in it")
            left_out.add(name.lower())
    for row in tables.get("alias_domain", []):
        if row.flag("active"):
            into.domain(row.place, row.text("alias_domain"), row.text("target_domain"))
        else:
            into.note(f"alias domain {row.text('alias_domain')} is not active there, and is left out")
    people = set()
    for row in tables["mailbox"]:
        address = row.text("username")
        if address.lower().rpartition("@")[2] in left_out:
            continue
        people.add(address.lower())
        active, quota = row.flag("active"), row.number("quota")
        parts = [row.text(one).strip("/") for one in ("storagenode", "maildir")]
        base = row.text("storagebasedirectory").rstrip("/") or str(into.old_root)
        expired = row.text("expired")
        into.user(
            row.place,
            address,
            password=row.text("password"),
            name=row.text("name"),
            folder="/".join(filter(None, (base, *parts))) if parts[1] else None,
            inside=row.text("mailboxfolder") or "Maildir",
            quota_bytes=quota << 20 if quota > 0 else None,
            until=None if not expired or expired.startswith((_NEVER, "infinity")) else expired,
            login=active,
            receive=active and row.flag("enabledeliver"),
            imap=row.flag("enableimap"),
            pop3=row.flag("enablepop3"),
            send=active and row.flag("enablesmtp"),
        )
    _forwardings(tables["forwardings"], people, left_out, into)
    for name in _LOST:
        if lost := tables.get(name):
            into.note(f"{len(lost)} rows of {name} have no counterpart here")


def _forwardings(rows: list[Record], people: set[str], left_out: set[str], into: Gathered) -> None:
    lists: dict[str, tuple[str, list[str]]] = {}
    for row in rows:
        address, target = row.text("address").lower(), row.text("forwarding")
        if address.rpartition("@")[2] in left_out:
            continue
        if not row.flag("active") or row.flag("is_maillist", default=False):
            into.note(f"{address} to {target[:100]} is not active or a mailing list there, and is left out")
            continue
        if "@" not in address:
            address = f"@{address}"
        lists.setdefault(address, (row.place, []))[1].append(target)
    for address, (place, targets) in lists.items():
        keeps, others = own_and_others(address, targets)
        if address in people:
            into.forward(place, address, others, keep_copy=keeps)
        elif others:
            into.alias(place, address, others)
