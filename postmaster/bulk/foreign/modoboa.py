"""Modoboa: tables of its applications `core` and `admin`.

An address can have two rows in `admin_alias`, of which one is `internal`: a mailbox's own delivery, switched
off where a forward keeps no copy, and the `@example.net` of an alias domain. What is enabled of both counts.
Who may send as an address are the users it leads to, and those of `admin_senderaddress`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from postmaster.bulk.foreign.dump import Record
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import by, take

ROOT = "/srv/vmail"
SOURCE = "a database URL, or a dump of it"
_RECIPIENTS = ("modoboa_admin_aliasrecipient", "admin_aliasrecipient")
_TABLES = (
    "core_user",
    "admin_domain",
    "admin_domainalias",
    "admin_mailbox",
    "admin_alias",
    "admin_senderaddress",
    *_RECIPIENTS,
)


def gather(source: str, into: Gathered) -> None:
    tables = take(source, _TABLES, into, needed=("core_user", "admin_domain", "admin_mailbox", "admin_alias"))
    names = {row.text("id"): row.text("name") for row in tables["admin_domain"]}
    left_out = set()
    for row in tables["admin_domain"]:
        name = row.text("name")
        if row.flag("enabled") and row.text("type") != "relaydomain":
            into.domain(row.place, name)
        else:
            into.note(f"domain {name} is not enabled or relayed there, and is left out with all in it")
            left_out.add(name.lower())
    for row in tables["admin_domainalias"]:
        name, target = row.text("name"), names.get(row.text("target_id"), "")
        if row.flag("enabled") and target.lower() not in left_out:
            into.alias_domain(row.place, name, target)
        else:
            into.note(f"alias domain {name} or its domain is not enabled there, and is left out")
            left_out.add(name.lower())
    people = _users(tables["core_user"], tables["admin_mailbox"], names, left_out, into)
    recipients = by((row for name in _RECIPIENTS for row in tables[name]), "alias_id")
    _aliases(tables["admin_alias"], recipients, set(people.values()), left_out, into)
    for row in tables["admin_senderaddress"]:
        login = people.get(row.text("mailbox_id"))
        if login is not None:
            into.senders(row.place, row.text("address").removeprefix("*"), [login], {login})


def _users(
    accounts: list[Record],
    mailboxes: list[Record],
    names: Mapping[str, str],
    left_out: Collection[str],
    into: Gathered,
) -> dict[str, str]:
    """The users that are taken in: id of the mailbox -> address in small letters."""
    found: dict[str, str] = {}
    unused = {row.text("id"): row for row in accounts}
    for row in mailboxes:
        domain = names.get(row.text("domain_id"), "").lower()
        address = f"{row.text('address')}@{domain}"
        account = unused.pop(row.text("user_id"), None)
        if domain in left_out:
            continue
        if account is None:
            into.problem(row.place, "user", address, "belongs to no account")
            continue
        found[row.text("id")] = address.lower()
        quota, active = row.number("quota"), account.flag("is_active")
        into.user(
            row.place,
            address,
            password=account.text("password"),
            name=f"{account.text('first_name')} {account.text('last_name')}".strip(),
            folder=f"{domain}/{row.text('address').lower()}",
            inside="Maildir",
            quota_bytes=quota << 20 if quota > 0 else None,
            login=active,
            receive=active and not row.flag("is_send_only", default=False),
            send=active,
        )
        if row.text("message_limit"):
            into.note(
                f"{address} may send {row.text('message_limit')[:20]} messages a day there, here any number"
            )
    for account in unused.values():
        into.note(f"account {account.text('username')[:100]} has no mailbox there, and is left out")
    return found


def _aliases(
    rows: list[Record],
    recipients: Mapping[str, list[Record]],
    people: Collection[str],
    left_out: Collection[str],
    into: Gathered,
) -> None:
    found: dict[str, tuple[Record, list[str]]] = {}
    for row in rows:
        address = row.text("address")
        if address.lower().rpartition("@")[2] in left_out:
            continue
        if row.flag("enabled"):
            of = found.setdefault(address.lower(), (row, []))[1]
            of += [one.text("address") for one in recipients[row.text("id")]]
        elif not row.flag("internal", default=False):
            into.note(f"alias {address} is not enabled there, and is left out")
    for row, targets in found.values():
        address, until = row.text("address"), row.text("expire_at")
        if until and address.lower() not in people:
            into.alias(row.place, address, targets, until=until)
        else:
            into.route(row.place, address, targets, people)
        if not address.startswith("@"):
            into.senders(row.place, address, targets, people)
