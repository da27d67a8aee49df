"""Grants: a user may send as other addresses of ours than the own one, or as a whole domain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.records import Grant
from postmaster.directory.schema import address, domain, sender_grant


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
