"""What cleanup(8) makes of one recipient: canonical maps, then virtual aliases, over and over.

This follows `cleanup_map1n_internal` step by step, limits included, so that what it gives is what Postfix
writes into the queue file, or its refusal. The tree of hops beside it stops where an address comes round
again: there the circle is seen, and what Postfix does is go on until a limit ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from postmaster.errors import ServerError
from postmaster.postfix.addressing import Mapped
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote
from postmaster.routing import hops
from postmaster.routing.hops import Hop
from postmaster.routing.naming import Naming
from postmaster.routing.server import Server

MAP11_TIMES = 10  # cleanup_map11.c, MAX_RECURSION


@dataclass(slots=True)
class Expansion:
    """The tree of one address, its last hops that a destination is to be found for, and the outcome."""

    tree: Hop
    recipients: list[str] = field(default_factory=list)  # internal form, each once
    ends: list[tuple[str, Hop]] = field(default_factory=list)  # (address in internal form, hop)
    failure: str | None = None  # why Postfix defers the whole message


@dataclass(slots=True)
class _Entry:
    """A place in Postfix's list: the address now in it, and its hop unless the tree stopped before."""

    address: str
    hop: Hop | None
    path: tuple[str, ...]  # the addresses before it, folded


def expand(server: Server, naming: Naming, address: str) -> Expansion:
    """Expand an address in internal form. Raises RightsError."""
    tree = Hop(quote(address))
    result = Expansion(tree)
    try:
        start, hop = canonical(server, address, tree)
        _virtual(server, naming, result, _Entry(start, hop, (start.lower(),)))
    except ServerError as error:
        result.failure = f"{error.message}"
        hop = next((h for _, h in tree.walk() if not h.rule), tree)
        hop.rule, hop.problem, hop.reason = hops.NOWHERE, hops.UNREADABLE, error.message
        result.recipients.clear()
        result.ends.clear()
    return result


def canonical(server: Server, address: str, hop: Hop) -> tuple[str, Hop]:
    """The address after canonical maps, and the hop that stands for it. Raises ServerError."""
    given = server.parameters
    address = server.addressing.canonical(address)
    for maps, classes in (
        ("recipient_canonical_maps", "recipient_canonical_classes"),
        ("canonical_maps", "canonical_classes"),
    ):
        if not given[maps] or "envelope_recipient" not in split_list(given[classes]):
            continue
        for _ in range(MAP11_TIMES):
            mapped = server.addressing.map(
                given[maps], address, propagate=server.addressing.propagates("canonical")
            )
            if mapped is None or not mapped.addresses or mapped.addresses[0].lower() == address.lower():
                break
            hop.rule, hop.reason = hops.CANONICAL, f"{maps} rewrites the address"
            hop.table, hop.key = mapped.match.table, mapped.match.key
            address = mapped.addresses[0]
            hop.hops.append(Hop(quote(address)))
            hop = hop.hops[0]
    return address, hop


def _virtual(server: Server, naming: Naming, result: Expansion, start: _Entry) -> None:
    maps = server.parameters["virtual_alias_maps"]
    propagate = server.addressing.propagates("virtual")
    limits = server.limits
    most = limits.get("virtual_alias_expansion_limit", 1000)
    deepest = limits.get("virtual_alias_recursion_limit", 1000)
    longest = limits.get("virtual_alias_address_length_limit", 1000)
    entries = [start]
    finished: set[str] = set()  # addresses that were among their own targets
    at = 0
    while at < len(entries):
        if len(entries) > most:
            _give_up(result, entries[at].hop, f"more than {most} addresses")
            return
        depth = 0
        while entries[at].address.lower() not in finished:
            entry = entries[at]
            if depth >= deepest:
                _give_up(result, entry.hop, f"more than {deepest} steps deep")
                return
            mapped = server.addressing.map(maps, entry.address, propagate=propagate)
            if mapped is None:
                break
            if not mapped.addresses:
                raise ServerError(f"the table {mapped.match.table} answers no address for {mapped.match.key}")
            if any(len(quote(one).encode()) > longest for one in mapped.addresses):
                _give_up(result, entry.hop, f"an address longer than {longest} characters")
                return
            if any(one.lower() == entry.address.lower() for one in mapped.addresses):
                finished.add(entry.address.lower())
            if len(mapped.addresses) > 1:
                server.addressing.prepare(maps, mapped.addresses)
            below = _below(server, naming, entry, mapped)
            entries[at] = below[0]
            entries.extend(below[1:])
            depth += 1
        at += 1
    seen: set[str] = set()
    for entry in entries:
        if entry.address.lower() not in seen:
            seen.add(entry.address.lower())
            result.recipients.append(entry.address)
        if entry.hop is not None:
            result.ends.append((entry.address, entry.hop))


def _below(server: Server, naming: Naming, entry: _Entry, mapped: Mapped) -> list[_Entry]:
    hop, address = entry.hop, entry.address
    alone = len(mapped.addresses) == 1
    if alone and mapped.addresses[0].lower() == address.lower():
        if hop is not None:  # an address that answers for itself, so that a catch-all does not take it
            hop.table, hop.key = mapped.match.table, mapped.match.key
        return [_Entry(mapped.addresses[0], hop, entry.path)]
    if hop is not None:
        hop.rule, hop.reason = naming.of(address, mapped)
        hop.table, hop.key = mapped.match.table, mapped.match.key
    extension = server.addressing.split_extension(address.rpartition("@")[0])[1]
    found = []
    for one in mapped.addresses:
        below = None
        folded = one.lower()
        if hop is not None:
            below = Hop(quote(one))
            below.kept_copy = folded == address.lower()
            if extension:
                kept = server.addressing.split_extension(one.rpartition("@")[0])[1] == extension
                below.extension = "kept" if kept else "stripped"
            hop.hops.append(below)
            if folded in entry.path and not below.kept_copy:
                below.rule, below.problem = hops.NOWHERE, hops.LOOP
                below.reason = "comes round again: Postfix expands it until a limit, and defers the message"
                below = None
        found.append(_Entry(one, below, (*entry.path, folded) if below is not None else ()))
    return found


def _give_up(result: Expansion, hop: Hop | None, why: str) -> None:
    """Postfix puts the message off (451 4.6.0): for every recipient of it."""
    result.failure = f"expands to {why}, so Postfix defers the whole message"
    looping = any(one.problem == hops.LOOP for _, one in result.tree.walk())
    if hop is not None and not looping:
        hop.problem, hop.reason = hops.LIMIT, result.failure
        hop.rule = hop.rule or hops.NOWHERE
    elif not looping:
        result.tree.problem = hops.LIMIT
