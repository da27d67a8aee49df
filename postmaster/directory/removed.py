"""What is left of users who were removed: where their mail belongs, until it is deleted for good."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory.batches import batches
from postmaster.directory.database import Change
from postmaster.directory.records import RemovedMailbox
from postmaster.directory.schema import account, removed_mailbox


def list_all(connection: Connection) -> list[RemovedMailbox]:
    """All of them, the oldest first."""
    found = []
    for row in connection.execute(select(removed_mailbox).order_by(removed_mailbox.c.id)):
        local, _, name = row.address.rpartition("@")
        found.append(
            RemovedMailbox(
                id=row.id,
                account_id=row.account_id,
                address=Address(Domain(name), LocalPart(local)),
                mail_id=row.mail_id,
                mail=row.mail,
                removed_at=row.removed_at.replace(tzinfo=UTC),
            )
        )
    return found


def to_delete(change: Change, one: RemovedMailbox) -> None:
    """Note that the mail is to be deleted, before the first file of it is."""
    change.update(removed_mailbox, one.id, {"mail": "delete"})


def forget(change: Change, gone: Sequence[RemovedMailbox]) -> None:
    """Nothing is left of these."""
    for one in gone:
        change.delete(removed_mailbox, one.id)


def of_users(connection: Connection, mail_ids: Collection[str]) -> list[str]:
    """Those of these folders that belong to users who are there."""
    return [
        mail_id
        for part in batches(sorted(mail_ids))
        for mail_id in connection.execute(
            select(account.c.mail_id).where(account.c.mail_id.in_(part)).order_by(account.c.mail_id)
        ).scalars()
    ]
