"""Grants: a user may send as other addresses of ours than the own one, or as a whole domain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Row, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import graph, users
from postmaster.directory.database import Change
from postmaster.directory.records import Grant
from postmaster.directory.schema import address, domain, sender_grant
from postmaster.errors import ExistsError, NotFoundError, RuleError
from postmaster.shell import word


def list_all(connection: Connection) -> Iterator[Grant]:
    """All grants by what is granted, then by user."""
    home = domain.alias("home")
    rows = connection.execute(
        select(
            *(sender_grant.c.id, sender_grant.c.local_part, sender_grant.c.created_at, domain.c.name),
            *(address.c.local_part.label("user"), home.c.name.label("home")),
        )
        .join_from(sender_grant, domain, domain.c.id == sender_grant.c.domain_id)
        .join(address, address.c.id == sender_grant.c.account_id)
        .join(home, home.c.id == address.c.domain_id)
        .order_by(domain.c.name, sender_grant.c.local_part, home.c.name, address.c.local_part)
    )
    for row in rows:
        yield Grant(
            row.id,
            Address(Domain(row.home), LocalPart(row.user)),
            Address(Domain(row.name), LocalPart(row.local_part)),
            row.created_at.replace(tzinfo=UTC),
        )


def grant(change: Change, user: Address, other: Address) -> Grant:
    """Let a user send as another address of ours, or with an empty local part as its whole domain.

    A grant in an alias domain is one in the domain that it stands for. Raises NotFoundError,
    ExistsError for what the user may already, RuleError for a domain that is not here.
    """
    connection = change.connection
    owner = users.show(connection, user)
    home_id, what = _home(connection, other)
    if what == owner.address:
        raise ExistsError(
            f"{owner.address} is its own address and may be sent as already",
            hint=f"see what counts: postmaster sender explain {word(owner.address)} {word(what)}",
        )
    if _find(connection, owner.id, home_id, what) is not None:
        raise ExistsError(f"{owner.address} may send as {what} already", hint="postmaster sender list")
    values = {"account_id": owner.id, "domain_id": home_id, "local_part": what.local.text}
    row_id = change.insert(sender_grant, {**values, "created_at": change.now})
    return Grant(row_id, owner.address, what, change.now.replace(tzinfo=UTC))


def revoke(change: Change, user: Address, other: Address) -> Grant:
    """Take a grant away. Raises NotFoundError, RuleError for a domain that is not here."""
    connection = change.connection
    owner = users.show(connection, user)
    home_id, what = _home(connection, other)
    row = _find(connection, owner.id, home_id, what)
    if row is None:
        raise NotFoundError(
            f"{owner.address} has no grant to send as {what}",
            hint=f"postmaster sender list --user {word(owner.address)} shows its grants",
        )
    change.delete(sender_grant, row.id)
    return Grant(row.id, owner.address, what, row.created_at.replace(tzinfo=UTC))


def _home(connection: Connection, other: Address) -> tuple[int, Address]:
    """(id of the hosted domain that an address is in, the address there without its extension)."""
    here = graph.hosted(connection, other.domain)
    if here is None:
        raise RuleError(
            f"{other.domain} is not hosted here, and nobody may send as an address elsewhere",
            hint=f"to host it, which takes over its mail here: postmaster domain add {word(other.domain)}",
        )
    return here.home_id, Address(here.home, other.without_extension.local)


def _find(connection: Connection, account_id: int, domain_id: int, what: Address) -> Row[Any] | None:
    query = select(sender_grant).where(
        sender_grant.c.account_id == account_id,
        sender_grant.c.domain_id == domain_id,
        sender_grant.c.local_part == what.local.text,
    )
    return connection.execute(query).one_or_none()
