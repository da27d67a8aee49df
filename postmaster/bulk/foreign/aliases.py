"""An alias(5) file, such as /etc/aliases: names of the system's accounts and where their mail goes.

Its names have no domain; those of the entries here get the one that is given. A name whose only target is an
account of the system, a command, a file or an `:include:` has no counterpart here and stays in local(8)'s
care (`postmaster local alias`), which is said.
"""

from __future__ import annotations

from pathlib import Path

from postmaster.bulk.foreign.dump import lines
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import content
from postmaster.bulk.reading import SIZE_LIMIT, decoded

ROOT = "/var/mail"
SOURCE = "the file; --domain names the domain of its names"
NEEDS_DOMAIN = True


def gather(source: str, into: Gathered, domain: str) -> None:
    text = decoded(content(Path(source), SIZE_LIMIT), source)
    names: dict[str, tuple[str, list[str]]] = {}
    for number, entry in _entries(text):
        name, colon, value = _split_name(entry)
        place = f"line {number}"
        if not colon or not name:
            into.problem(place, "alias", entry.strip()[:60], "has no colon after a name")
        elif name.lower() in names:
            into.problem(place, "alias", name, f"is named at {names[name.lower()][0]} already")
        else:
            names[name.lower()] = (place, _targets(value))
    for name, (place, targets) in names.items():
        wanted = []
        for one in targets:
            where = _address(one, names, domain)
            if where is None:
                into.note(f"{name}: {one[:60]!r} has no counterpart here, and stays with local(8)")
            else:
                wanted.append(where)
        if wanted and "@" not in name:
            into.alias(place, f"{name}@{domain}", wanted)
        elif wanted:
            into.alias(place, name, wanted)
    if names:
        into.domain("line 1", domain)


def _address(target: str, names: dict[str, tuple[str, list[str]]], domain: str) -> str | None:
    if target.startswith(("|", "/", ":", '"|', '"/', "\\")) or not target:
        return None
    if "@" in target:
        return target
    return f"{target}@{domain}" if target.lower() in names else None


def _entries(text: str) -> list[tuple[int, str]]:
    """Logical lines: one that begins with a space goes on with the one before."""
    found: list[tuple[int, str]] = []
    for number, line in lines(text):
        if line[0] in " \t" and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            found.append((number, line))
    return found


def _split_name(entry: str) -> tuple[str, str, str]:
    if entry.startswith('"'):
        name, _, rest = entry[1:].partition('"')
        return name, ":" if rest.lstrip().startswith(":") else "", rest.lstrip()[1:]
    name, colon, value = entry.partition(":")
    return name.strip(), colon, value


def _targets(value: str) -> list[str]:
    """Items between commas or spaces; what stands in quotes is one."""
    found, current, quoted = [], "", False
    for c in value:
        if c == '"':
            quoted = not quoted
            current += c
        elif not quoted and (c == "," or (c.isspace() and not current.startswith(("|", ":")))):
            found.append(current)
            current = ""
        else:
            current += c
    found.append(current)
    return [one.strip() for one in found if one.strip()]
