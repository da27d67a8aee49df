"""The commands that mend what is wrong with an address: each does so when it is pasted as it stands.

A word in capitals is for the reader to fill in. What a command would be refused for is heeded: a set of
targets is only taken when none of them is dead or leads back, so all that are go out at once.
"""

from __future__ import annotations

from postmaster.address import Address, Domain, LocalPart, check_own_local_part
from postmaster.directory.snapshot import NOWHERE, Edge, Snapshot
from postmaster.errors import AddressError
from postmaster.shell import word

LISTED = 10  # targets that a command names; with more the reader fills them in


def opened(snapshot: Snapshot, address_id: int) -> str:
    """What makes mail for an address that leads nowhere end somewhere."""
    where = _address(snapshot, address_id)
    has_ended = address_id in snapshot.ended
    if snapshot.addresses[address_id][2] == "alias":
        return f"postmaster alias set {word(where)} ADDRESS" + (" --until none" if has_ended else "")
    if has_ended:
        return f"postmaster user set {word(where)} --until none --receive"
    if not snapshot.mailboxes[address_id].takes:
        return f"postmaster user set {word(where)} --receive"
    return f"postmaster forward remove {word(where)}"


def taken_out(snapshot: Snapshot, address_id: int) -> str:
    """What takes the targets out that do not exist or lead back to the address."""
    where = _address(snapshot, address_id)
    edges = snapshot.edges[address_id]
    bad = [one for one in edges if one.to == NOWHERE or _leads_to(snapshot, one.to, address_id)]
    good = [one for one in edges if one not in bad]
    is_alias = snapshot.addresses[address_id][2] == "alias"
    if not good:
        return (
            f"postmaster alias set {word(where)} ADDRESS"
            if is_alias
            else f"postmaster forward remove {word(where)}"
        )
    if is_alias:
        fits = len(bad) <= LISTED
        words = [f"--remove {word(_target(one))}" for one in bad] if fits else ["--remove ADDRESS…"]
        return f"postmaster alias edit {word(where)} {' '.join(words)}"
    words = [word(_target(one)) for one in good] if len(good) <= LISTED else ["ADDRESS…"]
    words += [] if snapshot.mailboxes[address_id].keeps else ["--no-keep-copy"]
    return f"postmaster forward set {word(where)} {' '.join(words)}"


def made(snapshot: Snapshot, edge: Edge) -> str | None:
    """What makes a target that does not exist; None for an address that none of ours can be."""
    home = snapshot.domains[snapshot.by_name[edge.domain]][1]
    name = edge.domain if home is None else snapshot.domains[home][0]
    where = Address(Domain(name), LocalPart(edge.local)).without_extension
    try:
        check_own_local_part(where.local)
    except AddressError:
        return None
    return f"postmaster user add {word(where)}"


def sent_to_postmaster(snapshot: Snapshot, role: str, name: str) -> str:
    """What lets the mail of a role in a domain go to its postmaster and to nobody else."""
    where, postmaster = (Address(Domain(name), LocalPart(one)) for one in (role, "postmaster"))
    there = snapshot.lead(role, name)
    if there >= 0 and snapshot.addresses[there][2] == "user":
        command = f"postmaster forward set {word(where)} {word(postmaster)} --no-keep-copy --until none"
    else:
        command = f"postmaster alias set {word(where)} {word(postmaster)}"
    if snapshot.lead("postmaster", name) == NOWHERE:
        return f"postmaster alias set {word(postmaster)} ADDRESS; {command}"
    return command


def _leads_to(snapshot: Snapshot, start: int, wanted: int) -> bool:
    waiting, seen = [start], {start}
    while waiting:
        one = waiting.pop()
        if one == wanted:
            return True
        for edge in snapshot.edges.get(one, ()):
            if edge.to >= 0 and edge.to not in seen:
                seen.add(edge.to)
                waiting.append(edge.to)
    return False


def _target(edge: Edge) -> Address:
    return Address(Domain(edge.domain), LocalPart(edge.local))


def _address(snapshot: Snapshot, address_id: int) -> Address:
    domain_id, local, _ = snapshot.addresses[address_id]
    return Address(Domain(snapshot.domains[domain_id][0]), LocalPart(local))
