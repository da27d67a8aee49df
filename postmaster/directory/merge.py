"""Bringing the truth to what entries say, many at once: the plan, held to every rule, and the writing of it.

A plan is worked out from what is there and what is wanted, before a row is written: where each address will
lead, and which entries break a rule. So what is shown beforehand is what is done, and one bad entry among a
hundred thousand is named without any of the others being half done. The writing is that of the plan alone,
many rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from postmaster.address import Address
from postmaster.directory import graph
from postmaster.directory.database import Change
from postmaster.directory.entries import (
    Difference,
    DomainEntry,
    Entries,
    Entry,
    GrantEntry,
    Key,
    Listed,
    difference,
)
from postmaster.directory.inventory import take
from postmaster.directory.rules import Rules
from postmaster.directory.writer import Progress, Writer


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
        rules = Rules(connection, found)
        now = rules.problems()
        if not now:
            break
        bad += [
            Problem(places.get(name, ""), one.entry.kind, one.entry.title, now[name])
            for one in found
            if (name := (one.entry.kind, one.entry.key)) in now
        ]
        found = [one for one in found if (one.entry.kind, one.entry.key) not in now]
    notes = [*wanted.notes, *rules.notes()]
    unchanged = len(after) - sum(1 for one in found if one.action != "delete") - len(bad)
    return Plan(found, [*problems, *bad], notes, max(0, unchanged))


def write(change: Change, differences: Sequence[Difference], progress: Progress = lambda _: None) -> None:
    """Do exactly this, in the transaction it was planned in. Removed users' mail belongs to the trash."""
    Writer(change, differences, progress).run()


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
