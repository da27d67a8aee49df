"""What main.cf and the administrator's own tables do to the directory's domains and mailboxes.

Tables beside ours are asked about every mailbox and domain, each table once for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from postmaster.address import Domain
from postmaster.directory.snapshot import OUTSIDE, Snapshot
from postmaster.postfix import maps
from postmaster.postfix.classes import LISTS, VIRTUAL_ALIAS, VIRTUAL_MAILBOX, conflicts
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tables import holds_patterns
from postmaster.postfix.tokens import split
from postmaster.routing.check.finding import Finding
from postmaster.routing.server import Server, open_server
from postmaster.settings import Settings
from postmaster.shell import word

#: A sender from elsewhere, for whom SRS makes an address of ours (RFC 2606: never a real one).
_PROBE = "postmaster-check@srs-probe.invalid"
_NOBODY = "postmaster-check-nobody"
_SRS = re.compile(r"\"?SRS[01][=+-]", re.IGNORECASE)

#: Services that answer one key at a time; what they rewrite are addresses of their own making.
_SERVICES = ("tcp", "socketmap", "unix")


def check(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    with open_server(settings) as server:
        yield from _two_classes(server, snapshot)
        yield from _shadowed(server, snapshot)
        yield from _backscatter(server, snapshot)
        yield from _without_srs(server, snapshot)


def _two_classes(server: Server, snapshot: Snapshot) -> Iterator[Finding]:
    ours = {
        name: VIRTUAL_ALIAS if home is not None else VIRTUAL_MAILBOX
        for name, home in snapshot.domains.values()
    }
    for name, parameter, winner in conflicts(server.classes, ours):
        yield Finding(
            "two_classes",
            str(Domain(name)),
            f"the domain is hosted here and in {parameter}; {winner} wins",
            f"take it out of {parameter} in main.cf",
        )


def _shadowed(server: Server, snapshot: Snapshot) -> Iterator[Finding]:
    """Mailboxes whose mail a table takes that Postfix asks before ours, or instead of ours."""
    ours = server.ours(maps.ALIASES)
    found = split_list(server.parameters["virtual_alias_maps"])
    is_ours_there = ours in found
    before = found[: found.index(ours)] if is_ours_there else found
    for parameter in ("recipient_canonical_maps", "canonical_maps"):
        before += split_list(server.parameters[parameter])
    tables = _theirs(server, before)
    mailboxes = {
        snapshot.text(one): one for one, box in snapshot.mailboxes.items() if box.takes and box.keeps
    }
    taken: dict[str, tuple[str, str]] = {}
    for table in tables:
        for key, answer in server.tables.find_all(table, mailboxes).items():
            if answer is not None and key not in taken and key not in [a.lower() for a in split(answer)]:
                taken[key] = (table, answer)
    if not is_ours_there:
        for table in tables:
            if holds_patterns(table):
                continue  # asked about the whole of each mailbox before
            for key, answer in server.tables.find_all(
                table, _any_of(table, dict(snapshot.homes()).values())
            ).items():
                if answer is not None and not answer.startswith("@"):
                    swallowed = (one for one in mailboxes if one.endswith(key) and one not in taken)
                    taken.update(dict.fromkeys(swallowed, (table, answer)))
    for one in sorted(taken):
        table, answer = taken[one]
        yield Finding(
            "shadowed_mailbox",
            snapshot.shown(mailboxes[one]),
            f"{table} sends its mail to {answer} before the directory is asked",
            f"take it out of {table}, or put the directory's tables first: postmaster setup apply",
        )


def _backscatter(server: Server, snapshot: Snapshot) -> Iterator[Finding]:
    """`@one @other` accepts every local part of one; those that other does not have are bounced later."""
    names = set(snapshot.by_name)
    for domain_class in LISTS:
        names.update(server.classes.list_of(domain_class).names)
    for table in _theirs(server, split_list(server.parameters["virtual_alias_maps"])):
        for key, answer in sorted(server.tables.find_all(table, _any_of(table, names)).items()):
            local, _, name = key.rpartition("@")
            kept, _, other = (answer or "").rpartition("@")
            if not other or kept != local or _takes_all(snapshot, other):
                continue
            yield Finding(
                "alias_domain_backscatter",
                str(Domain(name)),
                f"{table} sends every address of {Domain(name)} on to @{other}: mail for unknown ones is "
                "accepted and comes back later, to senders who are often forged",
                f"take it out of {table}{_instead(snapshot, name, other.lower())}",
            )


def _instead(snapshot: Snapshot, name: str, other: str) -> str:
    """What lets one domain stand for another, where neither is in the way of that."""
    if name in snapshot.by_name or other not in snapshot.by_name:
        return ""
    home = snapshot.domains[snapshot.by_name[other]][1]
    home_name = other if home is None else snapshot.domains[home][0]
    return f"; postmaster domain add {word(Domain(name))} --alias-of {word(Domain(home_name))}"


def _any_of(table: str, names: Iterable[str]) -> set[str]:
    """The keys that answer for every address of a domain; of patterns an address is asked that nobody has."""
    return {f"{_NOBODY if holds_patterns(table) else ''}@{name}" for name in names}


def _theirs(server: Server, tables: Iterable[str]) -> list[str]:
    """Those of the administrator, without services that answer one key at a time."""
    ours = {server.ours(one) for one in maps.MAPS}
    return [one for one in tables if one.partition(":")[0] not in _SERVICES and one not in ours]


def _takes_all(snapshot: Snapshot, name: str) -> bool:
    """Whether a catch-all answers for every address of a domain; an alias domain has none."""
    domain_id = snapshot.by_name.get(name.lower())
    if domain_id is None or snapshot.domains[domain_id][1] is not None:
        return False
    return snapshot.ids.get(domain_id, {}).get("") in snapshot.open


def _without_srs(server: Server, snapshot: Snapshot) -> Iterator[Finding]:
    leaving = {
        source: [edge for edge in snapshot.goes_on(source) if edge.to == OUTSIDE] for source in snapshot.edges
    }
    if not any(leaving.values()) or _has_srs(server):
        return
    for source in sorted((one for one, edges in leaving.items() if edges), key=snapshot.text):
        edges = leaving[source]
        more = f" and {len(edges) - 1} more" if len(edges) > 1 else ""
        yield Finding(
            "forward_without_srs",
            snapshot.shown(source),
            f"its mail goes on to {edges[0].local}@{edges[0].domain}{more} under the sender's own address: "
            "receivers that check SPF refuse it",
            "run an SRS service such as postsrsd, in sender_canonical_maps",
        )


def _has_srs(server: Server) -> bool:
    """Whether a sender from elsewhere is rewritten to an address of ours, as the live tables answer."""
    given = server.parameters
    for parameter, classes in (
        ("sender_canonical_maps", "sender_canonical_classes"),
        ("canonical_maps", "canonical_classes"),
    ):
        if "envelope_sender" not in split_list(given[classes]):
            continue
        match = server.addressing.find(given[parameter], _PROBE) if given[parameter] else None
        if match is not None and _SRS.match(match.answer):
            return True
    return False
