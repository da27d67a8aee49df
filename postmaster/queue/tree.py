"""A filter as a tree: its nodes, which print themselves, and what they ask for.

The print of a tree that `expression.parse` gave parses to the same tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from postmaster.queue.fields import FIELDS, Kind

#: The longer ones first, as they are looked for in this order.
OPERATORS = ("!=", "!~", "<=", ">=", "=", "~", "<", ">")
KEYWORDS = ("and", "or", "not")


@dataclass(frozen=True, slots=True)
class Term:
    """A comparison. `operator` is one of `= ~ < <= > >=`; the negated ones are a Not around it."""

    field: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{_quote(self.value)}"


@dataclass(frozen=True, slots=True)
class Not:
    one: Node

    def __str__(self) -> str:
        return f"not {_inside(self.one, AllOf | AnyOf)}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Two or more filters that must all hold; none of them is an AllOf itself."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(_inside(part, AllOf | AnyOf) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Two or more filters of which one must hold; none of them is an AnyOf itself."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(_inside(part, AnyOf) for part in self.parts)


Node = AllOf | AnyOf | Not | Term


def all_of(nodes: Iterable[Node]) -> Node | None:
    """All of several filters; None for none."""
    parts = [p for node in nodes for p in (node.parts if isinstance(node, AllOf) else (node,))]
    return AllOf(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def any_of(nodes: Iterable[Node]) -> Node | None:
    """Any of several filters; None for none."""
    parts = [p for node in nodes for p in (node.parts if isinstance(node, AnyOf) else (node,))]
    return AnyOf(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def fields_of(node: Node) -> frozenset[str]:
    """Which fields a filter asks for."""
    if isinstance(node, Term):
        return frozenset((node.field,))
    if isinstance(node, Not):
        return fields_of(node.one)
    return frozenset().union(*map(fields_of, node.parts))


def needs(node: Node) -> frozenset[str]:
    """What must be read of a message: attributes of Message, `reasons` and `headers`."""
    found = {FIELDS[name].reads for name in fields_of(node)}
    return frozenset(found | {"client_address"} if "client_name" in found else found)


def quantity(text: str, kind: Kind) -> float | None:
    """A number with its unit, in bytes, seconds or a count; None when it is none."""
    found = _QUANTITY.match(text)
    if found is None:
        return None
    number, unit = float(found[1]), found[2].lower()
    if kind is Kind.number:
        return number if not unit else None
    if kind is Kind.size:
        return number * _SIZES[unit] if unit in _SIZES else None
    if not unit:
        return 0.0 if number == 0 else None  # 5 of what?
    return number * _DURATIONS[unit] if unit in _DURATIONS else None


_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([a-z]?)\Z", re.IGNORECASE | re.ASCII)


def _inside(node: Any, kinds: Any) -> str:
    return f"({node})" if isinstance(node, kinds) else str(node)


_PLAIN = re.compile(r"[^\s()\"'=~<>!\\][^\s()\"'\\]*\Z")


def _quote(value: str) -> str:
    if _PLAIN.match(value) and value.lower() not in KEYWORDS:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
