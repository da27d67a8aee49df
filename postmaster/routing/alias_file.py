"""alias(5) files: read whole, changed in one place, printed as they were.

A file is a list of parts: entries, and the lines between them. Every byte of the file is in exactly one
part, so printing gives back the file; what is not touched stays as it is, comments and order too. Any bytes
are read; what postalias would skip is an entry with a `fault`.

Sources: readlline.c (logical lines), postalias.c (`name: value`, one name, not an address), aliases(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postmaster.errors import UsageError
from postmaster.postfix.tokens import Token, internal, quote, scan, split
from postmaster.shell import word

NAME_CHARACTERS = 255
TARGET_CHARACTERS = 4096

INCLUDE = ":include:"
TARGET_HINT = "a target is an address, a local name, |command, /file or :include:/file"

#: What can stand in a target without quotes: an address or a name (RFC 5322 atext and dots).
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{}~.@")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the file. `name` is None between entries, and in an entry with a fault it may be too."""

    raw: bytes
    line: int  # the number of its first line, from 1
    is_entry: bool
    name: str | None = None  # lower case, without quotes
    targets: tuple[str, ...] = ()  # without quotes: an address, a name, `|command`, `/file`, `:include:/file`
    fault: str | None = None  # why postalias skips it


def parse(data: bytes) -> list[Part]:
    """The parts of a file. Anything is taken."""
    found: list[Part] = []
    lines, at = _lines(data), 0
    while at < len(lines):
        begun = at
        if not _is_text(lines[at]):
            while at < len(lines) and not _is_text(lines[at]):
                at += 1
            found.append(Part(b"".join(lines[begun:at]), begun + 1, False))
            continue
        last = at
        at += 1
        # Comments and empty lines do not end a logical line; what follows them may continue it.
        while at < len(lines) and (not _is_text(lines[at]) or lines[at][:1] in b" \t\r\v\f"):
            if _is_text(lines[at]):
                last = at
            at += 1
        at = last + 1
        found.append(_entry(lines[begun:at], begun + 1))
    return found


def to_bytes(parts: Iterable[Part]) -> bytes:
    return b"".join(part.raw for part in parts)


def entries(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if part.is_entry]


def find(parts: Sequence[Part], name: str) -> list[Part]:
    """Every entry with this name. postalias takes the first and warns of the others."""
    folded = name.lower()
    return [part for part in parts if part.is_entry and part.name == folded and part.fault is None]


def assign(parts: Sequence[Part], name: str, targets: Sequence[str]) -> list[Part]:
    """The file with exactly these targets for a name, in its first entry's place or at the end.

    Comments inside an entry that is replaced stay, behind it; further entries with the name go.
    Raises UsageError for a name or target that cannot stand in such a file.
    """
    text = entry_text(name, targets)
    new = parse(text)
    assert len(new) == 1
    found = find(parts, name)
    if not found:
        result = list(parts)
        if result and not result[-1].raw.endswith(b"\n"):
            last = result[-1]
            result[-1] = Part(last.raw + b"\n", last.line, last.is_entry, last.name, last.targets, last.fault)
        return parse(to_bytes([*result, new[0]]))
    return parse(to_bytes(_replaced(parts, found, text)))


def remove(parts: Sequence[Part], name: str) -> list[Part]:
    """The file without a name; comments inside its entries stay."""
    return parse(to_bytes(_replaced(parts, find(parts, name), b"")))


def entry_text(name: str, targets: Sequence[str]) -> bytes:
    """A line for an alias. Raises UsageError."""
    check_name(name)
    if not targets:
        raise UsageError(
            "an alias needs at least one target", hint=f"postmaster local alias remove {word(name)}"
        )
    wanted = [read_target(target) for target in targets]
    key = name if set(name) <= _PLAIN - set("!%@") else _quoted(name)
    line = f"{key}: {', '.join(map(target_text, wanted))}\n".encode("utf-8", "surrogateescape")
    (part,) = parse(line)
    if part.fault is not None or part.name != name.lower() or list(part.targets) != wanted:
        raise UsageError(f"{name}: {', '.join(targets)} cannot stand in an alias file", hint=TARGET_HINT)
    return line


def check_name(name: str) -> None:
    """Raises UsageError for what is no local name."""
    if not name or len(name) > NAME_CHARACTERS or not name.isprintable() or name != name.strip():
        raise UsageError("an alias needs a printable name")
    if "@" in name or "%" in name:
        raise UsageError(
            f"{name} is not a local name", hint="for addresses of hosted domains: postmaster alias set"
        )


def read_target(text: str) -> str:
    """A target as somebody types it, without quotes. Raises UsageError for what is not one target."""
    if not text.strip() or len(text) > TARGET_CHARACTERS or not text.isprintable():
        raise UsageError("a target needs printable text")
    if text.lower().startswith(INCLUDE):
        if not text[len(INCLUDE) :].startswith("/"):
            raise UsageError(f"{text} does not name a file", hint="write it as :include:/etc/mail/list")
        return INCLUDE + text[len(INCLUDE) :]
    if text.startswith("|") and not text[1:].strip():
        raise UsageError("| names no command", hint="write it as '|/usr/local/bin/program argument'")
    if text.startswith(("|", "/", "~")):
        return text
    found = split(text)
    if len(found) != 1 or not found[0]:
        raise UsageError(f"{text} is not one target", hint=TARGET_HINT)
    return found[0]


def target_text(target: str) -> str:
    """A target without quotes as it is written: quoted where it must be."""
    if set(target) <= _PLAIN:
        return target
    if target.startswith(("|", "/", "~", INCLUDE)):
        plain = target.removeprefix(INCLUDE)
        return target if target.startswith(INCLUDE) and set(plain) <= _PLAIN else _quoted(target)
    return quote(target)


def typed(target: str) -> str:
    """A target without quotes as `read_target` takes it."""
    return target if target.startswith(("|", "/", "~", INCLUDE)) else target_text(target)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\{c}" if c in '"\\' else c for c in text) + '"'


def _replaced(parts: Sequence[Part], found: Sequence[Part], text: bytes) -> list[Part]:
    result: list[Part] = []
    for part in parts:
        if not any(part is one for one in found):
            result.append(part)
            continue
        inside = [line for line in _lines(part.raw) if not _is_text(line)]
        raw = (text if part is found[0] else b"") + b"".join(inside)
        if raw:
            result.append(Part(raw, part.line, True))
    return result


def _lines(data: bytes) -> list[bytes]:
    """Lines end at a line feed and nowhere else."""
    pieces = data.split(b"\n")
    found = [piece + b"\n" for piece in pieces[:-1]]
    return found + ([pieces[-1]] if pieces[-1] else [])


def _is_text(line: bytes) -> bool:
    """Whether a line is neither empty nor a comment."""
    stripped = line.strip(b" \t\r\n\v\f")
    return bool(stripped) and not stripped.startswith(b"#")


def _entry(lines: Sequence[bytes], number: int) -> Part:
    raw = b"".join(lines)
    text = b"".join(line.rstrip(b"\n") for line in lines if _is_text(line)).decode("utf-8", "surrogateescape")
    if text[:1].isspace():
        return Part(raw, number, True, fault="it begins with white space and continues nothing")
    tokens = scan(text)
    colon = next((at for at, token in enumerate(tokens) if token.kind == ":"), None)
    if colon is None or colon == 0 or colon + 1 == len(tokens):
        return Part(raw, number, True, fault="it is not name: target")
    before = tokens[:colon]
    if any(token.kind == "," for token in before):
        return Part(raw, number, True, fault="it has more than one name")
    name = internal([token for token in before if token.kind != "comment"])
    if any(token.kind in ("@", "%") for token in before):
        return Part(raw, number, True, name.lower(), fault="the name must be local, without @ and %")
    targets = tuple(split(text[tokens[colon].end :]))
    return Part(
        raw, number, True, name.lower(), targets, None if _has_target(tokens[colon + 1 :]) else "no target"
    )


def _has_target(tokens: Sequence[Token]) -> bool:
    return any(token.kind not in (",", "comment") for token in tokens)
