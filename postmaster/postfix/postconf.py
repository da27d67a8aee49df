"""Reading and changing main.cf and master.cf through `postconf`, Postfix's own editor of them.

Values go in as arguments of their own, never through a shell. A value with a line end is refused:
it would begin a new parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.process import is_one_reading, run, shared

SEPARATORS = ", \t\r\n"  # CHARS_COMMA_SP
HINT = "install the Debian packages postfix and postfix-sqlite"


@dataclass(frozen=True, slots=True)
class Service:
    """A master.cf entry: `name type private unprivileged chroot wakeup limit command`, its `-o` options."""

    name: str
    type: str
    fields: tuple[str, ...]  # the six from private to the command's name
    options: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return f"{self.name}/{self.type}"

    def entry(self) -> str:
        """The text for `postconf -M`."""
        given = "".join(f" -o {{ {name} = {value} }}" for name, value in self.options)
        return " ".join((self.name, self.type, *self.fields)) + given


def version() -> tuple[int, ...]:
    """Postfix's version, for example (3, 7, 11)."""
    text = run(["postconf", "-d", "-h", "mail_version"], hint=HINT).stdout.strip()
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ServerError(f"postconf gave no version: {text}")
    return tuple(int(number or 0) for number in found.groups())


def known_parameters() -> frozenset[str]:
    """The names of all parameters that this Postfix has."""
    lines = run(["postconf", "-d"], hint=HINT).stdout.splitlines()
    return frozenset(line.partition(" =")[0] for line in lines)


def values(config_directory: Path, names: Sequence[str]) -> dict[str, str]:
    """The values in force, macros not expanded; defaults where main.cf says nothing."""
    if not names:
        return {}
    done = run(["postconf", "-c", str(config_directory), *names], hint=HINT)
    return dict(_pair(line) for line in done.stdout.splitlines())


def value(config_directory: Path, name: str) -> str:
    """One value with its macros expanded."""
    kept = _kept(config_directory)
    if name in kept:
        return kept[name]
    return run(["postconf", "-c", str(config_directory), "-x", "-h", name], hint=HINT).stdout.strip()


def expanded(config_directory: Path, names: Sequence[str]) -> dict[str, str]:
    """The values in force with their macros expanded; empty for a name that this Postfix does not have."""
    kept = _kept(config_directory)
    found = {name: kept.get(name, "") for name in names}
    rest = [name for name in names if name not in kept]
    if rest:
        found.update(_expanded(config_directory, rest))
    return found


def _expanded(config_directory: Path, names: Sequence[str]) -> dict[str, str]:
    done = run(["postconf", "-c", str(config_directory), "-x", *names], hint=HINT)
    return dict(_pair(line) for line in done.stdout.splitlines())


@shared
def _everything(config_directory: Path) -> dict[str, str]:
    return _expanded(config_directory, ())


def _kept(config_directory: Path) -> dict[str, str]:
    """All expanded values while many ask at once, none where each asks for itself."""
    return _everything(config_directory) if is_one_reading() else {}


@shared
def overrides(config_directory: Path) -> dict[str, dict[str, str]]:
    """What master.cf's `-o` options set, macros expanded: `name/type` -> parameter -> value."""
    done = run(["postconf", "-c", str(config_directory), "-x", "-P"], hint=HINT)
    found: dict[str, dict[str, str]] = {}
    for line in done.stdout.splitlines():
        where, text = _pair(line)
        service, _, parameter = where.rpartition("/")
        found.setdefault(service, {})[parameter] = text
    return found


def explicit(config_directory: Path) -> dict[str, str]:
    """What main.cf itself sets."""
    done = run(["postconf", "-c", str(config_directory), "-n"], hint=HINT)
    return dict(_pair(line) for line in done.stdout.splitlines())


def set_values(config_directory: Path, wanted: Mapping[str, str]) -> None:
    """Set parameters in main.cf, in place. Raises ProcessError, ServerError."""
    if wanted:
        pairs = [f"{name} = {_one_line(name, text)}" for name, text in wanted.items()]
        run(["postconf", "-c", str(config_directory), "-e", *pairs], hint=HINT)


@shared
def services(config_directory: Path) -> dict[str, str]:
    """master.cf as `name/type` -> the entry on one line, white space folded."""
    done = run(["postconf", "-c", str(config_directory), "-M"], hint=HINT)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if line[:1].isspace() and found:
            last = next(reversed(found))
            found[last] += " " + " ".join(words)
        elif len(words) >= 8:
            found[f"{words[0]}/{words[1]}"] = " ".join(words)
    return found


def set_service(config_directory: Path, service: Service) -> None:
    """Make or replace an entry of master.cf. Raises ProcessError, ServerError."""
    entry = _one_line(service.key, service.entry())
    run(["postconf", "-c", str(config_directory), "-M", f"{service.key} = {entry}"], hint=HINT)


def split_list(text: str) -> list[str]:
    """A list value as its items: at commas and white space, but not inside braces (`mystrtok.c`)."""
    items, depth, begun = [], 0, None
    for at, character in enumerate(text):
        depth = max(0, depth + (character == "{") - (character == "}"))
        if character in SEPARATORS and not depth:
            if begun is not None:
                items.append(text[begun:at])
            begun = None
        elif begun is None:
            begun = at
    if begun is not None:
        items.append(text[begun:])
    return items


def _pair(line: str) -> tuple[str, str]:
    name, _, text = line.partition("=")
    return name.strip(), text.strip()


def _one_line(name: str, text: str) -> str:
    if not text.isprintable():
        raise ServerError(f"the value for {name} has unprintable characters in it")
    return text
