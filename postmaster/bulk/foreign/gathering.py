"""What importers share: entries from foreign values, hashes as Dovecot knows them, and where the mail is.

A password that stands there in clear text (`{PLAIN}…`) is listed to be hashed, and is in no entry or note.

An address `@example.net` that leads to `@example.org` alone is an alias domain, whichever system says it. An
alias domain has no addresses of its own here, so aliases in one are left out and named; one with users stays
a domain.

Mail stays where it is. A user's folder here is `mail.root/mail_id` with the mail in `Maildir` inside it, and
a `mail_id` may be a path; so whose old folder is below the mail root keeps it. If the mail is in the folder
itself, a link `Maildir -> .` is all that is missing, and a folder elsewhere has to be moved: for each such
user there is a Move with the command to type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from postmaster.address import Domain
from postmaster.bulk import fields
from postmaster.directory import passwords
from postmaster.directory.entries import Entry, Listed
from postmaster.directory.merge import Problem, Wanted
from postmaster.errors import PasswordError, PostmasterError, UsageError
from postmaster.shell import word

#: Schemes that are stored and weak, and whether Dovecot 2.4 refuses them (unless `auth_allow_weak_schemes` is
#: set): it still takes SHA-1 with a salt.
WEAK = {"MD5-CRYPT": True, "SSHA": False}
_NAMED = 40  # tables or files that are not read; an application beside the directory can have a hundred


@dataclass(frozen=True, slots=True)
class Move:
    """A user whose mail is not found where it is yet, and what makes it so."""

    address: str
    folder: str
    command: str


@dataclass(slots=True)
class Gathered:
    """What a system says, gathered row by row."""

    mail_root: Path
    old_root: Path
    wanted: Wanted = field(default_factory=Wanted)
    moves: list[Move] = field(default_factory=list)
    twins: list[tuple[str, str, str]] = field(default_factory=list)  # (place, alias domain, of which)
    _noted: set[str] = field(default_factory=set)

    def entry(self, place: str, kind: str, title: str, **given: Any) -> Entry | None:
        """An entry from texts, numbers and booleans, or a problem."""
        try:
            found = fields.entry(kind, {name: _text(value) for name, value in given.items()})
        except PostmasterError as error:
            self.problem(place, kind, title, error.message)
            return None
        self.wanted.listed.append(Listed(found, place))
        return found

    def problem(self, place: str, kind: str, title: str, message: str) -> None:
        found = Problem(place, kind, title[:100], message)
        before = self.wanted.problems[-1:]
        if not before or replace(before[0], kind=kind) != found:  # a row is bad once, as whatever it is read
            self.wanted.problems.append(found)

    def note(self, text: str) -> None:
        """Something that has no counterpart here."""
        if text not in self._noted:
            self._noted.add(text)
            self.wanted.notes.append(text)

    def administrator(self, address: str) -> None:
        self.note(f"{address} is an administrator there, and administrators here are the system's")

    def not_read(self, names: Collection[str]) -> None:
        """Name the tables or files of a source that are not read though there is something in them."""
        if names:
            more = len(names) - _NAMED
            shown = ", ".join(name[:64] for name in sorted(names)[:_NAMED])
            self.note(f"not read, as there is no counterpart here: {shown}{f' and {more} more' * (more > 0)}")

    def domain(self, place: str, name: str) -> None:
        self.entry(place, "domain", name, domain=name)

    def alias_domain(self, place: str, name: str, alias_of: str) -> None:
        """A domain whose addresses are those of another; `settle` decides whether it can be one here."""
        self.twins.append((place, name, alias_of))

    def _password(self, address: str, text: str) -> tuple[str, str | None]:
        """(hash, None), or (empty text, the password to be hashed if it stands there in clear text).

        What is not stored, is weak or in clear text is noted.
        """
        text = text.strip()
        if not text or text.startswith(("!", "*")) or text.lower() in ("x", "{plain}*", "nologin"):
            self.note(f"{address} has no password there")
            return "", None
        try:
            secret = passwords.clear_text(text)
            if secret is not None:
                secret = passwords.check_password(secret)
                self.note(f"{address} has a password in clear text there, and only a hash of it here")
                return "", secret
            found = passwords.check_hash(text)
        except PasswordError as error:
            self.note(f"{address} comes without a password: {error.message}")
            return "", None
        name = found.partition("}")[0].lstrip("{")
        if name in WEAK:
            refused = ", which Dovecot 2.4 refuses" if WEAK[name] else ""
            self.note(f"{address} has a weak hash ({name}){refused}")
        return found, None

    def user(
        self,
        place: str,
        address: str,
        *,
        password: str = "",
        folder: str | None = None,
        inside: str = "",
        **given: Any,
    ) -> None:
        """A user. `folder` is where the home is, absolute or below the old root; the mail is in `inside`."""
        hashed, secret = self._password(address, password)
        name = str(given.pop("name", "") or "")
        if not name.isprintable() or len(name) > 200:
            self.note(f"{address}: the name is left out, as it is too long or not printable")
            name = ""
        mail_id, move = (None, None) if folder is None else self._folder(address, folder, inside)
        made = self.entry(
            place, "user", address, address=address, password=hashed, name=name, mail_id=mail_id, **given
        )
        if made is not None:
            self.wanted.listed[-1].clear_text = secret
            self.moves += [move] if move is not None else []

    def _folder(self, address: str, folder: str, inside: str) -> tuple[str | None, Move | None]:
        home = PurePosixPath(folder)
        if not home.is_absolute():
            home = PurePosixPath(self.old_root) / folder
        parts = home.parts
        if ".." in (*parts, *PurePosixPath(inside).parts) or not (folder + inside).isprintable():
            self.note(f"{address}: the mail folder {folder[:100]!r} is left where it is, its name is no path")
            return None, None
        where = word(str(home))
        try:
            mail_id: str | None = fields.mail_id(str(home.relative_to(self.mail_root)))
        except (ValueError, UsageError):
            mail_id = None
        if mail_id is None:
            mail_id = fields.mail_id(_tame(address))
            target = word(str(self.mail_root / mail_id))
            store = word(str(home / inside)) if inside else where
            command = f"mkdir -p {target} && mv {store} {target}/Maildir"
            return mail_id, Move(address, str(home / inside), command)
        if inside.strip("/") == "Maildir":
            return mail_id, None
        store = inside.strip("/") or "."
        return mail_id, Move(address, str(home / inside), f"ln -s {word(store)} {where}/Maildir")

    def alias(self, place: str, address: str, targets: Sequence[str], **given: Any) -> None:
        if address.startswith("@") and len(targets) == 1 and targets[0].startswith("@"):
            self.alias_domain(place, address[1:], targets[0][1:])
        else:
            self.entry(place, "alias", address, address=address, targets=list(targets), **given)

    def forward(self, place: str, address: str, targets: Sequence[str], *, keep_copy: bool = True) -> None:
        if targets:
            self.entry(place, "forward", address, address=address, targets=list(targets), keep_copy=keep_copy)

    def route(self, place: str, address: str, targets: Iterable[str], people: Collection[str]) -> None:
        """Where an address leads: of one of these users (in small letters) a forward, else an alias."""
        keeps, others = own_and_others(address, targets)
        if address.lower() in people:
            self.forward(place, address, others, keep_copy=keeps)
        elif others:
            self.alias(place, address, others)
        elif keeps:
            self.problem(
                place, "alias", address, "leads to itself alone, and there is no mailbox of that name"
            )

    def senders(self, place: str, address: str, logins: Iterable[str], people: Collection[str]) -> None:
        """Grants for those of these who are users (in small letters), where a system lets them send as it."""
        for login in dict.fromkeys(one.strip().lower() for one in logins):
            if login in people and login != address.lower():
                self.entry(place, "grant", address, user=login, address=address)

    def domains_of_addresses(self) -> None:
        """A system that names no domains hosts those of its users and aliases."""
        named = {one.entry.home.ascii for one in self.wanted.listed if one.entry.kind == "domain"}
        for one in list(self.wanted.listed):
            name = one.entry.home
            if one.entry.kind in ("user", "alias") and name.ascii not in named:
                named.add(name.ascii)
                self.domain(one.place, name.ascii)

    def settle(self) -> None:
        """Make alias domains of what the source calls so, now that all its addresses are known."""
        listed = self.wanted.listed
        homes = {one.entry.home for one in listed if one.entry.kind == "user"}
        named = {one.entry.home for one in listed if one.entry.kind == "domain"}
        made: dict[Domain, Listed] = {}
        for place, name, alias_of in dict.fromkeys(self.twins):
            twin = self.entry(place, "domain", name, domain=name, alias_of=alias_of)
            if twin is None:
                continue
            one = listed.pop()
            if twin.home not in homes:
                made.setdefault(twin.home, one)
                continue
            self.note(f"{name} leads to {alias_of} as a whole there, and stays a domain, as it has users")
            if twin.home not in named:
                named.add(twin.home)
                self.domain(place, name)
        for one in listed:
            if one.entry.home in made and one.entry.kind == "alias":
                self.note(f"alias {one.entry.title} is left out, as its domain is an alias domain")
        listed[:] = [*(one for one in listed if one.entry.home not in made), *made.values()]


def own_and_others(address: str, targets: Iterable[str]) -> tuple[bool, list[str]]:
    """(whether an address leads to itself, what else it leads to)."""
    wanted = [one.strip() for one in targets if one.strip()]
    others = [one for one in wanted if one.lower() != address.lower()]
    return len(others) < len(wanted), list(dict.fromkeys(others))


def _tame(address: str) -> str:
    """A folder's name from an address, whatever is in it."""
    local, _, domain = address.lower().rpartition("@")
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_=,+-.") else "_" for c in local)
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in domain)
    return f"{name.lstrip('.') or '_'}/{kept.lstrip('.') or '_'}"[:200]


def _text(value: Any) -> str | list[str] | None:
    if value is None or isinstance(value, list | str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
