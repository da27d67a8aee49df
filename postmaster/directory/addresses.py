"""The name space that users and aliases share, and the targets that both can have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from sqlalchemy import Connection, func, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph
from postmaster.directory.database import Change
from postmaster.directory.domains import named, require_home
from postmaster.directory.schema import address, domain, target
from postmaster.errors import ExistsError, InUseError, NotFoundError
from postmaster.shell import word


class Keep(Enum):
    KEEP = 0


KEEP: Final = Keep.KEEP  # leave a value as it is; None would take it away

#: How each kind is called in a refusal.
_KINDS = {"user": "a user", "alias": "an alias"}


def claim(change: Change, where: Address, kind: str) -> int:
    """Make the address row of a new user or alias and give back its id.

    Raises ExistsError that names the object in the way, NotFoundError, RuleError.
    """
    home_id = require_home(change.connection, where.domain)
    there = graph.find(change.connection, home_id, where.domain, where.local.text)
    if there is not None:
        raise ExistsError(
            f"{where} is {_KINDS[there.kind]} already",
            hint=f"see it with: postmaster {there.kind} show {word(where)}",
        )
    return change.insert(
        address,
        {
            "domain_id": home_id,
            "local_part": where.local.text,
            "kind": kind,
            "created_at": change.now,
            "until": None,
        },
    )


def set_until(change: Change, address_id: int, until: datetime | Keep | None) -> None:
    """Let an address end at a moment, or with None never."""
    if until is not KEEP:
        change.update(address, address_id, {"until": plain(until)})


def plain(moment: datetime | None) -> datetime | None:
    """A time as the truth has it: UTC, without its zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def count(reading: Connection) -> int:
    number: int = reading.execute(select(func.count()).select_from(address)).scalar_one()
    return number


def some(reading: Connection, kind: str, size: int, turn: int) -> list[Address]:
    """So many addresses of a kind, spread over all of them; the same ones for the same `turn`."""
    spread = (address.c.id * (2 * (turn % 10_000) + 1)) % 1_000_003  # a prime
    query = (
        select(address.c.local_part, domain.c.name)
        .join_from(address, domain, address.c.domain_id == domain.c.id)
        .where(address.c.kind == kind)
        .order_by(spread, address.c.id)
        .limit(size)
    )
    return [Address(Domain(row.name), LocalPart(row.local_part)) for row in reading.execute(query)]


def not_found(there: graph.Node | None, where: Address, kind: str) -> NotFoundError:
    """The refusal for an address that is not there, or is of the other kind."""
    if there is None:
        return NotFoundError(
            f"there is no {kind} {where}", hint=f"postmaster {kind} list shows what there is"
        )
    other = there.kind
    return NotFoundError(
        f"{where} is {_KINDS[other]}, not {_KINDS[kind]}", hint=f"postmaster {other} show {word(where)}"
    )


def assign_targets(change: Change, source: graph.Node, targets: Sequence[Address]) -> None:
    """Check the targets and make them the only ones of the source; equal rows stay as they are.

    A target named twice counts once. Raises RuleError.
    """
    wanted = list(dict.fromkeys(targets))
    graph.check_targets(change.connection, source, wanted)
    rows = change.connection.execute(
        select(target.c.id, target.c.local_part, target.c.domain)
        .where(target.c.source_id == source.id)
        .order_by(target.c.position)
    ).all()
    present = [Address(Domain(row.domain), LocalPart(row.local_part)) for row in rows]
    if present == wanted:
        return
    for row in rows:
        change.delete(target, row.id)
    change.insert_many(target, target_rows(source.id, wanted))


def target_rows(source_id: int, targets: Sequence[Address]) -> list[dict[str, object]]:
    """Rows of the targets of an address, in order."""
    return [
        {
            "source_id": source_id,
            "position": position,
            "local_part": one.local.text,
            "base": one.local.base,
            "domain": one.domain.ascii,
        }
        for position, one in enumerate(targets)
    ]


def release(change: Change, node: graph.Node) -> tuple[Address, ...]:
    """Take an address out of every target list that names it, then take away its own targets and row.

    Gives back the addresses it was dropped from. Raises InUseError when it is the last target of
    one of them; a catch-all is needed by every target that only it answers.
    """
    connection = change.connection
    leading = [
        found
        for found in (
            through_catch_all(change.connection, node)
            if node.address.is_catch_all
            else graph.sources_of(connection, node.address)
        )
        if found[1] != node.id
    ]
    going: dict[int, set[int]] = {}
    for row_id, source_id, _ in leading:
        going.setdefault(source_id, set()).add(row_id)
    stranded = {
        source: source_id
        for _, source_id, source in leading
        if len(going[source_id]) == len(graph.targets_of(connection, source_id))
    }
    if stranded:
        first = min(stranded, key=lambda source: source.unicode)
        kind = select(address.c.kind).where(address.c.id == stranded[first])
        noun = "alias" if connection.execute(kind).scalar_one() == "alias" else "forward"
        raise InUseError(
            f"{node.address} is the last target of {named(sorted(one.unicode for one in stranded))}",
            hint=f"give it another target or remove it first: postmaster {noun} set {word(first)} ADDRESS",
        )
    for row_id, _, _ in leading:
        change.delete(target, row_id)
    for row_id in (
        connection.execute(select(target.c.id).where(target.c.source_id == node.id)).scalars().all()
    ):
        change.delete(target, row_id)
    return tuple(dict.fromkeys(source for _, _, source in leading))


def through_catch_all(connection: Connection, node: graph.Node) -> list[tuple[int, int, Address]]:
    """Like `sources_of`, for a catch-all: the targets in its domain that no address of its own answers."""
    home = address.alias("home")
    home_id = connection.execute(select(address.c.domain_id).where(address.c.id == node.id)).scalar_one()
    rows = connection.execute(
        select(target.c.id, target.c.source_id, address.c.local_part, domain.c.name)
        .join_from(target, address, target.c.source_id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(
            target.c.domain == node.address.domain.ascii,
            ~select(home.c.id)
            .where(home.c.domain_id == home_id, home.c.local_part == target.c.base)
            .exists(),
        )
        .order_by(target.c.id)
    )
    return [(row.id, row.source_id, Address(Domain(row.name), LocalPart(row.local_part))) for row in rows]
