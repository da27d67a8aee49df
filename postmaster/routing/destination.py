"""Where mail for a final address goes: class, transport, next hop, and whether anybody is there.

Worked out from the configuration as trivial-rewrite does (resolve.c, transport.c), so that it can be said
while Postfix is down; where Postfix runs it is asked as well, its answer counts, and a difference is noted.
"""

from __future__ import annotations

from dataclasses import dataclass

from postmaster.errors import ServerError
from postmaster.postfix.classes import DEFAULT, LOCAL, RELAY, VIRTUAL_ALIAS, VIRTUAL_MAILBOX
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote, unquote
from postmaster.routing import hops
from postmaster.routing.hops import Hop, ResolveDifference
from postmaster.routing.server import Server

_TRANSPORTS = {LOCAL: "local_transport", VIRTUAL_MAILBOX: "virtual_transport", RELAY: "relay_transport"}
_ERRORS = ("error", "retry")


@dataclass(frozen=True, slots=True)
class Destination:
    domain_class: str
    transport: str
    next_hop: str
    source: str  # what decided about the transport: a parameter or a table


def settle(server: Server, address: str, hop: Hop, sender: str) -> ResolveDifference | None:
    """Fill in where a last hop's address (internal form) goes. Raises RightsError."""
    try:
        found = resolve(server, address, sender)
        live = server.rewriter.resolve(address, sender) if server.rewriter is not None else None
        difference = None
        if live is not None:
            read = (found.domain_class, found.transport, found.next_hop)
            said = (live.domain_class, live.transport, live.next_hop)
            if read != said:
                difference = ResolveDifference(quote(address), _words(*read), _words(*said))
                source = "the running server"
                found = Destination(live.domain_class, live.transport, live.next_hop, source)
        hop.domain_class, hop.transport, hop.next_hop = found.domain_class, found.transport, found.next_hop
        _judge(server, address, hop, found)
        return difference
    except ServerError as error:
        hop.rule, hop.problem, hop.reason = hops.NOWHERE, hops.UNREADABLE, error.message
        return None


def resolve(server: Server, address: str, sender: str) -> Destination:
    """Class, transport and next hop by the configuration. Raises ServerError."""
    given = server.parameters
    domain = address.rpartition("@")[2].lower()
    domain_class = server.classes.of(domain)
    if domain_class == VIRTUAL_ALIAS:
        # No transport table overrides this one (resolve.c).
        return Destination(
            domain_class, "error", "5.1.1 User unknown in virtual alias table", "virtual_alias_domains"
        )
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
    found = Destination(domain_class, transport, explicit or next_hop, source)
    found = _by_transport_maps(server, address, domain, found)
    if given["relocated_maps"] and (moved := server.addressing.find(given["relocated_maps"], address)):
        return Destination(domain_class, "error", f"5.1.6 User has moved to {moved.answer}", "relocated_maps")
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
        answers = (server.tables.find(table, "<>") for table in split_list(maps))
        answer = next((one for one in answers if one is not None), None)
    return None if answer is None or answer.upper() == "DUNNO" else answer


def _by_transport_maps(server: Server, address: str, domain: str, before: Destination) -> Destination:
    tables = split_list(server.parameters["transport_maps"])
    if not tables:
        return before
    parents = "transport_maps" in split_list(server.parameters["parent_domain_matches_subdomains"])
    for key in _transport_keys(server, address, domain, parents):
        for table in tables:
            answer = server.tables.find(table, key.lower())
            if answer is None:
                continue
            transport, _, next_hop = answer.partition(":")
            source = f"{table} for {key}"
            if not transport:
                return Destination(before.domain_class, before.transport, next_hop or before.next_hop, source)
            fallback = "5.1.0 Address is undeliverable" if transport == "error" else domain
            return Destination(before.domain_class, transport, next_hop or fallback, source)
    return before


def _transport_keys(server: Server, address: str, domain: str, parents: bool) -> list[str]:
    local = address.rpartition("@")[0]
    user, extension = server.addressing.split_extension(local)
    found = [f"{local}@{domain}", *([f"{user}@{domain}"] if extension else []), domain]
    rest = domain
    while "." in rest.lstrip("."):
        rest = rest.lstrip(".").partition(".")[2]
        found.append(rest if parents else f".{rest}")
    return [*found, "*"]


def _judge(server: Server, address: str, hop: Hop, found: Destination) -> None:
    """The rule at which mail ends or leaves, and a dead end where nobody is there."""
    given = server.parameters
    by = f"by {found.transport} to {found.next_hop}"
    if found.transport in _ERRORS:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
        what = "deferred" if found.transport == "retry" else "returned to its sender"
        hop.reason = f"mail is {what}: {found.next_hop} ({found.source})"
    elif found.transport == "discard":
        hop.rule, hop.reason = hops.DISCARDED, f"thrown away ({found.source})"
    elif found.domain_class == LOCAL and found.transport == "local":
        hop.rule, hop.reason = hops.LOCAL_MAILBOX, "delivered by local(8)"  # local.py says the rest
    elif found.domain_class == VIRTUAL_MAILBOX:
        maps = given["virtual_mailbox_maps"]
        match = server.addressing.find(maps, address) if maps else None
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


def _words(domain_class: str, transport: str, next_hop: str) -> str:
    return f"{domain_class}, {transport} to {next_hop}"
