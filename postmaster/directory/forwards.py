"""Forwards: a user's mail sent on, besides the mailbox (`keep_copy`) or instead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain
from postmaster.directory import addresses, graph, users
from postmaster.directory.addresses import KEEP, Keep
from postmaster.directory.database import Change, zoned
from postmaster.directory.records import Assigned, Forward
from postmaster.directory.schema import account, target
from postmaster.errors import NotFoundError, UsageError
from postmaster.shell import word


def set_targets(
    change: Change,
    where: Address,
    targets: Sequence[Address],
    keep_copy: bool,
    until: datetime | Keep | None = KEEP,
) -> Assigned[Forward]:
    """Send a user's mail on to exactly these targets, until a moment if told so.

    Raises UsageError without targets, NotFoundError when there is no such user, RuleError for a
    loop or a target that does not exist.
    """
    if not targets:
        raise UsageError(
            "a forward needs at least one target", hint=f"postmaster forward remove {word(where)}"
        )
    connection = change.connection
    user = users.show(connection, where)
    before = _find(connection, user.id, user.address)
    addresses.assign_targets(change, graph.Node(user.id, "user", user.address), targets)
    change.update(account, user.id, {"keep_copy": keep_copy})
    if until is not KEEP:
        change.update(account, user.id, {"forward_until": addresses.plain(until)})
    after = _find(connection, user.id, user.address)
    assert after is not None
    return Assigned(before, after)


def list_all(connection: Connection, only: Domain | None = None) -> Iterator[Forward]:
    """All forwards by domain and local part. Raises NotFoundError for a domain that is not here."""
    with_targets = set(
        connection.execute(
            select(target.c.source_id).join(account, account.c.id == target.c.source_id).distinct()
        ).scalars()
    )
    for user in users.list_all(connection, only):
        if user.id in with_targets:
            forward = _find(connection, user.id, user.address)
            assert forward is not None
            yield forward


def show(connection: Connection, where: Address) -> Forward:
    """The forward of a user. Raises NotFoundError."""
    user = users.show(connection, where)
    forward = _find(connection, user.id, user.address)
    if forward is None:
        raise NotFoundError(
            f"{where} forwards nothing", hint=f"postmaster forward set {word(where)} TARGET makes it forward"
        )
    return forward


def remove(change: Change, where: Address) -> Forward:
    """Deliver to the mailbox alone again. Raises NotFoundError."""
    forward = show(change.connection, where)
    rows = change.connection.execute(select(target.c.id).where(target.c.source_id == forward.id))
    for row_id in rows.scalars().all():
        change.delete(target, row_id)
    change.update(account, forward.id, {"keep_copy": True, "forward_until": None})
    return forward


def _find(connection: Connection, user_id: int, where: Address) -> Forward | None:
    targets = graph.targets_of(connection, user_id)
    if not targets:
        return None
    query = select(account.c.keep_copy, account.c.forward_until).where(account.c.id == user_id)
    keep_copy, until = connection.execute(query).one()
    return Forward(user_id, where, targets, keep_copy, zoned(until))
