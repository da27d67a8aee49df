"""Passwords that stand in clear text in a file: no plan, directory or journal ever holds one.

`look` puts in their place the hash that the user has, if it is of that very password, and so the same file
a second time changes nothing; else a mark for a hash to come. What a plan needs of these is hashed outside
of every transaction, as it takes its time, and put into the plan before that is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace

from sqlalchemy import Connection, bindparam, select

from postmaster.address import Address
from postmaster.directory import graph, passwords
from postmaster.directory.batches import batches
from postmaster.directory.entries import Difference, Listed, UserEntry
from postmaster.directory.schema import account
from postmaster.errors import ConflictError

# A scheme and a number: it is shown as any hash is, is none, and lets nobody in.
_MARK = re.compile(r"\{ARGON2ID\}[0-9]+")

_HASHES = select(account.c.id, account.c.password).where(account.c.id.in_(bindparam("ids", expanding=True)))


def look(
    reading: Connection, listed: Iterable[Listed], progress: Callable[[int], None] = lambda _done: None
) -> dict[str, str]:
    """Give every user with a password in clear text a hash, or a mark; mark -> clear text."""
    found = [(one, one.entry, one.clear_text) for one in listed if one.clear_text is not None]
    there = _present(reading, {one.address for _, one, _ in found if isinstance(one, UserEntry)})
    marks: dict[tuple[Address, str], str] = {}
    kept = [there.get(one.address, "") if isinstance(one, UserEntry) else "" for _, one, _ in found]
    pairs = [(text, hashed) for (_, _, text), hashed in zip(found, kept, strict=True)]
    with closing(passwords.match_many(pairs)) as same:
        for done, ((one, entry, text), hashed, is_same) in enumerate(zip(found, kept, same, strict=True), 1):
            assert isinstance(entry, UserEntry)
            if not is_same:
                hashed = marks.setdefault((entry.address, text), f"{{ARGON2ID}}{len(marks)}")
            one.entry, one.clear_text = replace(entry, password=hashed), None
            progress(done)
    return {mark: text for (_, text), mark in marks.items()}


def hash_those_of(
    differences: Iterable[Difference],
    texts: Mapping[str, str],
    progress: Callable[[int], None] = lambda _done: None,
) -> dict[str, str]:
    """Mark -> hash, of the marks in these differences."""
    needed = [mark for one in differences if (mark := _mark(one)) is not None]
    found = {}
    with closing(passwords.hash_many([texts[mark] for mark in needed])) as hashes:
        for mark, hashed in zip(needed, hashes, strict=True):
            found[mark] = hashed
            progress(len(found))
    return found


def fill(differences: Iterable[Difference], hashes: Mapping[str, str]) -> list[Difference]:
    """The differences with hashes in the place of marks. Raises ConflictError where one is missing."""
    found = []
    for one in differences:
        mark = _mark(one)
        if mark is not None:
            if mark not in hashes:
                raise ConflictError("the directory was changed meanwhile", hint="try again")
            assert isinstance(one.after, UserEntry)
            one = Difference(one.before, replace(one.after, password=hashes[mark]))
        found.append(one)
    return found


def _mark(one: Difference) -> str | None:
    password = one.after.password if isinstance(one.after, UserEntry) else None
    return password if password and len(password) < 32 and _MARK.fullmatch(password) else None


def _present(reading: Connection, wheres: Iterable[Address]) -> dict[Address, str]:
    """The hashes of those of these users who are there."""
    there = {node.id: where for where, node in graph.find_many(reading, wheres).items()}
    return {
        there[row.id]: row.password
        for part in batches(there)
        for row in reading.execute(_HASHES, {"ids": part})
    }
