"""What the directory holds, as immutable values: results of reads and changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from postmaster.address import Address, Domain

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A hosted domain, or an alias domain (`alias_of` names the hosted one it stands for)."""

    id: int
    name: Domain
    alias_of: Domain | None
    users: int
    aliases: int
    created_at: datetime  # with zone, UTC


@dataclass(frozen=True, slots=True)
class User:
    """A mailbox and its login. `quota` is in bytes, None for none; `scheme` names the hash."""

    id: int
    address: Address
    mail_id: str
    name: str
    scheme: str
    login: bool
    imap: bool
    pop3: bool
    send: bool
    receive: bool
    quota: int | None
    created_at: datetime
    until: datetime | None  # when the address ends; None: never
    locked_at: datetime | None

    def may_log_in(self, moment: datetime) -> bool:
        """Whether the login is open at a moment; a password is another question (`scheme`)."""
        return self.login and self.locked_at is None and (self.until is None or moment < self.until)

    def may_send(self, moment: datetime) -> bool:
        """Whether submission takes mail from the login at a moment."""
        return self.send and self.may_log_in(moment)


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password for one program; `protocols` are of imap, pop3 and send. The secret itself is not kept."""

    id: int
    address: Address
    name: str
    protocols: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RemovedMailbox:
    """What is left of a removed user. `mail` says where the folder belongs: trash, keep (in its place), or
    delete where a deletion was begun.
    """

    id: int
    account_id: int
    address: Address
    mail_id: str
    mail: str
    removed_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """A user may send as another address of ours; an empty local part is every address of the domain."""

    id: int
    user: Address
    address: Address
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Alias:
    """An address without a mailbox and where its mail goes. A catch-all has an empty local part."""

    id: int
    address: Address
    targets: tuple[Address, ...]
    created_at: datetime
    until: datetime | None  # when the address ends; None: never


@dataclass(frozen=True, slots=True)
class Forward:
    """Where a user's mail goes besides (`keep_copy`) or instead of the mailbox."""

    id: int
    address: Address
    targets: tuple[Address, ...]
    keep_copy: bool
    until: datetime | None  # when the mailbox gets everything again; None: never


@dataclass(frozen=True, slots=True)
class Added(Generic[Record]):
    """A new object, and what its maker should know."""

    record: Record
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assigned(Generic[Record]):
    """An object that was given a value; `before` is None where there was none."""

    before: Record | None
    after: Record


@dataclass(frozen=True, slots=True)
class Updated(Generic[Record]):
    """An object before and after a change of some of its values."""

    before: Record
    after: Record
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed(Generic[Record]):
    """An object that is gone, and the aliases and forwards that no longer name it."""

    record: Record
    dropped_from: tuple[Address, ...] = ()
