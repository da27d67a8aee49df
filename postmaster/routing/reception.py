"""What a client that may send to us hears about a recipient from smtpd, before any content.

Looked at are the tables of `check_recipient_access` in every list of restrictions, and the recipient tables
of each address class. Left out is what depends on the client: networks, names, lists, policy services,
milters; restriction classes too, and a listener's own restrictions in master.cf.

Sources: smtpd_check.c (check_rcpt_maps, check_mail_access, check_table_result), access(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from postmaster.errors import ServerError
from postmaster.postfix.classes import DEFAULT, LOCAL, RELAY, VIRTUAL_ALIAS, VIRTUAL_MAILBOX
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote
from postmaster.routing.destination import Destination, domain_keys, resolve
from postmaster.routing.hops import Verdict
from postmaster.routing.server import Server

#: Asked one after another when a recipient is named, with `smtpd_delay_reject` the first three as well.
RESTRICTIONS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
)
_ONLY_DELAYED = RESTRICTIONS[:3]

_UNKNOWN = {
    LOCAL: ("local_recipient_maps", "User unknown in local recipient table"),
    VIRTUAL_MAILBOX: ("virtual_mailbox_maps", "User unknown in virtual mailbox table"),
    RELAY: ("relay_recipient_maps", "User unknown in relay recipient table"),
}
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(slots=True)
class _Deferral:
    """What a table said for later: DEFER_IF_PERMIT and DEFER_IF_REJECT, each with its table."""

    if_permit: Verdict | None = None
    if_reject: Verdict | None = None


def judge(server: Server, address: str, sender: str = "") -> Verdict:
    """The verdict on an address in internal form, for a sender in external form. Raises RightsError."""
    later = _Deferral()
    try:
        found = resolve(server, server.addressing.canonical(address), sender)
        verdict = _by_access(server, found.recipient, later) or _by_tables(server, found)
    except ServerError as error:
        return Verdict(451, "unreadable", f"4.3.0 Temporary lookup failure: {error.message}")
    if verdict.code >= 500 and later.if_reject is not None:
        return later.if_reject
    if verdict.code < 400 and later.if_permit is not None:
        return later.if_permit
    return verdict


def _by_access(server: Server, recipient: str, later: _Deferral) -> Verdict | None:
    """The first refusal of a table; OK ends only the list that it stands in."""
    keys = _access_keys(server, recipient)
    for parameter in RESTRICTIONS:
        if parameter in _ONLY_DELAYED and server.parameters["smtpd_delay_reject"] != "yes":
            continue
        items = split_list(server.parameters[parameter])
        for item, table in pairwise([*items, ""]):
            if item == "permit":
                break
            if item != "check_recipient_access" or not table:
                continue
            match = server.tables.first([table], keys)
            if match is None:
                continue
            action, _, text = match[2].strip().partition(" ")
            if action.upper() in ("OK", "PERMIT") or (action.isdigit() and action[0] not in "45"):
                break
            verdict = _refusal(table, action.upper(), text.strip(), later)
            if verdict is not None:
                return verdict
    return None


def _refusal(table: str, action: str, text: str, later: _Deferral) -> Verdict | None:
    """The reply of an action in a table, None where it refuses nothing."""
    if action.isdigit() and len(action) == 3 and action[0] in "45":
        return Verdict(int(action), table, text or f"{action[0]}.7.1 Access denied")
    if action == "REJECT":
        return Verdict(554, table, text or "5.7.1 Access denied")
    deferred = Verdict(450, table, text or "4.7.1 Access denied")
    if action == "DEFER":
        return deferred
    if action == "DEFER_IF_PERMIT":
        later.if_permit = later.if_permit or deferred
    elif action == "DEFER_IF_REJECT":
        later.if_reject = later.if_reject or deferred
    return None


def _access_keys(server: Server, address: str) -> list[str]:
    local, _, domain = address.rpartition("@")
    user, extension = server.addressing.split_extension(local)
    names = [local, *([user] if extension else [])]
    return [
        *(quote(f"{name}@{domain}") for name in names),
        *domain_keys(server, domain, "smtpd_access_maps"),
        *(quote(f"{name}@x").removesuffix("x") for name in names),
    ]


def _by_tables(server: Server, found: Destination) -> Verdict:
    given, find = server.parameters, server.addressing.find
    if given["smtpd_reject_unlisted_recipient"] != "yes" and not any(
        "reject_unlisted_recipient" in split_list(given[parameter]) for parameter in RESTRICTIONS
    ):
        return Verdict(250, "smtpd_reject_unlisted_recipient", "any recipient is accepted")
    for maps in ("recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"):
        if given[maps] and (match := find(given[maps], found.recipient)):
            return Verdict(250, maps, f"found in {match.table} as {match.key}")
    if found.domain_class == VIRTUAL_ALIAS:
        return Verdict(550, "virtual_alias_domains", found.next_hop)
    if found.transport in ("error", "retry"):
        code, status = (550, "5.1.1") if found.transport == "error" else (450, "4.1.1")
        text = found.next_hop if _STATUS.match(found.next_hop) else f"{status} {found.next_hop}"
        return Verdict(code, found.source, text)
    if found.domain_class == DEFAULT:
        text = "accepted from our own networks and logins; others hear 554 5.7.1 Relay access denied"
        return Verdict(250, "reject_unauth_destination", text)
    return _by_recipient_maps(server, found)


def _by_recipient_maps(server: Server, found: Destination) -> Verdict:
    parameter, unknown = _UNKNOWN[found.domain_class]
    maps = server.parameters[parameter]
    if not maps:
        text = f"{parameter} is empty: any recipient in {found.domain_class} is accepted"
        return Verdict(250, parameter, text)
    match = server.addressing.find(maps, found.recipient)
    if match is not None:
        return Verdict(250, parameter, f"found in {match.table} as {match.key}")
    name = found.recipient.rpartition("@")[0].lower()
    if found.domain_class == LOCAL and name in server.addressing.reserved:
        return Verdict(250, parameter, f"{name} of a local domain is always accepted")
    return Verdict(550, parameter, f"5.1.1 {unknown}")
