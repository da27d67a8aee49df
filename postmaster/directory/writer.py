"""Writing what a plan says, many rows at a time, in the order in which rows lean on one another."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence

from sqlalchemy import select

from postmaster.address import Address
from postmaster.directory import aliases, domains, graph, users
from postmaster.directory.addresses import plain, target_rows
from postmaster.directory.app_passwords import PROTOCOLS
from postmaster.directory.batches import batches
from postmaster.directory.database import Change
from postmaster.directory.entries import (
    AliasEntry,
    AppPasswordEntry,
    Difference,
    DomainEntry,
    Entry,
    ForwardEntry,
    GrantEntry,
    UserEntry,
)
from postmaster.directory.schema import account, address, app_password, domain, sender_grant, target

Progress = Callable[[int], None]  # is told how many entries are written
LOT = 2000  # addresses written at a time


class Writer:
    """Writes differences in the transaction that they were planned in."""

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
        for first in range(0, len(made), LOT):
            part = made[first : first + LOT]
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
        entries = [one.entry for one in self._by["change", "user"] if isinstance(one.entry, UserEntry)]
        there = graph.find_many(self._change.connection, (entry.address for entry in entries))
        self._ids.update((where, node.id) for where, node in there.items())
        changed = {self._ids[entry.address]: entry for entry in entries}
        for part in batches(changed):
            accounts, rows = self._change.rows(account, part), self._change.rows(address, part)
            values: dict[int, dict[str, object]] = {
                user_id: {
                    "name": entry.name,
                    "password": entry.password or "",
                    **{switch: getattr(entry, switch) for switch in users.SWITCHES},
                    "quota": entry.quota_bytes,
                    "locked_at": plain(entry.locked_at),
                }
                for user_id in part
                for entry in [changed[user_id]]
            }
            self._change.update_many(account, [(accounts[one], values[one]) for one in part])
            self._change.update_many(
                address, [(rows[one], {"until": plain(changed[one].until)}) for one in part]
            )
            self._tell(len(part))

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
