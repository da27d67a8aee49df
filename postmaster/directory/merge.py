"""Bringing the truth to what entries say, many at once: the plan, held to every rule, and the writing of it.

A plan is worked out from what is there and what is wanted, before a row is written: where each address will
lead, and which entries break a rule. So what is shown beforehand is what is done, and one bad entry among a
hundred thousand is named without any of the others being half done. The writing is that of the plan alone,
many rows at a time.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import addresses, aliases, domains, graph, users
from postmaster.directory.addresses import plain, target_rows
from postmaster.directory.app_passwords import PROTOCOLS
from postmaster.directory.batches import batches
from postmaster.directory.database import Change
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    Difference,
    DomainEntry,
    Entries,
    Entry,
    ForwardEntry,
    GrantEntry,
    Key,
    Listed,
    UserEntry,
    difference,
)
from postmaster.directory.graph import Node
from postmaster.directory.inventory import take
from postmaster.directory.schema import (
    account,
    address,
    app_password,
    domain,
    removed_mailbox,
    sender_grant,
    target,
)
from postmaster.errors import PostmasterError, RuleError

Progress = Callable[[int], None]  # is told how many entries are written


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry cannot be, and where it is listed."""

    place: str
    kind: str
    title: str
    message: str


@dataclass(slots=True)
class Wanted:
    """What a file or another system says: its entries, those of its rows that are none, and what it manages.

    `manages` are kinds of which nothing else may be left in the domains that it names; with `complete`, in
    any domain.
    """

    listed: list[Listed] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    manages: frozenset[str] = frozenset()
    complete: bool = False


@dataclass(slots=True)
class Plan:
    """What would be done, what cannot be, what is worth knowing, and how many entries are so already."""

    differences: list[Difference]
    problems: list[Problem]
    notes: list[str]
    unchanged: int

    def count(self, action: str) -> int:
        return sum(1 for one in self.differences if one.action == action)


def plan(
    connection: Connection, wanted: Wanted, *, update: bool, progress: Callable[[str], None] = lambda _: None
) -> Plan:
    """How to get from what is there to what is wanted, less what breaks a rule, which is named.

    Without `update` an entry that is there and says otherwise is a problem. Reads only.
    """
    progress("comparing")
    listed, problems = _unique(_at_home(connection, wanted.listed))
    problems = [*wanted.problems, *problems]
    after = Entries(one.entry for one in listed)
    places = {(one.entry.kind, one.entry.key): one.place for one in listed}
    names = None if wanted.complete else {one.entry.home.ascii for one in listed}
    before = Entries(take(connection, domains=names))
    managed = _managed(wanted, listed, before)
    found = difference(before, after, managed)
    if not update:
        changed = [one for one in found if one.action == "change"]
        problems += [
            Problem(
                places[one.entry.kind, one.entry.key],
                one.entry.kind,
                one.entry.title,
                f"is there already with other values: {', '.join(one.values)}",
            )
            for one in changed
        ]
        found = [one for one in found if one.action != "change"]
    progress("checking")
    bad: list[Problem] = []
    while True:
        check = _Check(connection, found)
        now = check.problems()
        if not now:
            break
        bad += [
            Problem(places.get((kind, key), ""), kind, check.titles[kind, key], text)
            for (kind, key), text in now.items()
        ]
        found = [one for one in found if (one.entry.kind, one.entry.key) not in now]
    notes = [*wanted.notes, *check.notes()]
    unchanged = len(after) - sum(1 for one in found if one.action != "delete") - len(bad)
    return Plan(found, [*problems, *bad], notes, max(0, unchanged))


def write(change: Change, differences: Sequence[Difference], progress: Progress = lambda _: None) -> None:
    """Do exactly this, in the transaction it was planned in. Removed users' mail belongs to the trash."""
    _Writer(change, differences, progress).run()


def _unique(listed: Iterable[Listed]) -> tuple[list[Listed], list[Problem]]:
    first: dict[tuple[str, Key], Listed] = {}
    problems = []
    for one in listed:
        name = (one.entry.kind, one.entry.key)
        there = first.setdefault(name, one)
        if there is not one and there.entry != one.entry:
            where = f" at {there.place}" if there.place else ""
            problems.append(
                Problem(one.place, one.entry.kind, one.entry.title, f"is listed{where} with other values")
            )
    return list(first.values()), problems


def _at_home(connection: Connection, listed: list[Listed]) -> list[Listed]:
    """Grants name the hosted domain and no extension, as the truth has them."""
    homes = {
        one.entry.domain: one.entry.alias_of
        for one in listed
        if isinstance(one.entry, DomainEntry) and one.entry.alias_of is not None
    }
    for one in listed:
        if isinstance(one.entry, GrantEntry):
            other = one.entry.address
            if other.domain not in homes:
                here = graph.hosted(connection, other.domain)
                homes[other.domain] = here.home if here is not None else other.domain
            home = homes[other.domain] or other.domain
            if other.domain != home or other != other.without_extension:
                one.entry = replace(one.entry, address=Address(home, other.without_extension.local))
    return listed


def _managed(wanted: Wanted, listed: list[Listed], before: Entries) -> list[Entry]:
    """What is there and managed and not wanted any more."""
    if not wanted.manages:
        return []
    if wanted.complete:
        names = None
    elif "domain" in wanted.manages:
        names = {one.entry.home for one in listed if one.entry.kind == "domain"}
    else:
        names = {one.entry.home for one in listed}
    there = {(one.entry.kind, one.entry.key) for one in listed}
    return [
        entry
        for entry in before
        if entry.kind in wanted.manages
        and (entry.kind, entry.key) not in there
        and (names is None or (entry.kind != "domain" and entry.home in names))
    ]


class _Check:
    """The directory as it will be: what is planned, laid over what is there."""

    def __init__(self, connection: Connection, differences: Sequence[Difference]) -> None:
        self._connection = connection
        self._differences = differences
        self.titles = {(one.entry.kind, one.entry.key): one.entry.title for one in differences}
        self._domains: dict[Domain, DomainEntry | None] = {}
        self._planned: dict[Address, Difference] = {}  # users and aliases; a new one before an old one
        self._hosted: dict[Domain, tuple[Domain, bool] | None] = {}
        self._nodes: dict[Address, Node | None] = {}
        self._new: dict[Address, Node] = {}
        self._targets: dict[int, tuple[Address, ...]] = {}
        self._found: dict[tuple[str, Key], str] = {}
        self._going = {(one.entry.kind, one.entry.key) for one in differences if one.after is None}
        for one in differences:
            entry = one.entry
            if isinstance(entry, DomainEntry):
                self._domains[entry.domain] = None if one.after is None else entry
            elif isinstance(entry, UserEntry | AliasEntry) and (
                one.after is not None or entry.address not in self._planned
            ):
                self._planned[entry.address] = one
        present_addresses(connection, self._asked(), self._nodes)
        for number, (where, one) in enumerate(self._planned.items(), 1):
            if one.before is None:
                self._new[where] = Node(-number, one.entry.kind, where)
        for one in differences:
            if isinstance(one.entry, AliasEntry | ForwardEntry):
                node = self.node(one.entry.address)
                if node is not None and node.kind == ("alias" if one.entry.kind == "alias" else "user"):
                    self._targets[node.id] = () if one.after is None else one.entry.targets

    def _asked(self) -> set[Address]:
        found = set(self._planned)
        for one in self._differences:
            if isinstance(one.entry, GrantEntry | AppPasswordEntry):
                found.add(one.entry.user)
            elif isinstance(one.entry, ForwardEntry):
                found.add(one.entry.address)
        return found

    def hosted(self, name: Domain) -> tuple[Domain, bool] | None:
        """(where its addresses are, whether it is an alias domain) of a domain that will be served here."""
        if name in self._domains:
            entry = self._domains[name]
            return None if entry is None else (entry.alias_of or entry.domain, entry.alias_of is not None)
        if name not in self._hosted:
            here = graph.hosted(self._connection, name)
            self._hosted[name] = None if here is None else (here.home, here.is_alias)
        return self._hosted[name]

    def node(self, where: Address) -> Node | None:
        """The user or alias that will have this very address in a hosted domain."""
        planned = self._planned.get(where)
        if planned is not None:
            if planned.after is None:
                return None
            if planned.before is None:
                return self._new.get(where)
        return self._present(where)

    def _present(self, where: Address) -> Node | None:
        if where not in self._nodes:
            here = graph.hosted(self._connection, where.domain)
            self._nodes[where] = (
                None
                if here is None or here.is_alias
                else graph.find(self._connection, here.home_id, here.home, where.local.text)
            )
        return self._nodes[where]

    def lead(self, where: Address) -> tuple[bool, Node | None]:
        here = self.hosted(where.domain)
        if here is None:
            return False, None
        home, is_alias = here
        found = self.node(Address(home, LocalPart(where.local.base)))
        if found is None and not is_alias:
            found = self.node(Address(home, LocalPart("")))
        return True, found

    def targets_of(self, source_id: int) -> tuple[Address, ...]:
        if source_id not in self._targets:
            self._targets[source_id] = () if source_id < 0 else graph.targets_of(self._connection, source_id)
        return self._targets[source_id]

    def problems(self) -> dict[tuple[str, Key], str]:
        """(kind, key) -> why it cannot be."""
        folders: dict[str, str] = {}
        self._taken_folders(folders)
        digests = self._taken_digests()
        for one in self._differences:
            try:
                self._look_at(one, folders, digests)
            except PostmasterError as error:
                self._found[one.entry.kind, one.entry.key] = error.message
        return self._found

    def notes(self) -> list[str]:
        """Targets that led out of the house and will lead nowhere, as their domain is hosted now."""
        found = []
        for name, entry in self._domains.items():
            if entry is None or graph.hosted(self._connection, name) is not None:
                continue
            for source_id, source, to in _naming(self._connection, name):
                node = self.node(source)
                stays = node is not None and node.id == source_id and to in self.targets_of(source_id)
                if stays and self.lead(to) == (True, None):
                    found.append(f"{source} leads to {to}, which does not exist")
        return found

    def _look_at(self, one: Difference, folders: dict[str, str], digests: set[str]) -> None:
        entry = one.entry
        if isinstance(entry, DomainEntry):
            self._domain(one, entry)
        elif one.after is None:
            if isinstance(entry, UserEntry | AliasEntry):
                self._unneeded(entry.address)
        elif isinstance(entry, UserEntry | AliasEntry):
            self._address(one, entry)
            if isinstance(entry, UserEntry):
                self._folder(one, entry, folders)
            else:
                self._lists(entry, "alias")
        elif isinstance(entry, ForwardEntry):
            self._user(entry.address)
            self._lists(entry, "user")
        else:
            self._user(entry.user)
            if isinstance(entry, GrantEntry):
                if self.hosted(entry.address.domain) is None:
                    raise RuleError(
                        f"{entry.address.domain} is not hosted here; nobody may send as an address elsewhere"
                    )
                if entry.address == entry.user:
                    raise RuleError(f"{entry.user} is its own address and may be sent as already")
            elif one.before is None or one.before.sha256 != entry.sha256:  # type: ignore[union-attr]
                if entry.sha256 in digests:
                    raise RuleError("the same app password is somebody's already")
                digests.add(entry.sha256)

    def _domain(self, one: Difference, entry: DomainEntry) -> None:
        if one.after is None:
            self._empty(entry)
        elif one.before is not None:
            raise RuleError(f"domain {entry.domain} is there, and what it stands for is not changed in bulk")
        elif entry.alias_of is not None:
            home = self.hosted(entry.alias_of)
            if entry.alias_of == entry.domain:
                raise RuleError(f"domain {entry.domain} cannot be an alias of itself")
            if home is None:
                raise RuleError(f"domain {entry.alias_of} is not hosted here")
            if home[1]:
                raise RuleError(f"domain {entry.alias_of} is itself an alias of {home[0]}")

    def _empty(self, entry: DomainEntry) -> None:
        """A domain that goes must have nothing left in it, and nothing that leads through it."""
        here = graph.hosted(self._connection, entry.domain)
        assert here is not None
        if not here.is_alias:
            rows = self._connection.execute(
                select(address.c.local_part).where(address.c.domain_id == here.id)
            ).scalars()
            left = [
                where.unicode
                for local in rows
                if self.node(where := Address(entry.domain, LocalPart(local))) is not None
            ]
            twins = self._connection.execute(select(domain.c.name).where(domain.c.alias_of_id == here.id))
            left += [
                str(Domain(name))
                for name in twins.scalars()
                if self._domains.get(Domain(name), 0) is not None
            ]
            if left:
                raise RuleError(f"domain {entry.domain} still has {domains.named(left)}")
        through = [
            source.unicode
            for source_id, source, to in _naming(self._connection, entry.domain)
            if (node := self.node(source)) is not None
            and node.id == source_id
            and to in self.targets_of(source_id)
        ]
        if through:
            raise RuleError(f"domain {entry.domain} is named by targets of {domains.named(through)}")

    def _address(self, one: Difference, entry: UserEntry | AliasEntry) -> None:
        here = self.hosted(entry.address.domain)
        if here is None:
            raise RuleError(f"domain {entry.address.domain} is not hosted here")
        if here[1]:
            raise RuleError(
                f"domain {entry.address.domain} is an alias of {here[0]} and holds no addresses of its own"
            )
        if self._planned[entry.address] is not one:
            raise RuleError(f"{entry.address} cannot be a user and an alias")
        present = self._present(entry.address)
        going = present is not None and (present.kind, entry.key) in self._going
        if present is not None and present.kind != entry.kind and not going:
            kind = {"user": "a user", "alias": "an alias"}[present.kind]
            raise RuleError(f"{entry.address} is {kind} already")

    def _lists(self, entry: AliasEntry | ForwardEntry, kind: str) -> None:
        node = self.node(entry.address)
        assert node is not None
        if not entry.targets:
            raise RuleError(f"{entry.address} leads to no address")
        graph.check_ways(self, Node(node.id, kind, entry.address), entry.targets)

    def _user(self, where: Address) -> None:
        node = self.node(where)
        if node is None or node.kind != "user":
            raise RuleError(f"there is no user {where}")

    def _folder(self, one: Difference, entry: UserEntry, folders: dict[str, str]) -> None:
        if isinstance(one.before, UserEntry):
            if entry.mail_id != one.before.mail_id:
                raise RuleError(f"the mail folder of {entry.address} is {one.before.mail_id} and stays it")
        elif entry.mail_id is not None:
            owner = folders.setdefault(entry.mail_id, entry.address.unicode)
            if owner != entry.address.unicode:
                raise RuleError(f"the mail folder {entry.mail_id} is that of {owner}")

    def _taken_folders(self, folders: dict[str, str]) -> None:
        """The folders that new users name and that somebody has, or had."""
        asked = [
            one.entry.mail_id
            for one in self._differences
            if one.before is None and isinstance(one.entry, UserEntry) and one.entry.mail_id is not None
        ]
        for part in batches(asked):
            for table, whose in ((account, "another user"), (removed_mailbox, "a user who was removed")):
                rows = self._connection.execute(select(table.c.mail_id).where(table.c.mail_id.in_(part)))
                folders.update((mail_id, whose) for mail_id in rows.scalars())

    def _taken_digests(self) -> set[str]:
        asked = [one.entry.sha256 for one in self._differences if isinstance(one.entry, AppPasswordEntry)]
        found: set[str] = set()
        for part in batches(asked):
            query = select(app_password.c.sha256).where(app_password.c.sha256.in_(part))
            found.update(self._connection.execute(query).scalars())
        return found

    def _unneeded(self, where: Address) -> None:
        """Nothing that stays may lead to an address that goes, unless something else answers there."""
        present = self._present(where)
        if present is None:
            return
        found = (
            addresses.through_catch_all(self._connection, present)
            if where.is_catch_all
            else graph.sources_of(self._connection, where)
        )
        for _, source_id, source in found:
            node = self.node(source)
            if node is None or node.id != source_id:
                continue
            for to in self.targets_of(source_id):
                meant = where.is_catch_all or to.local.base == where.local.text
                if meant and self.lead(to) == (True, None):
                    raise RuleError(f"{source} leads to {to}, and would lead nowhere")


def present_addresses(
    connection: Connection, asked: Collection[Address], found: dict[Address, Node | None]
) -> None:
    """Note of each of these addresses which user or alias it is now, many with each query."""
    by_domain: dict[Domain, list[str]] = defaultdict(list)
    for where in asked:
        by_domain[where.domain].append(where.local.text)
        found[where] = None
    for name, locals_ in by_domain.items():
        here = graph.hosted(connection, name)
        if here is None or here.is_alias:
            continue
        for part in batches(locals_):
            query = select(address.c.id, address.c.kind, address.c.local_part).where(
                address.c.domain_id == here.id, address.c.local_part.in_(part)
            )
            for row in connection.execute(query):
                where = Address(name, LocalPart(row.local_part))
                found[where] = Node(row.id, row.kind, where)


def _naming(connection: Connection, name: Domain) -> list[tuple[int, Address, Address]]:
    """(source id, source, target) of each target in a domain."""
    rows = connection.execute(
        select(target.c.source_id, target.c.local_part, address.c.local_part.label("own"), domain.c.name)
        .join_from(target, address, target.c.source_id == address.c.id)
        .join(domain, address.c.domain_id == domain.c.id)
        .where(target.c.domain == name.ascii)
        .order_by(target.c.id)
    )
    return [
        (
            row.source_id,
            Address(Domain(row.name), LocalPart(row.own)),
            Address(name, LocalPart(row.local_part)),
        )
        for row in rows
    ]


class _Writer:
    def __init__(self, change: Change, differences: Sequence[Difference], progress: Progress) -> None:
        self._change = change
        self._progress = progress
        self._done = 0
        self._ids: dict[Address, int] = {}  # of users and aliases
        self._by: dict[tuple[str, str], list[Difference]] = defaultdict(list)
        for one in differences:
            self._by[one.action, one.entry.kind].append(one)

    def run(self) -> None:
        self._delete()
        self._domains()
        self._new_addresses()
        self._changed_users()
        self._lists()
        self._grants()
        self._app_passwords()
        gone = [one.entry for one in self._by["delete", "domain"] if isinstance(one.entry, DomainEntry)]
        for entry in sorted(gone, key=lambda entry: entry.alias_of is None):  # alias domains first
            domains.remove(self._change, entry.domain)
            self._tell(1)

    def _tell(self, count: int) -> None:
        self._done += count
        self._progress(self._done)

    def _delete(self) -> None:
        change = self._change
        going = {one.entry.key for one in self._by["delete", "user"]}
        for kind in ("app_password", "grant", "forward"):
            for one in self._by["delete", kind]:
                if one.entry.key[:1] not in going:
                    self._delete_part(one.entry)
                self._tell(1)
        for one in self._by["delete", "alias"]:
            assert isinstance(one.entry, AliasEntry)
            alias_id = aliases.show(change.connection, one.entry.address).id
            self._replace_targets(alias_id, ())
            change.delete(address, alias_id)
            self._tell(1)
        for one in self._by["delete", "user"]:
            assert isinstance(one.entry, UserEntry)
            users.discard(change, users.show(change.connection, one.entry.address), mail="trash")
            self._tell(1)

    def _delete_part(self, entry: Entry) -> None:
        if isinstance(entry, ForwardEntry):
            user_id = self._id(entry.address)
            self._replace_targets(user_id, ())
            self._change.update(account, user_id, {"keep_copy": True, "forward_until": None})
            return
        if isinstance(entry, GrantEntry):
            here = domains.require(self._change.connection, entry.address.domain)
            query = select(sender_grant.c.id).where(
                sender_grant.c.account_id == self._id(entry.user),
                sender_grant.c.domain_id == here.home_id,
                sender_grant.c.local_part == entry.address.local.text,
            )
            self._change.delete(sender_grant, self._change.connection.execute(query).scalar_one())
        elif isinstance(entry, AppPasswordEntry):
            query = select(app_password.c.id).where(
                app_password.c.account_id == self._id(entry.user), app_password.c.name == entry.name
            )
            self._change.delete(app_password, self._change.connection.execute(query).scalar_one())

    def _domains(self) -> None:
        made = [one.entry for one in self._by["create", "domain"] if isinstance(one.entry, DomainEntry)]
        for of_aliases in (False, True):
            part = [entry for entry in made if (entry.alias_of is not None) is of_aliases]
            rows = [
                {
                    "name": entry.domain.ascii,
                    "alias_of_id": None
                    if entry.alias_of is None
                    else domains.require(self._change.connection, entry.alias_of).id,
                    "created_at": plain(entry.created_at) or self._change.now,
                }
                for entry in part
            ]
            self._change.insert_many(domain, rows)
            self._tell(len(rows))

    def _new_addresses(self) -> None:
        change = self._change
        made = [
            one.entry
            for kind in ("user", "alias")
            for one in self._by["create", kind]
            if isinstance(one.entry, UserEntry | AliasEntry)
        ]
        forwards = {
            one.entry.address: one.entry
            for one in self._by["create", "forward"]
            if isinstance(one.entry, ForwardEntry)
        }
        homes = {
            name: domains.require_home(change.connection, name)
            for name in {one.address.domain for one in made}
        }
        for first in range(0, len(made), _LOT):
            part = made[first : first + _LOT]
            rows = [
                {
                    "domain_id": homes[entry.address.domain],
                    "local_part": entry.address.local.text,
                    "kind": entry.kind,
                    "created_at": plain(entry.created_at) or change.now,
                    "until": plain(entry.until),
                }
                for entry in part
            ]
            ids = change.insert_many(address, rows)
            self._ids.update((entry.address, row_id) for entry, row_id in zip(part, ids, strict=True))
            accounts = []
            for entry, row_id in zip(part, ids, strict=True):
                if isinstance(entry, UserEntry):
                    forward = forwards.get(entry.address)
                    accounts.append(
                        {
                            "id": row_id,
                            "mail_id": entry.mail_id or secrets.token_hex(10),
                            "name": entry.name,
                            "password": entry.password or "",
                            **{switch: getattr(entry, switch) for switch in users.SWITCHES},
                            "keep_copy": forward is None or forward.keep_copy,
                            "quota": entry.quota_bytes,
                            "locked_at": plain(entry.locked_at),
                            "forward_until": None if forward is None else plain(forward.until),
                        }
                    )
            change.insert_many(account, accounts)
            self._tell(len(part))

    def _changed_users(self) -> None:
        for one in self._by["change", "user"]:
            entry = one.entry
            assert isinstance(entry, UserEntry)
            user_id = self._id(entry.address)
            values = {
                "name": entry.name,
                "password": entry.password or "",
                **{switch: getattr(entry, switch) for switch in users.SWITCHES},
                "quota": entry.quota_bytes,
                "locked_at": plain(entry.locked_at),
            }
            self._change.update(account, user_id, values)
            self._change.update(address, user_id, {"until": plain(entry.until)})
            self._tell(1)

    def _lists(self) -> None:
        """The targets of aliases and forwards, after every address that they may name is there."""
        rows = []
        for action in ("change", "create"):
            for kind in ("alias", "forward"):
                for one in self._by[action, kind]:
                    entry = one.entry
                    assert isinstance(entry, AliasEntry | ForwardEntry)
                    source_id = self._id(entry.address)
                    if isinstance(entry, ForwardEntry):
                        values = {"keep_copy": entry.keep_copy, "forward_until": plain(entry.until)}
                        self._change.update(account, source_id, values)
                    elif action == "change":
                        self._change.update(address, source_id, {"until": plain(entry.until)})
                    if isinstance(one.before, AliasEntry | ForwardEntry):
                        if one.before.targets == entry.targets:
                            continue
                        self._replace_targets(source_id, ())
                    rows += target_rows(source_id, entry.targets)
                    self._tell(1)
        self._change.insert_many(target, rows)

    def _replace_targets(self, source_id: int, wanted: Sequence[Address]) -> None:
        query = select(target.c.id).where(target.c.source_id == source_id)
        for row_id in self._change.connection.execute(query).scalars().all():
            self._change.delete(target, row_id)
        self._change.insert_many(target, target_rows(source_id, wanted))

    def _grants(self) -> None:
        made = [one.entry for one in self._by["create", "grant"] if isinstance(one.entry, GrantEntry)]
        homes = {
            name: domains.require(self._change.connection, name).home_id
            for name in {entry.address.domain for entry in made}
        }
        rows = [
            {
                "account_id": self._id(entry.user),
                "domain_id": homes[entry.address.domain],
                "local_part": entry.address.local.text,
                "created_at": plain(entry.created_at) or self._change.now,
            }
            for entry in made
        ]
        self._change.insert_many(sender_grant, rows)
        self._tell(len(rows))

    def _app_passwords(self) -> None:
        for one in self._by["change", "app_password"]:
            assert one.before is not None
            self._delete_part(one.before)
        made = [
            one.entry
            for action in ("change", "create")
            for one in self._by[action, "app_password"]
            if isinstance(one.entry, AppPasswordEntry)
        ]
        rows = [
            {
                "account_id": self._id(entry.user),
                "name": entry.name,
                "sha256": entry.sha256,
                **{protocol: protocol in entry.protocols for protocol in PROTOCOLS},
                "created_at": plain(entry.created_at) or self._change.now,
            }
            for entry in made
        ]
        self._change.insert_many(app_password, rows)
        self._tell(len(rows))

    def _id(self, where: Address) -> int:
        found = self._ids.get(where)
        if found is None:
            here = domains.require(self._change.connection, where.domain)
            node = graph.find(self._change.connection, here.home_id, here.home, where.local.text)
            assert node is not None
            found = self._ids[where] = node.id
        return found


_LOT = 2000  # addresses written at a time
