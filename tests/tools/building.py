"""Short words for building a directory: addresses, settings under one folder, one change per call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from postmaster.address import Address, Domain, parse_address, parse_alias_address, parse_domain
from postmaster.directory import aliases, domains, forwards, graph, rename, schema, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.engines import for_writing
from postmaster.settings import DirectorySettings, LookupsSettings, MailSettings, Settings, StateSettings

#: A valid hash; what it was made from is of no interest here.
HASH = (
    "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"
    + "c2FsdHNhbHRzYWx0c2FsdA$"
    + "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
)


def D(text: str) -> Domain:
    return parse_domain(text)


def A(text: str) -> Address:
    """An address of any kind; `@example.org` is the catch-all."""
    return parse_alias_address(text) if text.startswith("@") else parse_address(text)


def settings_under(folder: Path) -> Settings:
    """Settings whose every file is under one folder."""
    return Settings(
        directory=DirectorySettings(f"sqlite:///{folder}/directory.db"),
        state=StateSettings(folder),
        lookups=LookupsSettings(folder / "lookups"),
        mail=MailSettings(folder / "mail"),
    )


class Builder:
    """One change per call, by the words of the command line."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    def domain(self, name: str, alias_of: str | None = None) -> Any:
        with self.directory.change() as change:
            return domains.add(change, D(name), D(alias_of) if alias_of else None)

    def user(self, where: str, **given: Any) -> Any:
        with self.directory.change() as change:
            return users.add(change, A(where), password_hash=given.pop("password_hash", HASH), **given)

    def users(self, wheres: list[str]) -> None:
        """Many in one change."""
        with self.directory.change() as change:
            for where in wheres:
                users.add(change, A(where), password_hash=HASH)

    def fill(self, name: str, count: int, aliases: int = 0) -> None:
        """A domain with users `u0@`, `u1@`, … as plain rows, and the look-ups built anew.

        With aliases `a0@`, …, each for the user of its number. For a number at which the rules, asked for
        each one by one, would take minutes.
        """
        made_at = datetime(2026, 6, 1)  # naive, UTC: as the table holds it
        switches = dict.fromkeys(("login", "imap", "pop3", "send", "receive", "keep_copy"), True)
        home = self.domain(name).record.id
        with for_writing(self.directory.engine).connect() as connection, connection.begin():
            write = connection.execute
            first = 1 + (write(select(func.max(schema.address.c.id))).scalar() or 0)
            common = {"domain_id": home, "created_at": made_at}
            account = {"name": "", "password": HASH, "quota": None, **switches}
            for numbers in _lots(count):
                rows = [{"id": first + n, "kind": "user", "local_part": f"u{n}", **common} for n in numbers]
                write(insert(schema.address), rows)
                rows = [{"id": first + n, "mail_id": f"{first + n:020x}", **account} for n in numbers]
                write(insert(schema.account), rows)
            first += count
            for numbers in _lots(aliases):
                rows = [{"id": first + n, "kind": "alias", "local_part": f"a{n}", **common} for n in numbers]
                write(insert(schema.address), rows)
                where = {"position": 0, "domain": name}
                rows = [
                    {"source_id": first + n, "local_part": f"u{n}", "base": f"u{n}", **where} for n in numbers
                ]
                write(insert(schema.target), rows)
        self.directory.publish(rebuild=True)

    def alias(self, where: str, *targets: str) -> Any:
        with self.directory.change() as change:
            return aliases.set_targets(change, A(where), [A(t) for t in targets])

    def forward(self, where: str, *targets: str, keep_copy: bool = True) -> Any:
        with self.directory.change() as change:
            return forwards.set_targets(change, A(where), [A(t) for t in targets], keep_copy)

    def switch(self, where: str, **given: Any) -> Any:
        with self.directory.change() as change:
            return users.update(change, A(where), **given)

    def app_password(self, where: str, name: str, secret: str = "") -> int:
        """An app password for everything, as a plain row."""
        with self.directory.change() as change:
            digest = hashlib.sha256((secret or f"{where} {name}").encode()).hexdigest()
            row = {"account_id": users.show(change.connection, A(where)).id, "name": name, "sha256": digest}
            rights = dict.fromkeys(("imap", "pop3", "send"), True)
            return change.insert(schema.app_password, {**row, **rights, "created_at": change.now})

    def grant(self, where: str, other: str) -> int:
        """Let a user send as another address, or with `@domain` as a whole domain; as a plain row."""
        with self.directory.change() as change:
            here = graph.hosted(change.connection, A(other).domain)
            assert here is not None
            row = {"account_id": users.show(change.connection, A(where)).id, "domain_id": here.home_id}
            local_part = A(other).local.text
            return change.insert(
                schema.sender_grant, {**row, "local_part": local_part, "created_at": change.now}
            )

    def until(self, where: str, seconds: float) -> None:
        """Let an address end so many seconds from now."""
        with self.directory.change() as change:
            here = graph.hosted(change.connection, A(where).domain)
            assert here is not None
            node = graph.find(change.connection, here.home_id, here.home, A(where).local.text)
            assert node is not None
            change.update(schema.address, node.id, {"until": change.now + timedelta(seconds=seconds)})

    def set(self, where: str, **values: Any) -> None:
        """Columns of a user's account, past every rule."""
        with self.directory.change() as change:
            change.update(schema.account, users.show(change.connection, A(where)).id, values)

    def rename(self, old: str, new: str, **given: Any) -> Any:
        """Another address for a user, or another name for a domain."""
        with self.directory.change() as change:
            if "@" in old:
                return rename.rename_user(change, A(old), A(new), **given)
            return rename.rename_domain(change, D(old), D(new), **given)

    def now(self) -> datetime:
        """This moment as the truth holds it."""
        return datetime.now(UTC).replace(tzinfo=None)

    def remove(self, kind: str, where: str) -> Any:
        with self.directory.change() as change:
            if kind == "domain":
                return domains.remove(change, D(where))
            remove: Any = {"user": users.remove, "alias": aliases.remove, "forward": forwards.remove}[kind]
            return remove(change, A(where))


def _lots(count: int, size: int = 10_000) -> Iterator[range]:
    for begin in range(0, count, size):
        yield range(begin, min(begin + size, count))


@contextmanager
def open_builder(settings: Settings) -> Iterator[Builder]:
    with open_directory(settings, command="test") as directory:
        yield Builder(directory)
