"""What a client that may send to us hears about a recipient from smtpd, before any content.

Looked at are the tables of `check_recipient_access` and the recipient tables of each address class. Left
out is what depends on the client: networks, names, lists, policy services, milters.

Sources: smtpd_check.c (check_rcpt_maps, check_mail_access), access(5).
"""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.errors import ServerError
from postmaster.postfix.classes import DEFAULT, LOCAL, RELAY, VIRTUAL_ALIAS, VIRTUAL_MAILBOX
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote
from postmaster.routing.destination import Destination, resolve
from postmaster.routing.hops import Verdict
from postmaster.routing.server import Server

_UNKNOWN = {
    LOCAL: ("local_recipient_maps", "User unknown in local recipient table"),
    VIRTUAL_MAILBOX: ("virtual_mailbox_maps", "User unknown in virtual mailbox table"),
    RELAY: ("relay_recipient_maps", "User unknown in relay recipient table"),
}


def judge(server: Server, address: str) -> Verdict:
    """The verdict on an address in internal form. Raises RightsError."""
    try:
        address = server.addressing.canonical(address)
        return _by_access(server, address) or _by_tables(server, address)
    except ServerError as error:
        return Verdict(451, "unreadable", f"4.3.0 Temporary lookup failure: {error.message}")


def _by_access(server: Server, address: str) -> Verdict | None:
    items = split_list(server.parameters["smtpd_recipient_restrictions"])
    for at, item in enumerate(items):
        if item == "permit":
            return None
        if item != "check_recipient_access" or at + 1 == len(items):
            continue
        table = items[at + 1]
        for key in _access_keys(server, address):
            answer = server.tables.find(table, key)
            if answer is None:
                continue
            word = answer.split()[0].upper() if answer.split() else ""
            if word[:1] in ("4", "5") and word.isdigit():
                return Verdict(int(word), table, answer.partition(" ")[2])
            if word == "REJECT":
                return Verdict(554, table, answer.partition(" ")[2] or "5.7.1 Access denied")
            if word.startswith("DEFER"):
                return Verdict(450, table, answer.partition(" ")[2] or "4.7.1 Access denied")
            if word in ("OK", "PERMIT") or word.isdigit():
                return None
            break
    return None


def _access_keys(server: Server, address: str) -> Iterator[str]:
    local, _, domain = address.lower().rpartition("@")
    user, extension = server.addressing.split_extension(local)
    names = [local, *([user] if extension else [])]
    yield from (quote(f"{name}@{domain}") for name in names)
    parents = "smtpd_access_maps" in split_list(server.parameters["parent_domain_matches_subdomains"])
    rest = domain
    yield rest
    while "." in rest.lstrip("."):
        rest = rest.lstrip(".").partition(".")[2]
        yield rest if parents else f".{rest}"
    yield from (quote(f"{name}@x").removesuffix("x") for name in names)


def _by_tables(server: Server, address: str) -> Verdict:
    given, find = server.parameters, server.addressing.find
    if given["smtpd_reject_unlisted_recipient"] != "yes":
        return Verdict(250, "smtpd_reject_unlisted_recipient", "any recipient is accepted")
    for maps in ("recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"):
        if given[maps] and (match := find(given[maps], address)):
            return Verdict(250, maps, f"found in {match.table} as {match.key}")
    found = resolve(server, address, "")
    if found.domain_class == VIRTUAL_ALIAS:
        return Verdict(550, "virtual_alias_domains", "5.1.1 User unknown in virtual alias table")
    if found.transport == "error":
        return Verdict(550, found.source, found.next_hop)
    if found.domain_class == DEFAULT:
        text = "accepted from our own networks and logins; others hear 554 5.7.1 Relay access denied"
        return Verdict(250, "reject_unauth_destination", text)
    return _by_recipient_maps(server, address, found)


def _by_recipient_maps(server: Server, address: str, found: Destination) -> Verdict:
    parameter, unknown = _UNKNOWN[found.domain_class]
    maps = server.parameters[parameter]
    if not maps:
        return Verdict(
            250, parameter, f"{parameter} is empty: any recipient in {found.domain_class} is accepted"
        )
    match = server.addressing.find(maps, address)
    if match is not None:
        return Verdict(250, parameter, f"found in {match.table} as {match.key}")
    if found.domain_class == LOCAL:  # MATCH_LEFT: these tables know bare names too
        local = address.rpartition("@")[0]
        user, extension = server.addressing.split_extension(local)
        for name in (local, *([user] if extension else [])):
            for table in split_list(maps):
                if server.tables.find(table, name.lower()) is not None:
                    return Verdict(250, parameter, f"found in {table} as {name}")
    return Verdict(550, parameter, f"5.1.1 {unknown}")
