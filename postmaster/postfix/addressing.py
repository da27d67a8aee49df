"""How Postfix looks an address up in its maps, and what it makes of the answer.

Keys in order: `user+ext@domain`, `user@domain`, then for a local domain `user+ext` and `user`, then
`@domain`; for each key all maps in their order, tables of patterns for the first key alone. An answer is a
list of addresses, completed with $myorigin; one that is `@other` keeps the local part; an extension that no
key matched is added to each where `propagate_unmatched_extensions` says so.

Addresses are in internal form here, keys in external form. Sources: mail_addr_find.c, mail_addr_map.c,
mail_addr_crunch.c, split_addr.c, rewrite.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from postmaster.errors import ServerError
from postmaster.postfix.classes import LOCAL, DomainClasses
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tables import Tables, holds_patterns
from postmaster.postfix.tokens import quote, split, unquote

PARAMETERS = (
    "recipient_delimiter",
    "myorigin",
    "mydomain",
    "append_at_myorigin",
    "append_dot_mydomain",
    "allow_percent_hack",
    "swap_bangpath",
    "propagate_unmatched_extensions",
    "owner_request_special",
    "double_bounce_sender",
    "empty_address_recipient",
    "resolve_dequoted_address",
)


@dataclass(frozen=True, slots=True)
class Match:
    """An answer: which table gave it for which key, and the extension that the key left out."""

    table: str
    key: str
    answer: str
    extension: str  # with its separator; empty where the key had it, or there is none


@dataclass(frozen=True, slots=True)
class Mapped:
    """What an address becomes."""

    match: Match
    addresses: tuple[str, ...]


class Addressing:
    """The rules of one instance. `parameters` has the values of PARAMETERS, macros expanded."""

    def __init__(self, parameters: Mapping[str, str], tables: Tables, classes: DomainClasses) -> None:
        self._given = parameters
        self._tables = tables
        self._classes = classes
        self.delimiter = parameters["recipient_delimiter"]
        self.myorigin = parameters["myorigin"].lower()
        self._propagated = set(split_list(parameters["propagate_unmatched_extensions"]))
        #: Local parts that are Postfix's own, in lower case: never split, always accepted in a local domain.
        self.reserved = ("postmaster", "mailer-daemon", parameters["double_bounce_sender"].lower())

    def propagates(self, what: str) -> bool:
        """Whether extensions are carried over: canonical, virtual, alias, forward, include, generic."""
        return what in self._propagated

    def split_extension(self, local: str) -> tuple[str, str]:
        """(user, extension with its separator)."""
        if not self.delimiter or local.lower() in self.reserved:
            return local, ""
        if "-" in self.delimiter and self._given["owner_request_special"] == "yes":
            low = local.lower()
            if low.startswith("owner-") or (low.endswith("-request") and len(low) > len("-request")):
                return local, ""
        at = next((n for n, c in enumerate(local) if c in self.delimiter), 0)
        return (local[:at], local[at:]) if at else (local, "")

    def canonical(self, address: str) -> str:
        """An address in internal form, completed as mail from here is (rewrite.c)."""
        local, at, domain = address.rpartition("@")
        if at and domain:
            if (
                "." not in domain
                and not domain.startswith("[")
                and self._given["append_dot_mydomain"] == "yes"
            ):
                domain = f"{domain}.{self._given['mydomain']}"
            return f"{local}@{domain.rstrip('.') or domain}"
        bare = local if at else address
        if self._given["swap_bangpath"] == "yes" and "!" in bare:
            site, _, user = bare.partition("!")
            return self.canonical(f"{user}@{site}")
        if self._given["allow_percent_hack"] == "yes" and "%" in bare:
            user, _, site = bare.rpartition("%")
            return self.canonical(f"{user}@{site}")
        if bare and self._given["append_at_myorigin"] == "yes":
            return f"{bare}@{self.myorigin}"
        return address

    def routed(self, address: str) -> str:
        """The address without domains of ours that only name a way: `user%site@local` is `user@site`.

        So does trivial-rewrite before it resolves an address (resolve.c).
        """
        for _ in range(len(address) + 100):
            local, at, domain = address.rpartition("@")
            if not at or not (domain and self._classes.is_in(LOCAL, domain)):
                return address
            if not local:
                return f"{self._given['empty_address_recipient']}@{domain}"
            is_way = "@" in local and self._given["resolve_dequoted_address"] == "yes"
            is_way |= "!" in local and self._given["swap_bangpath"] == "yes"
            if not is_way and not ("%" in local and self._given["allow_percent_hack"] == "yes"):
                return address
            address = self.canonical(local)
        return address

    def keys(self, address: str) -> list[tuple[str, str]]:
        """(key in external form, extension it leaves out), in the order in which Postfix asks."""
        local, at, domain = address.rpartition("@")
        if not at:
            local, domain = address, ""
        user, extension = self.split_extension(local)
        names = [(local, ""), *([(user, extension)] if extension else [])]
        if not at:
            return [(quote(name), left) for name, left in names]
        found = [(quote(f"{name}@{domain}"), left) for name, left in names]
        if domain.lower() == self.myorigin or self._classes.is_in(LOCAL, domain):
            found += [(quote(f"{name}@x").rpartition("@")[0], left) for name, left in names]
        return [*found, (f"@{domain}", "")]

    def prepare(self, maps: str, addresses: Iterable[str]) -> None:
        """Ask each table about many addresses at once, so that `find` need not ask for each of them."""
        keys = [key.lower() for address in addresses for key, _ in self.keys(address)]
        for table in split_list(maps):
            if not holds_patterns(table):
                with suppress(ServerError):  # `find` meets it again, where the table's turn comes
                    self._tables.find_all(table, keys)

    def find(self, maps: str, address: str) -> Match | None:
        """The first answer in a list of maps. Raises ServerError for a table that cannot be asked."""
        tables = split_list(maps)
        if not tables:
            return None
        extensions = dict(self.keys(address))
        found = self._tables.first(tables, list(extensions))
        return None if found is None else Match(*found, extensions[found[1]])

    def map(self, maps: str, address: str, *, propagate: bool) -> Mapped | None:
        """What a list of maps makes of an address; None where none of them knows it. Raises ServerError."""
        match = self.find(maps, address)
        if match is None:
            return None
        text = match.answer
        if text.startswith("@"):
            local = quote(address).rpartition("@")[0]
            text = local.removesuffix(match.extension) + text if match.extension else local + text
        found = []
        for one in split(text):
            complete = quote(self.canonical(one))
            if propagate and match.extension:
                local, at, domain = complete.rpartition("@")
                complete = f"{local}{match.extension}@{domain}" if at else complete + match.extension
            found.append(unquote(complete))
        return Mapped(match, tuple(found))
