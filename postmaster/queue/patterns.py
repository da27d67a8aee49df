r"""Globs and regular expressions of a filter, made so that no text can keep them busy.

`*` and `?` are the only wildcards, so every text matches itself, address literals (`[192.0.2.1]`)
too. A glob takes time that is linear in the text for each `*`.

Regular expressions are the user's, the texts are anybody's, and Python's engine tries every way:
repetition inside repetition takes exponential time and is refused; repetitions in a row multiply,
so the more of them an expression has, the less of a text it sees (`SEEN`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

#: Unbounded repetitions in a regular expression -> characters of a text that it sees. More are refused.
SEEN = {0: 20_000, 1: 4_000, 2: 1_000, 3: 400}

Matcher = Callable[[str], Any]


@lru_cache(maxsize=256)
def matcher(operator: str, value: str, folded: bool) -> Matcher:
    """A test on one text. Without case, it takes the text as it is and folds it itself."""
    if operator == "~":
        search = re.compile(value).search
        seen = SEEN[_unbounded(value)]
        return lambda text: search(text[:seen])
    choices = _spellings(value)
    tests = [_glob(choice, folded) for choice in choices]
    return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)


def is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def _glob(pattern: str, folded: bool) -> Matcher:
    if folded:
        pattern = pattern.casefold()
    if not is_glob(pattern):
        return (lambda text: text.casefold() == pattern) if folded else pattern.__eq__
    inner = pattern[1:-1]
    if not is_glob(pattern[1:]) or (pattern[0] == "*" == pattern[-1] and inner and not is_glob(inner)):
        if pattern == "*":
            return lambda text: True
        if pattern[0] == "*" and not is_glob(pattern[1:]):  # the commonest, faster than an expression
            ending = pattern[1:]
            return (lambda text: text.casefold().endswith(ending)) if folded else _ends(ending)
        if pattern[0] == "*":
            return (lambda text: inner in text.casefold()) if folded else (lambda text: inner in text)
    match = re.compile(_translate(pattern), re.DOTALL).match
    return (lambda text: match(text.casefold())) if folded else match


def _ends(ending: str) -> Callable[[str], bool]:
    return lambda text: text.endswith(ending)


def _translate(pattern: str) -> str:
    """An expression for a glob that never tries twice: each piece is where it first fits."""
    head, *middle = ["".join("." if c == "?" else re.escape(c) for c in p) for p in pattern.split("*")]
    if not middle:
        return head + r"\Z"
    tail = middle.pop()
    return head + "".join(f"(?>.*?{piece})" for piece in middle if piece) + f".*{tail}" + r"\Z"


def _spellings(value: str) -> list[str]:
    """The value, and the same with its domain in the other form (A-labels, U-labels)."""
    if value.isascii() and "xn--" not in value.lower():
        return [value]
    from postmaster.address import parse_domain
    from postmaster.errors import AddressError

    before, at, domain = value.rpartition("@")
    try:
        found = parse_domain(domain)
    except AddressError:
        return [value]
    return list(dict.fromkeys([value, before + at + found.ascii, before + at + found.unicode]))


def mistake_in_expression(value: str) -> str | None:
    """Why a regular expression is not taken; None where it is."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what re only warns of is a mistake as well
            re.compile(value)
        unbounded = _unbounded(value)
    except _NestedError:
        return "a repetition inside a repetition can take for ever: write it without"
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"not a regular expression: {error}"
    if unbounded not in SEEN:
        return f"more than {max(SEEN)} repetitions that could all fit: use several terms joined by and"
    return None


class _NestedError(Exception):
    """A repetition inside a repetition, or a choice inside one: exponential time."""


def _unbounded(value: str) -> int:
    """How many repetitions of an expression multiply the time that a text can take.

    One that must end where another character follows (`[0-9]+x`) does not.
    """
    from re import _parser  # type: ignore[attr-defined]  # the public way to it is deprecated

    repetitions, optional = _count(list(_parser.parse(value)), None, inside=False)
    return repetitions + optional // OPTIONAL


OPTIONAL = 5  # parts with `?` or a short `{m,n}` weigh as much as one unbounded repetition
SHORT = 9  # `{m,n}` up to here is short
UNROLLED = 4  # `(...){n}` up to here is as if it was written n times


def _count(items: list[Any], after: Any, *, inside: bool) -> tuple[int, int]:
    """(repetitions that multiply, optional parts); `after` follows the items. Raises _NestedError."""
    repetitions = optional = 0
    for at, (operation, argument) in enumerate(items):
        name = str(operation)
        follows = items[at + 1] if at + 1 < len(items) else after
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = argument
            possessive = name == "POSSESSIVE_REPEAT"
            if inside and least != most:
                raise _NestedError
            times = most if least == most and most <= UNROLLED else 1
            deeper = inside or (most > times and most > 1 and not possessive)
            below = _count(list(body), follows, inside=deeper)
            repetitions += below[0] * times
            optional += below[1] * times
            if least == most or possessive or _ends_before(list(body), follows):
                continue
            if most - least <= SHORT:
                optional += 1
            else:
                repetitions += 1
        elif name == "BRANCH":
            if inside:
                raise _NestedError
            counts = [_count(list(branch), follows, inside=False) for branch in argument[1]]
            repetitions += max(one for one, _ in counts)
            optional += max(two for _, two in counts)
        else:
            for part in _below(name, argument):
                one, two = _count(list(part), follows, inside=inside)
                repetitions, optional = repetitions + one, optional + two
    return repetitions, optional


def _below(name: str, argument: Any) -> list[Any]:
    """The expressions inside an operation that is neither a repetition nor a branch."""
    if name == "SUBPATTERN":
        return [argument[3]]
    if name in ("ASSERT", "ASSERT_NOT"):
        return [argument[1]]
    if name == "ATOMIC_GROUP":
        return [argument]
    if name == "GROUPREF_EXISTS":
        return [part for part in argument[1:] if part is not None]
    return []


def _ends_before(body: list[Any], follows: Any) -> bool:
    """Whether a repetition of one character can only end in one place: what follows does not fit it."""
    if len(body) != 1 or follows is None or str(follows[0]) != "LITERAL":
        return follows is None and len(body) == 1  # nothing follows: there is nothing to try again for
    name, argument = str(body[0][0]), body[0][1]
    character = follows[1]
    if name == "LITERAL":
        return bool(argument != character)
    if name == "NOT_LITERAL":
        return bool(argument == character)
    if name != "IN":
        return False
    fits = negated = False
    for kind, what in argument:
        if str(kind) == "NEGATE":
            negated = True
        elif str(kind) == "LITERAL":
            fits = fits or what == character
        elif str(kind) == "RANGE":
            fits = fits or what[0] <= character <= what[1]
        elif str(what) in _CATEGORIES:
            fits = fits or re.match(_CATEGORIES[str(what)], chr(character)) is not None
        else:
            return False
    return fits is negated


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
