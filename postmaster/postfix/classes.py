"""Which class Postfix puts a domain in: local, virtual alias, virtual mailbox, relay, default.

The lists that decide are main.cf's own, whoever wrote them: names, `.parents`, `!exceptions`, files,
tables. Sources: match_list.c, match_ops.c, resolve.c, resolve_local.c (in this order; local wins).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tables import Tables

LOCAL, VIRTUAL_ALIAS, VIRTUAL_MAILBOX, RELAY, DEFAULT = (
    "local",
    "virtual_alias",
    "virtual_mailbox",
    "relay",
    "default",
)

#: Class -> the parameter that lists its domains, in the order in which Postfix asks.
LISTS = {
    LOCAL: "mydestination",
    VIRTUAL_ALIAS: "virtual_alias_domains",
    VIRTUAL_MAILBOX: "virtual_mailbox_domains",
    RELAY: "relay_domains",
}
PARAMETERS = (*LISTS.values(), "parent_domain_matches_subdomains", "inet_interfaces", "proxy_interfaces")


_LOOPBACK = ("127.0.0.1", "::1")


class DomainClasses:
    """The lists of one instance. `parameters` has the values of PARAMETERS, macros expanded."""

    def __init__(self, parameters: Mapping[str, str], tables: Tables) -> None:
        self._tables = tables
        with_parents = split_list(parameters["parent_domain_matches_subdomains"])
        self._lists = {
            name: DomainList(parameters[parameter], tables, parents=parameter in with_parents)
            for name, parameter in LISTS.items()
        }
        self._interfaces = {
            *split_list(parameters["inet_interfaces"]),
            *split_list(parameters["proxy_interfaces"]),
        }

    def of(self, domain: str) -> str:
        """The class that wins. Raises ServerError for a table that cannot be asked."""
        return next((name for name in LISTS if self.is_in(name, domain)), DEFAULT)

    def all_of(self, domains: Iterable[str]) -> dict[str, list[str]]:
        """Domain -> every class that lists it, in the order in which they win. One question per table."""
        wanted = list(domains)
        for one in self._lists.values():
            one.prepare(wanted)
        return {domain: [name for name in LISTS if self.is_in(name, domain)] for domain in wanted}

    def is_in(self, domain_class: str, domain: str) -> bool:
        if domain.startswith("["):
            return domain_class == LOCAL and self._is_own(domain.strip("[]").lower().removeprefix("ipv6:"))
        return self._lists[domain_class].matches(domain)

    def _is_own(self, address: str) -> bool:
        """Whether an address of the network is one that Postfix listens on, or is reached by."""
        if address in self._interfaces:
            return True
        if address in _LOOPBACK and self._interfaces & {"loopback-only", "localhost"}:
            return True
        return "all" in self._interfaces and _is_of_this_host(address)

    def list_of(self, domain_class: str) -> DomainList:
        return self._lists[domain_class]


def _is_of_this_host(address: str) -> bool:
    """Only an address of this host can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
    except (OSError, ValueError):
        return False
    return address not in ("0.0.0.0", "::")


def conflicts(classes: DomainClasses, ours: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(domain, parameter that lists it besides, parameter that wins) for domains in two classes.

    `ours` says the class that each domain should be in. Raises ServerError.
    """
    found = []
    for domain, listed in sorted(classes.all_of(ours).items()):
        if listed:
            found += [(domain, LISTS[one], LISTS[listed[0]]) for one in listed if one != ours[domain]]
    return found


class DomainList:
    """One list: its first pattern that matches decides. With `parents`, a name stands for those below it."""

    def __init__(self, text: str, tables: Tables, *, parents: bool) -> None:
        self._tables = tables
        self._parents = parents
        self.patterns = tuple(_patterns(text, set()))

    @property
    def names(self) -> list[str]:
        """The domains that the list itself names, without those in tables."""
        return [p.lower() for p in self.patterns if not _is_table(p) and not p.startswith(("!", "."))]

    @property
    def tables(self) -> list[str]:
        return [p.lstrip("!") for p in self.patterns if _is_table(p.lstrip("!"))]

    def prepare(self, domains: Iterable[str]) -> None:
        """Ask each table about all of these at once."""
        keys = [key for domain in domains for key in self._keys(domain.lower())]
        for table in self.tables:
            self._tables.find_all(table, keys)

    def matches(self, domain: str) -> bool:
        name = domain.lower()
        for pattern in self.patterns:
            bare = pattern.lstrip("!")
            if self._matches(name, bare):
                return (len(pattern) - len(bare)) % 2 == 0
        return False

    def _matches(self, name: str, pattern: str) -> bool:
        if _is_table(pattern):
            return any(self._tables.find(pattern, key) is not None for key in self._keys(name))
        pattern = pattern.lower()
        return name == pattern or (self._parents and name.endswith(f".{pattern.lstrip('.')}"))

    def _keys(self, name: str) -> Iterator[str]:
        yield name
        while self._parents and "." in name:
            name = name.partition(".")[2]
            yield name


def _patterns(text: str, seen: set[str]) -> Iterator[str]:
    for item in split_list(text):
        if not item.startswith("/"):
            yield item
        elif item not in seen:
            seen.add(item)
            try:
                lines = Path(item).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            except OSError as error:
                raise ServerError(f"the list {item} cannot be read: {error.strerror}") from error
            for line in lines:
                if not line.startswith("#"):
                    yield from _patterns(line, seen)


def _is_table(pattern: str) -> bool:
    return ":" in pattern and not pattern.startswith(("[", "!"))
