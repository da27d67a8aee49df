"""What a directory consists of, as plain values: what files of it hold and what two of them differ in.

An entry is one domain, user, alias, forward, grant or app password; `key` says which one. Two directories
are the same when they have the same entries under the same keys.

`None` in a field of LENIENT means that nothing is said of it: it is left as it is, and what is made anew gets
what suits it (no password, a folder of its own, this moment). In any other field `None` is a value: no quota,
no end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar

from postmaster.address import Address, Domain

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DomainEntry:
    kind: ClassVar[str] = "domain"
    domain: Domain
    alias_of: Domain | None = None
    created_at: datetime | None = None

    @property
    def key(self) -> Key:
        return (self.domain.ascii,)

    @property
    def home(self) -> Domain:
        """The domain that it is in."""
        return self.domain

    @property
    def title(self) -> str:
        return self.domain.unicode


@dataclass(frozen=True, slots=True)
class _AddressEntry:
    """What is known by its address alone."""

    address: Address

    @property
    def key(self) -> Key:
        return (self.address.ascii,)

    @property
    def home(self) -> Domain:
        return self.address.domain

    @property
    def title(self) -> str:
        return self.address.unicode


@dataclass(frozen=True, slots=True)
class UserEntry(_AddressEntry):
    """`password` is `{SCHEME}hash`, empty for none; `quota_bytes` None for none."""

    kind: ClassVar[str] = "user"
    name: str = ""
    password: str | None = None
    login: bool = True
    imap: bool = True
    pop3: bool = True
    send: bool = True
    receive: bool = True
    quota_bytes: int | None = None
    until: datetime | None = None
    locked_at: datetime | None = None
    mail_id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AliasEntry(_AddressEntry):
    kind: ClassVar[str] = "alias"
    targets: tuple[Address, ...] = ()
    until: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ForwardEntry(_AddressEntry):
    kind: ClassVar[str] = "forward"
    targets: tuple[Address, ...] = ()
    keep_copy: bool = True
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class GrantEntry:
    kind: ClassVar[str] = "grant"
    user: Address
    address: Address
    created_at: datetime | None = None

    @property
    def key(self) -> Key:
        return (self.user.ascii, self.address.ascii)

    @property
    def home(self) -> Domain:
        return self.user.domain

    @property
    def title(self) -> str:
        return f"{self.user.unicode} as {self.address.unicode}"


@dataclass(frozen=True, slots=True)
class AppPasswordEntry:
    kind: ClassVar[str] = "app_password"
    user: Address
    name: str
    sha256: str
    protocols: tuple[str, ...] = ()
    created_at: datetime | None = None

    @property
    def key(self) -> Key:
        return (self.user.ascii, self.name)

    @property
    def home(self) -> Domain:
        return self.user.domain

    @property
    def title(self) -> str:
        return f"{self.user.unicode} {self.name}"


Entry = DomainEntry | UserEntry | AliasEntry | ForwardEntry | GrantEntry | AppPasswordEntry

#: Kind -> its class; what others lean on first.
CLASSES: dict[str, type[Entry]] = {
    one.kind: one for one in (DomainEntry, UserEntry, AliasEntry, ForwardEntry, GrantEntry, AppPasswordEntry)
}
#: Kind -> its fields, in order.
FIELDS: dict[str, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(one)) for kind, one in CLASSES.items()
}
#: Fields of which a file need say nothing.
LENIENT = frozenset({"password", "locked_at", "mail_id", "created_at"})
#: Fields that are set when a thing is made and never after.
FIXED = frozenset({"created_at"})


@dataclass(slots=True)
class Listed:
    """An entry as somebody lists it, and where: for a message about it.

    `clear_text` is a user's password that is yet to be hashed (`clear_text.py`); it is never shown.
    """

    entry: Entry
    place: str = ""
    clear_text: str | None = field(default=None, repr=False)


class Entries:
    """Many entries by kind and key."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.by_kind: dict[str, dict[Key, Entry]] = {kind: {} for kind in CLASSES}
        for entry in entries:
            self.by_kind[entry.kind][entry.key] = entry

    def __iter__(self) -> Iterator[Entry]:
        for found in self.by_kind.values():
            yield from found.values()

    def __len__(self) -> int:
        return sum(map(len, self.by_kind.values()))


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be done to one entry: `before` None makes it, `after` None takes it away."""

    before: Entry | None
    after: Entry | None

    @property
    def entry(self) -> Entry:
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def action(self) -> str:
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"

    @property
    def values(self) -> dict[str, tuple[Any, Any]]:
        """Field -> (before, after), of those that differ."""
        return {
            name: (old, new)
            for name in FIELDS[self.entry.kind]
            if name not in FIXED
            for old, new in [(getattr(self.before, name, None), getattr(self.after, name, None))]
            if old != new
        }


def difference(before: Entries, after: Entries, removing: Iterable[Entry] = ()) -> list[Difference]:
    """What leads from one to the other: made and changed as `after` has it, and `removing` taken away.

    A field of LENIENT that `after` says nothing of is no difference.
    """
    found = [Difference(entry, None) for entry in removing]
    for kind, entries in after.by_kind.items():
        there = before.by_kind[kind]
        for key, entry in entries.items():
            old = there.get(key)
            if old is None:
                found.append(Difference(None, entry))
            elif (wanted := completed(old, entry)) != old:
                found.append(Difference(old, wanted))
    return found


def completed(old: Entry, new: Entry) -> Entry:
    """The new one with what it says nothing of, and what is never changed, as the old one has it."""
    from dataclasses import replace

    names = [
        name for name in FIELDS[new.kind] if name in FIXED or (name in LENIENT and getattr(new, name) is None)
    ]
    if all(getattr(new, name) == getattr(old, name) for name in names):
        return new
    return replace(new, **{name: getattr(old, name) for name in names})
