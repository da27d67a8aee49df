"""Where mail for a final address goes: class, transport, next hop, and whether anybody is there.

Worked out from the configuration as trivial-rewrite does (resolve.c, transport.c), so that it can be said
while Postfix is down; where Postfix runs it is asked as well, its answer counts, and a difference is noted.
Addresses are in internal form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from postmaster.errors import ServerError
from postmaster.postfix.classes import DEFAULT, LOCAL, RELAY, VIRTUAL_ALIAS, VIRTUAL_MAILBOX
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote, unquote
from postmaster.routing import hops
from postmaster.routing.hops import Hop, ResolveDifference
from postmaster.routing.server import Server

_TRANSPORTS = {LOCAL: "local_transport", VIRTUAL_MAILBOX: "virtual_transport", RELAY: "relay_transport"}
ERRORS = ("error", "retry")


@dataclass(frozen=True, slots=True)
class Destination:
    recipient: str  # the address without a way through domains of ours
    domain_class: str
    transport: str
    next_hop: str
    source: str  # what decided about the transport: a parameter or a table


def settle(server: Server, address: str, hop: Hop, sender: str) -> tuple[str, ResolveDifference | None]:
    """Fill in where a last hop's address goes; gives the recipient for its transport. Raises RightsError."""
    try:
        found = resolve(server, address, sender)
        live = server.rewriter.resolve(address, sender) if server.rewriter is not None else None
        difference = None
        if live is not None:
            said = Destination(
                live.recipient, live.domain_class, live.transport, live.next_hop, "the running server"
            )
            if replace(said, source=found.source) != found:
                difference = ResolveDifference(quote(address), _words(address, found), _words(address, said))
                found = said
        hop.domain_class, hop.transport, hop.next_hop = found.domain_class, found.transport, found.next_hop
        _judge(server, hop, found)
        if found.recipient.lower() != address.lower():
            hop.reason = f"a way to {quote(found.recipient)}: {hop.reason}"
        return found.recipient, difference
    except ServerError as error:
        hop.rule, hop.problem, hop.reason = hops.NOWHERE, hops.UNREADABLE, error.message
        return address, None


def resolve(server: Server, address: str, sender: str) -> Destination:
    """Class, transport and next hop by the configuration. Raises ServerError."""
    given = server.parameters
    address = server.addressing.routed(address)
    domain = address.rpartition("@")[2]
    domain_class = server.classes.of(domain)
    if domain_class == VIRTUAL_ALIAS:
        # No transport table overrides this one (resolve.c).
        unknown = "5.1.1 User unknown in virtual alias table"
        return Destination(address, domain_class, "error", unknown, "virtual_alias_domains")
    next_hop = domain
    if domain_class in (RELAY, DEFAULT):
        relay = _by_sender(server, "sender_dependent_relayhost_maps", sender)
        next_hop = relay or given["relayhost"] or domain
    source = _TRANSPORTS.get(domain_class, "default_transport")
    text = given[source]
    own = _by_sender(server, "sender_dependent_default_transport_maps", sender)
    if domain_class == DEFAULT and own:
        text, source = own, "sender_dependent_default_transport_maps"
    transport, _, explicit = text.partition(":")
    found = Destination(address, domain_class, transport, explicit or next_hop, source)
    found = _by_transport_maps(server, found)
    if given["relocated_maps"] and (moved := server.addressing.find(given["relocated_maps"], address)):
        text = f"5.1.6 User has moved to {moved.answer}"
        return replace(found, transport="error", next_hop=text, source="relocated_maps")
    return found


def _by_sender(server: Server, parameter: str, sender: str) -> str | None:
    """What a table has for a sender; None for nothing, or for DUNNO."""
    maps = server.parameters[parameter]
    if not maps:
        return None
    if sender:
        match = server.addressing.find(maps, unquote(sender))
        answer = match.answer if match else None
    else:
        found = server.tables.first(split_list(maps), ["<>"])
        answer = found[2] if found else None
    return None if answer is None or answer.upper() == "DUNNO" else answer


def _by_transport_maps(server: Server, before: Destination) -> Destination:
    tables = split_list(server.parameters["transport_maps"])
    local, _, domain = before.recipient.rpartition("@")
    user, extension = server.addressing.split_extension(local)
    keys = [f"{local}@{domain}", *([f"{user}@{domain}"] if extension else [])]
    keys += domain_keys(server, domain, "transport_maps")
    match = server.tables.first(tables, [*keys, "*"])
    if match is None:
        return before
    table, key, answer = match
    transport, _, next_hop = answer.partition(":")
    source = f"{table} for {key}"
    if not transport:
        return replace(before, next_hop=next_hop or before.next_hop, source=source)
    fallback = "5.1.0 Address is undeliverable" if transport == "error" else domain
    return replace(before, transport=transport, next_hop=next_hop or fallback, source=source)


def domain_keys(server: Server, domain: str, feature: str) -> list[str]:
    """The keys for a domain and those above it, as `.name` or as `parent_domain_matches_subdomains` says."""
    parents = feature in split_list(server.parameters["parent_domain_matches_subdomains"])
    found, rest = [domain], domain
    while "." in rest.lstrip("."):
        rest = rest.lstrip(".").partition(".")[2]
        found.append(rest if parents else f".{rest}")
    return found


def _judge(server: Server, hop: Hop, found: Destination) -> None:
    """The rule at which mail ends or leaves, and a dead end where nobody is there."""
    given = server.parameters
    by = f"by {found.transport} to {found.next_hop}"
    if found.transport in ERRORS:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
        what = "deferred" if found.transport == "retry" else "returned to its sender"
        hop.reason = f"mail is {what}: {found.next_hop} ({found.source})"
    elif found.transport == "discard":
        hop.rule, hop.reason = hops.DISCARDED, f"thrown away ({found.source})"
    elif found.domain_class == LOCAL and _is_double_bounce(server, found.recipient):
        hop.rule, hop.reason = hops.DISCARDED, "the sender of Postfix's own reports: thrown away (qmgr)"
    elif found.domain_class == LOCAL and found.transport == "local":
        hop.rule, hop.reason = hops.LOCAL_MAILBOX, "delivered by local(8)"  # local.py says the rest
    elif found.domain_class == VIRTUAL_MAILBOX:
        maps = given["virtual_mailbox_maps"]
        match = server.addressing.find(maps, found.recipient) if maps else None
        if match is not None:
            hop.rule, hop.reason = hops.MAILBOX, f"mailbox {match.key}, {by}"
            hop.table, hop.key = match.table, match.key
        elif maps:
            hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
            hop.reason = "there is no such mailbox: mail is accepted and then returned to its sender"
        else:
            hop.rule, hop.reason = hops.TRANSPORT, f"{by}; virtual_mailbox_maps is empty, so nobody checked"
    elif found.domain_class == RELAY:
        hop.rule, hop.reason = hops.RELAY, f"relayed {by} ({found.source})"
    elif found.domain_class == DEFAULT:
        hop.rule, hop.reason = hops.EXTERNAL, f"leaves {by} ({found.source})"
    else:
        hop.rule, hop.reason = hops.TRANSPORT, f"{by} ({found.source})"


def _is_double_bounce(server: Server, address: str) -> bool:
    return address.rpartition("@")[0].lower() == server.parameters["double_bounce_sender"].lower()


def _words(address: str, found: Destination) -> str:
    way = "" if found.recipient.lower() == address.lower() else f"{quote(found.recipient)}: "
    return f"{way}{found.domain_class}, {found.transport} to {found.next_hop}"
