"""Which rule of the directory an answer of its tables comes from: alias, catch-all, forward, alias domain.

Postfix sees only tables. The directory knows what an answer stands for; without it (it is not there, or
may not be read) the rule is called `virtual_alias`, as for a table of the administrator's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postmaster.address import Domain, LocalPart
from postmaster.postfix import maps
from postmaster.postfix.addressing import Mapped
from postmaster.postfix.tokens import quote
from postmaster.routing import hops
from postmaster.routing.server import Server

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Naming:
    """Names rules for one instance. `truth` is an open read of the directory, or None."""

    def __init__(self, server: Server, truth: Connection | None) -> None:
        self._truth = truth
        self._aliases = server.ours(maps.ALIASES)
        self._catch_alls = server.ours(maps.CATCH_ALLS)

    def of(self, address: str, mapped: Mapped) -> tuple[str, str]:
        """(rule, reason) for what a table made of an address (in internal form)."""
        table, answer = mapped.match.table, mapped.match.answer
        if table == self._catch_alls:
            return hops.CATCH_ALL, f"catch-all of {mapped.match.key[1:]}"
        if table == self._aliases and self._truth is not None:
            return self._of_ours(address, mapped)
        if answer.startswith("@"):
            return hops.WHOLE_DOMAIN, f"every address of the domain is sent on to {answer}"
        if mapped.match.key.startswith("@"):
            return hops.CATCH_ALL, f"catch-all of {mapped.match.key[1:]}"
        return hops.VIRTUAL_ALIAS, "virtual alias"

    def _of_ours(self, address: str, mapped: Mapped) -> tuple[str, str]:
        from postmaster.directory import graph

        assert self._truth is not None
        local, _, domain = quote(address).lower().rpartition("@")
        here = graph.hosted(self._truth, Domain(domain))
        if here is None:
            return hops.VIRTUAL_ALIAS, "virtual alias of a domain that the directory no longer has"
        if here.is_alias:
            return hops.ALIAS_DOMAIN, f"{Domain(domain)} stands for {here.home}"
        node = graph.find(self._truth, here.home_id, here.home, LocalPart(local).base)
        if node is None:
            return hops.VIRTUAL_ALIAS, "virtual alias that the directory no longer has"
        if node.kind == "alias":
            return hops.ALIAS, "alias"
        keeps = any(one.lower() == address.lower() for one in mapped.addresses)
        return hops.FORWARD, "forward that keeps a copy" if keeps else "forward"
