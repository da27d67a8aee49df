"""Modoboa: tables of its applications `core` and `admin`. Each mailbox has an internal alias of its own."""

from __future__ import annotations

from collections import defaultdict

from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import read

ROOT = "/srv/vmail"
SOURCE = "a database URL, or a dump of it"
_RECIPIENTS = ("admin_aliasrecipient", "modoboa_admin_aliasrecipient")
_LOST = ("relaydomains_relaydomain", "postfix_autoreply_armessage")


def gather(source: str, into: Gathered) -> None:
    tables = ("core_user", "admin_domain", "admin_domainalias", "admin_mailbox", "admin_alias")
    found = read(
        source,
        (*tables, *_RECIPIENTS, "admin_senderaddress", *_LOST),
        needed=("core_user", "admin_domain", "admin_mailbox"),
    )
    for place, why in found.problems:
        into.problem(place, "", "", why)
    rows = found.tables
    names = {row.text("id"): row.text("name") for row in rows["admin_domain"]}
    default = {row.text("id"): row.number("default_mailbox_quota") for row in rows["admin_domain"]}
    left_out = set()
    for row in rows["admin_domain"]:
        if row.flag("enabled") and row.text("type") != "relaydomain":
            into.domain(row.place, row.text("name"))
        else:
            into.note(
                f"domain {row.text('name')} is not enabled or relayed there, and is left out with all in it"
            )
            left_out.add(row.text("name").lower())
    for row in rows.get("admin_domainalias", []):
        if row.flag("enabled"):
            into.domain(row.place, row.text("name"), names.get(row.text("target_id"), ""))
        else:
            into.note(f"alias domain {row.text('name')} is not enabled there, and is left out")
    accounts = {row.text("id"): row for row in rows["core_user"]}
    people: dict[str, str] = {}  # id of a mailbox -> address
    for row in rows["admin_mailbox"]:
        domain = names.get(row.text("domain_id"), "")
        address = f"{row.text('address')}@{domain}"
        if domain.lower() in left_out:
            continue
        account = accounts.get(row.text("user_id"))
        if account is None:
            into.problem(row.place, "user", address, "belongs to no account")
            continue
        people[row.text("id")] = address.lower()
        by_domain = row.flag("use_domain_quota", default=False)
        quota = default.get(row.text("domain_id"), 0) if by_domain else row.number("quota")
        active = account.flag("is_active")
        into.user(
            row.place,
            address,
            password=account.text("password"),
            name=f"{account.text('first_name')} {account.text('last_name')}".strip(),
            folder=f"{domain.lower()}/{row.text('address').lower()}",
            inside="Maildir",
            quota_bytes=quota << 20 if quota > 0 else None,
            login=active,
            receive=active,
            send=active,
        )
    recipients: dict[str, list[str]] = defaultdict(list)
    for name in _RECIPIENTS:
        for row in rows.get(name, []):
            recipients[row.text("alias_id")].append(row.text("address"))
    users = set(people.values())
    for row in rows.get("admin_alias", []):
        address = row.text("address")
        if address.lower().rpartition("@")[2] in left_out:
            continue
        keeps, others = own_and_others(address, recipients[row.text("id")])
        if not row.flag("enabled"):
            if not row.flag("internal", default=False):
                into.note(f"alias {address} is not enabled there, and is left out")
        elif address.lower() in users:
            into.forward(row.place, address, others, keep_copy=keeps)
        elif others or not row.flag("internal", default=False):
            into.alias(row.place, address, others, until=row.text("expire_at") or None)
    for row in rows.get("admin_senderaddress", []):
        login, other = people.get(row.text("mailbox_id"), ""), row.text("address")
        if login:
            into.entry(row.place, "grant", other, user=login, address=other.removeprefix("*"))
    for name in _LOST:
        if lost := rows.get(name):
            into.note(f"{len(lost)} rows of {name} have no counterpart here")
