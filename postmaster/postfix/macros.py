"""`$name` in parameters whose macros are expanded at delivery: forward_path, luser_relay.

`$name`, `${name}`, `$(name)`, `$$`; `${name?text}` where the name has a value, `${name:text}` where it has
none, both as `${name?{text}:{text}}`. Left out: comparisons (`${{a} == {b} ? …}`), which count as undefined.

Sources: mac_parse.c, mac_expand.c, local_expand.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9_]+")
_CLOSING = {"{": "}", "(": ")"}
_DEEPEST = 100  # of texts in texts, as in mac_expand.c


@dataclass(frozen=True, slots=True)
class Expanded:
    """The text; the names whose value stands in it; whether some name had none, where it stood as a value."""

    text: str
    used: frozenset[str]
    has_undefined: bool


def expand(text: str, values: Mapping[str, str | None], depth: int = 0) -> Expanded:
    """A text with its macros. None stands for no value; a name that is not there has none either."""
    if depth > _DEEPEST:
        return Expanded("", frozenset(), True)
    found, used, has_undefined = "", set[str](), False
    at = 0
    while at < len(text):
        following = text[at + 1 : at + 2]
        if text[at] != "$" or not following:
            found += text[at]
            at += 1
            continue
        if following == "$":
            found, at = found + "$", at + 2
            continue
        if following in _CLOSING:
            end = _closing(text, at + 1)
            one = _conditional(text[at + 2 : end], values, depth)
            at = end + 1
        elif name := _NAME.match(text, at + 1):
            one, at = _value(name[0], values), name.end()
        else:
            has_undefined, at = True, at + 1
            continue
        found += one.text
        used |= one.used
        has_undefined |= one.has_undefined
    return Expanded(found, frozenset(used), has_undefined)


def _conditional(inside: str, values: Mapping[str, str | None], depth: int) -> Expanded:
    name = _NAME.match(inside)
    if name is None:
        return Expanded("", frozenset(), True)
    mark, text = inside[name.end() : name.end() + 1], inside[name.end() + 1 :]
    if mark not in ("?", ":"):
        return _value(name[0], values)
    has_value = bool(values.get(name[0]))
    first, other = text, ""
    if text.lstrip().startswith("{"):
        begin = text.index("{")
        end = _closing(text, begin)
        first, rest = text[begin + 1 : end], text[end + 1 :].strip()
        if mark == "?" and rest.startswith(":"):
            rest = rest[1:].strip()
            other = rest[1 : _closing(rest, 0)] if rest.startswith("{") else rest
    chosen = first if has_value is (mark == "?") else other
    return expand(chosen, values, depth + 1)


def _value(name: str, values: Mapping[str, str | None]) -> Expanded:
    value = values.get(name)
    return Expanded(value or "", frozenset({name}), value is None)


def _closing(text: str, at: int) -> int:
    """Where the bracket that opens here is closed; the end of the text where it is not."""
    opening, depth = text[at], 0
    for end in range(at, len(text)):
        depth += (text[end] == opening) - (text[end] == _CLOSING[opening])
        if not depth:
            return end
    return len(text)
