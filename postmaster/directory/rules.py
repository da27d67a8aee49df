"""The rules that a plan is held to, all of it at once: which of its entries cannot be, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, select

from postmaster.address import Address, Domain, LocalPart
from postmaster.directory import addresses, domains, graph
from postmaster.directory.batches import batches
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    Difference,
    DomainEntry,
    ForwardEntry,
    GrantEntry,
    Key,
    UserEntry,
)
from postmaster.directory.graph import Node
from postmaster.directory.planned import Planned
from postmaster.directory.schema import account, address, app_password, domain, removed_mailbox, target
from postmaster.errors import PostmasterError, RuleError


class Rules:
    """What a plan breaks, and what it leaves leading nowhere."""

    def __init__(self, connection: Connection, differences: Sequence[Difference]) -> None:
        self._connection = connection
        self._differences = differences
        self._will_be = Planned(connection, differences)
        self._checks = graph.Checks(self._will_be)

    def problems(self) -> dict[tuple[str, Key], str]:
        """(kind, key) -> why it cannot be."""
        found: dict[tuple[str, Key], str] = {}
        folders, digests = self._taken_folders(), self._taken_digests()
        self._will_be.look_for(
            to
            for one in self._differences
            if one.after is not None and isinstance(one.entry, AliasEntry | ForwardEntry)
            for to in one.entry.targets
        )
        for one in self._differences:
            try:
                self._look_at(one, folders, digests)
            except PostmasterError as error:
                found[one.entry.kind, one.entry.key] = error.message
        if found:
            self._follow_up(found)
        return found

    def _follow_up(self, found: dict[tuple[str, Key], str]) -> None:
        """What leans on an address that cannot be, or stays, is named too, over any number of hops.

        Who asks again without what was found here would find one hop more each time.
        """
        leaning: dict[Address, list[Difference]] = defaultdict(list)
        going: dict[Address, Difference] = {}
        for one in self._differences:
            entry = one.entry
            if one.after is None and isinstance(entry, UserEntry | AliasEntry):
                going[entry.address] = one
            elif one.after is not None and isinstance(entry, AliasEntry | ForwardEntry):
                for to in entry.targets:
                    leaning[self._home(to)].append(one)
        waiting = [one for one in self._differences if (one.entry.kind, one.entry.key) in found]
        while waiting:
            one = waiting.pop()
            entry = one.entry
            if not isinstance(entry, UserEntry | AliasEntry) or not self._will_be.drop(one):
                continue
            others = leaning.get(entry.address, [])
            if one.after is None:
                node = self._will_be.present(entry.address)
                targets = () if node is None else self._will_be.targets_of(node.id)
                others = [going[home] for home in map(self._home, targets) if home in going]
            for other in others:
                if (other.entry.kind, other.entry.key) not in found:
                    try:
                        self._lean(other)
                    except RuleError as error:
                        found[other.entry.kind, other.entry.key] = error.message
                        waiting.append(other)

    def _lean(self, one: Difference) -> None:
        """Whether what it leans on, or what leans on it, allows it still. Raises RuleError."""
        assert isinstance(one.entry, UserEntry | AliasEntry | ForwardEntry)
        if one.after is None:
            self._unneeded(one.entry.address)
        elif isinstance(one.entry, AliasEntry | ForwardEntry):
            node = self._will_be.node(one.entry.address)
            if node is not None:
                graph.leads_of(self._will_be, node, one.entry.targets)

    def _home(self, where: Address) -> Address:
        """The address that a target means, as far as it is one of ours."""
        here = self._will_be.hosted(where.domain)
        return Address(here[0] if here is not None else where.domain, LocalPart(where.local.base))

    def notes(self) -> list[str]:
        """Targets that led out of the house and will lead nowhere, as their domain is hosted now."""
        found = []
        for name, entry in self._will_be.domains.items():
            if entry is None or graph.hosted(self._connection, name) is not None:
                continue
            for source_id, source, to in _naming(self._connection, name):
                node = self._will_be.node(source)
                stays = (
                    node is not None and node.id == source_id and to in self._will_be.targets_of(source_id)
                )
                if stays and self._will_be.lead(to) == (True, None):
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
                if self._will_be.hosted(entry.address.domain) is None:
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
            home = self._will_be.hosted(entry.alias_of)
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
                if self._will_be.node(where := Address(entry.domain, LocalPart(local))) is not None
            ]
            twins = self._connection.execute(select(domain.c.name).where(domain.c.alias_of_id == here.id))
            left += [
                str(Domain(name))
                for name in twins.scalars()
                if self._will_be.domains.get(Domain(name), 0) is not None
            ]
            if left:
                raise RuleError(f"domain {entry.domain} still has {domains.named(left)}")
        through = [
            source.unicode
            for source_id, source, to in _naming(self._connection, entry.domain)
            if (node := self._will_be.node(source)) is not None
            and node.id == source_id
            and to in self._will_be.targets_of(source_id)
        ]
        if through:
            raise RuleError(f"domain {entry.domain} is named by targets of {domains.named(through)}")

    def _address(self, one: Difference, entry: UserEntry | AliasEntry) -> None:
        here = self._will_be.hosted(entry.address.domain)
        if here is None:
            raise RuleError(f"domain {entry.address.domain} is not hosted here")
        if here[1]:
            raise RuleError(
                f"domain {entry.address.domain} is an alias of {here[0]} and holds no addresses of its own"
            )
        if not self._will_be.is_at(entry.address, one):
            raise RuleError(f"{entry.address} cannot be a user and an alias")
        present = self._will_be.present(entry.address)
        if present is not None and present.kind != entry.kind and not self._will_be.goes(present.kind, entry):
            kind = {"user": "a user", "alias": "an alias"}[present.kind]
            raise RuleError(f"{entry.address} is {kind} already")

    def _lists(self, entry: AliasEntry | ForwardEntry, kind: str) -> None:
        node = self._will_be.node(entry.address)
        assert node is not None
        if not entry.targets:
            raise RuleError(f"{entry.address} leads to no address")
        self._checks.check(Node(node.id, kind, entry.address), entry.targets)

    def _user(self, where: Address) -> None:
        node = self._will_be.node(where)
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

    def _taken_folders(self) -> dict[str, str]:
        """The folders that new users name and that somebody has, or had, and who."""
        found: dict[str, str] = {}
        asked = [
            one.entry.mail_id
            for one in self._differences
            if one.before is None and isinstance(one.entry, UserEntry) and one.entry.mail_id is not None
        ]
        for part in batches(asked):
            for table, whose in ((account, "another user"), (removed_mailbox, "a user who was removed")):
                rows = self._connection.execute(select(table.c.mail_id).where(table.c.mail_id.in_(part)))
                found.update((mail_id, whose) for mail_id in rows.scalars())
        return found

    def _taken_digests(self) -> set[str]:
        """Those of the app passwords in the plan that somebody has and keeps."""
        asked, going = set[str](), set[str]()
        for one in self._differences:
            before = one.before.sha256 if isinstance(one.before, AppPasswordEntry) else ""
            after = one.after.sha256 if isinstance(one.after, AppPasswordEntry) else ""
            asked.add(after)
            if before != after:
                going.add(before)
        found: set[str] = set()
        for part in batches(asked - {""}):
            query = select(app_password.c.sha256).where(app_password.c.sha256.in_(part))
            found.update(self._connection.execute(query).scalars())
        return found - going

    def _unneeded(self, where: Address) -> None:
        """Nothing that stays may lead to an address that goes, unless something else answers there."""
        present = self._will_be.present(where)
        if present is None:
            return
        found = (
            addresses.through_catch_all(self._connection, present)
            if where.is_catch_all
            else graph.sources_of(self._connection, where)
        )
        for _, source_id, source in found:
            node = self._will_be.node(source)
            if node is None or node.id != source_id:
                continue
            for to in self._will_be.targets_of(source_id):
                meant = where.is_catch_all or to.local.base == where.local.text
                if meant and self._will_be.lead(to) == (True, None):
                    raise RuleError(f"{source} leads to {to}, and would lead nowhere")


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
