"""iRedMail (SQL editions): tables `domain`, `alias_domain`, `mailbox`, `alias`, `forwardings` of `vmail`.

`forwardings` has everything that leads on: a user's own delivery and forwards (`is_forwarding`), members of
an alias (`is_list`), other addresses of a user (`is_alias`), and catch-alls, whose address is a domain.
Services have a column each, and another for their use over TLS: that one counts, as here all is over TLS.
"""

from __future__ import annotations

from postmaster.bulk.foreign.dump import Record
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.postfixadmin import take_alias_domains, take_domains
from postmaster.bulk.foreign.tables import take

ROOT = "/var/vmail"
SOURCE = "a database URL, or a dump of it"
_TABLES = ("domain", "alias_domain", "mailbox", "alias", "forwardings")
_NEVER = "9999-"
_EVERYBODY = ("", "public")  # who may write to an alias, where nobody is kept from it


def gather(source: str, into: Gathered) -> None:
    tables = take(source, _TABLES, into, needed=("domain", "mailbox", "forwardings"))
    left_out = take_domains(tables["domain"], into)
    take_alias_domains(tables["alias_domain"], into)
    people = set()
    for row in tables["mailbox"]:
        address = row.text("username")
        if address.lower().rpartition("@")[2] not in left_out:
            people.add(address.lower())
            _user(row, address, into)
    lists = {row.text("address").lower(): row for row in tables["alias"]}
    for address, row in lists.items():
        if row.text("accesspolicy") not in _EVERYBODY:
            into.note(
                f"alias {address} takes mail of {row.text('accesspolicy')[:30]!r} alone there, here of all"
            )
    _forwardings(tables["forwardings"], lists, people, left_out, into)


def _user(row: Record, address: str, into: Gathered) -> None:
    active, quota = row.flag("active"), row.number("quota")
    parts = [row.text(one).strip("/") for one in ("storagenode", "maildir")]
    base = row.text("storagebasedirectory").rstrip("/") or str(into.old_root)
    into.user(
        row.place,
        address,
        password=row.text("password"),
        name=row.text("name"),
        folder="/".join(filter(None, (base, *parts))) if parts[1] else None,
        inside=row.text("mailboxfolder") or "Maildir",
        quota_bytes=quota << 20 if quota > 0 else None,
        until=_until(row),
        login=active,
        receive=active and row.flag("enabledeliver"),
        imap=_over_tls(row, "imap"),
        pop3=_over_tls(row, "pop3"),
        send=active and _over_tls(row, "smtp"),
    )
    if row.text("allow_nets"):
        into.note(
            f"{address} may log in from {row.text('allow_nets')[:100]!r} alone there, here from everywhere"
        )
    if row.text("mailboxformat") not in ("", "maildir"):
        into.note(
            f"{address}: the mail is in format {row.text('mailboxformat')[:20]!r}, and here it is a Maildir"
        )
    if row.flag("isadmin", default=False) or row.flag("isglobaladmin", default=False):
        into.administrator(address)


def _over_tls(row: Record, service: str) -> bool:
    return row.flag(f"enable{service}secured", default=row.flag(f"enable{service}"))


def _until(row: Record) -> str | None:
    expired = row.text("expired")
    return None if not expired or expired.startswith((_NEVER, "infinity")) else expired


def _forwardings(
    rows: list[Record], lists: dict[str, Record], people: set[str], left_out: set[str], into: Gathered
) -> None:
    found: dict[str, tuple[str, list[str]]] = {}
    for row in rows:
        address, target = row.text("address").lower(), row.text("forwarding")
        if address.rpartition("@")[2] in left_out:
            continue
        if not row.flag("active") or row.flag("is_maillist", default=False):
            into.note(f"{address} to {target[:100]} is not active or a mailing list there, and is left out")
        else:
            found.setdefault(address, (row.place, []))[1].append(target)
    for address, (place, targets) in found.items():
        of = lists.get(address)
        if of is None or address in people:
            into.route(place, address if "@" in address else f"@{address}", targets, people)
        elif of.flag("active"):
            into.alias(place, address, targets, until=_until(of))
        else:
            into.note(f"alias {address} is not active there, and is left out")
