"""The filter language of every queue command: `sender=*@shop.example and age>2h`.

A text becomes a tree (`parse`), a tree becomes a test on a message (`compile_filter`), and prints
itself so that parsing the print gives the same tree. A mistake is shown with a caret at its place.

    expression = both {"or" both}           both = one {"and" one}
    one        = "not" one | "(" expression ")" | FIELD OPERATOR VALUE | WORD

A WORD alone is a queue ID, or an address (with `@`) that is sender or recipient. A field with
several values (recipients, reasons) matches when any of them does; `!=` and `!~` are the negation
of `=` and `~`, so `not` and `!` always agree. A field that a message has no value for matches
nothing but `not`. Text is compared without case; `*`, `?` and `[…]` are wildcards.

What it does not do: guess. A bare field name, an operator without a value and a value without a
field are errors, as half a filter could select a whole queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from postmaster.errors import UsageError

#: No filter a person writes is longer, or nested deeper; both bound the work on hostile input.
MAXIMUM_CHARACTERS = 4096
MAXIMUM_DEPTH = 50

OPERATORS = ("!=", "!~", "<=", ">=", "=", "~", "<", ">")
_ORDER = ("<=", ">=", "<", ">")


class FilterError(UsageError):
    """A mistake in a filter; the message has the filter and a caret under the mistake's place."""

    code = "invalid_filter"


@dataclass(frozen=True, slots=True)
class Field:
    """What can be asked about a message. `kind` decides which operators and values fit."""

    name: str
    kind: str  # text, number, size (bytes), duration (seconds)
    meaning: str


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("queue", "text", "maildrop, incoming, active, deferred, hold or corrupt"),
        Field("id", "text", "queue ID"),
        Field("sender", "text", "envelope sender; empty for a bounce"),
        Field("recipient", "text", "any recipient that is still to do"),
        Field("sender-domain", "text", "domain of the sender"),
        Field("recipient-domain", "text", "domain of any recipient"),
        Field("size", "size", "bytes of the message"),
        Field("age", "duration", "since arrival"),
        Field("retry", "duration", "until the next attempt"),
        Field("expires", "duration", "until the message is returned as undeliverable"),
        Field("recipients", "number", "how many recipients are still to do"),
        Field("reason", "text", "why any recipient is deferred"),
        Field("dsn", "text", "enhanced status code of any recipient, such as 4.7.1"),
        Field("client", "text", "name or address of the client it came from"),
        Field("helo", "text", "what the client called itself"),
        Field("sasl", "text", "login that sent it"),
        Field("instance", "text", "Postfix instance"),
        Field("subject", "text", "Subject header, decoded"),
        Field("from", "text", "From header, decoded"),
        Field("message-id", "text", "Message-ID header"),
    )
}

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([a-z]?)\Z", re.IGNORECASE)
_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<operator>!=|!~|<=|>=|=|~|<|>)"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<unclosed>["'])|(?P<word>[^\s()=~<>!"']+|!))""",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^\s()\"']+\Z")
_QUEUE_ID = re.compile(r"(?:[0-9A-F]{6,}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9A-Za-z]+)\Z")


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
    one: Both | Either | Not | Term

    def __str__(self) -> str:
        inner = f"({self.one})" if isinstance(self.one, Both | Either) else str(self.one)
        return f"not {inner}"


@dataclass(frozen=True, slots=True)
class Both:
    first: Both | Either | Not | Term
    second: Both | Either | Not | Term

    def __str__(self) -> str:
        first = f"({self.first})" if isinstance(self.first, Either) else str(self.first)
        second = f"({self.second})" if isinstance(self.second, Both | Either) else str(self.second)
        return f"{first} and {second}"


@dataclass(frozen=True, slots=True)
class Either:
    first: Both | Either | Not | Term
    second: Both | Either | Not | Term

    def __str__(self) -> str:
        second = f"({self.second})" if isinstance(self.second, Either) else str(self.second)
        return f"{self.first} or {second}"


Node = Both | Either | Not | Term


def parse(text: str) -> Node:
    """The tree of a filter. Raises FilterError with a caret at the mistake."""
    if len(text) > MAXIMUM_CHARACTERS:
        raise FilterError(f"the filter is longer than {MAXIMUM_CHARACTERS} characters")
    return _Parser(text).parse()


def all_of(nodes: Iterable[Node]) -> Node | None:
    """All of several filters, None for none."""
    whole: Node | None = None
    for node in nodes:
        whole = node if whole is None else Both(whole, node)
    return whole


def fields_of(node: Node) -> frozenset[str]:
    """Which fields a filter asks for, so that no more is read."""
    if isinstance(node, Term):
        return frozenset((node.field,))
    if isinstance(node, Not):
        return fields_of(node.one)
    return fields_of(node.first) | fields_of(node.second)


#: Gives the values of a field: texts, or numbers in the field's unit. No value: the message has none.
Values = Callable[[object], "tuple[str, ...] | tuple[float, ...]"]
Test = Callable[[object], bool]


def compile_filter(node: Node, values: Mapping[str, Values]) -> Test:
    """A test on messages. `values` has a function for each field that the filter asks for."""
    if isinstance(node, Not):
        test = compile_filter(node.one, values)
        return lambda message: not test(message)
    if isinstance(node, Both):
        first, second = compile_filter(node.first, values), compile_filter(node.second, values)
        return lambda message: first(message) and second(message)
    if isinstance(node, Either):
        first, second = compile_filter(node.first, values), compile_filter(node.second, values)
        return lambda message: first(message) or second(message)
    return _compile_term(node, values[node.field])


def _compile_term(term: Term, values: Values) -> Test:
    if FIELDS[term.field].kind == "text":
        matches = _text_test(term.operator, term.value)
        return lambda message: any(map(matches, values(message)))  # type: ignore[arg-type]
    bound = quantity(term.value, FIELDS[term.field].kind)
    assert bound is not None
    compare = {
        "=": lambda value: value == bound,
        "<": lambda value: value < bound,
        "<=": lambda value: value <= bound,
        ">": lambda value: value > bound,
        ">=": lambda value: value >= bound,
    }[term.operator]
    return lambda message: any(map(compare, values(message)))


@lru_cache(maxsize=64)
def _text_test(operator: str, value: str) -> Callable[[str], object]:
    if operator == "~":
        return re.compile(value).search
    folded = value.casefold()
    if not any(c in folded for c in "*?["):
        return lambda text: text.casefold() == folded
    if folded.startswith("*") and not any(c in folded[1:] for c in "*?["):
        ending = folded[1:]  # the commonest glob, five times as fast as an expression
        return lambda text: text.casefold().endswith(ending)
    import fnmatch

    match = re.compile(fnmatch.translate(folded), re.DOTALL).match
    return lambda text: match(text.casefold())


def quantity(text: str, kind: str) -> float | None:
    """A number with its unit, in bytes, seconds or a count; None when it is none."""
    found = _QUANTITY.match(text)
    if found is None:
        return None
    number, unit = float(found[1]), found[2].lower()
    if kind == "number":
        return number if not unit else None
    if kind == "size":
        return number * _SIZES[unit] if unit in _SIZES else None
    if not unit:
        return 0.0 if number == 0 else None  # 5 of what?
    return number * _DURATIONS[unit] if unit in _DURATIONS else None


def _quote(value: str) -> str:
    if _PLAIN.match(value) and value[0] not in "=~<>!":
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._either()
        token = self._next()
        if token.kind == "close":
            raise self._mistake("this parenthesis was never opened", token.start)
        if token.kind != "end":
            raise self._mistake("expected and, or, or the end here", token.start)
        return node

    def _either(self) -> Node:
        node = self._both()
        while self._keyword("or"):
            node = Either(node, self._both())
        return node

    def _both(self) -> Node:
        node = self._one()
        while self._keyword("and"):
            node = Both(node, self._one())
        return node

    def _one(self) -> Node:
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise self._mistake(f"nested more than {MAXIMUM_DEPTH} deep", self._at)
        try:
            if self._keyword("not"):
                return Not(self._one())
            token = self._next()
            if token.kind == "open":
                node = self._either()
                closing = self._next()
                if closing.kind != "close":
                    raise self._mistake("a closing parenthesis is missing here", closing.start)
                return node
            return self._term(token)
        finally:
            self._depth -= 1

    def _term(self, token: _Token) -> Node:
        if token.kind == "end":
            raise self._mistake("something is missing here", token.start)
        if token.kind == "unclosed":
            raise self._mistake("this quote is never closed", token.start)
        if token.kind != "word":
            raise self._mistake("expected a field, a queue ID or an address", token.start)
        operator = self._peek()
        if operator.kind != "operator":
            return self._bare(token)
        field = FIELDS.get(token.text.lower())
        if field is None:
            raise self._mistake(f"there is no field {token.text}", token.start, fields=True)
        self._next()
        return self._comparison(field, operator)

    def _comparison(self, field: Field, operator: _Token) -> Node:
        start, value = self._value()
        if field.kind == "text":
            if operator.text in _ORDER:
                raise self._mistake(f"{field.name} is text and has no {operator.text}", operator.start)
            if operator.text.endswith("~"):
                self._check_regular_expression(value, start)
        else:
            if operator.text.endswith("~"):
                raise self._mistake(f"{field.name} is a {field.kind} and has no ~", operator.start)
            if quantity(value, field.kind) is None:
                example = {"size": "5M", "duration": "30m or 2d", "number": "3"}[field.kind]
                raise self._mistake(f"{field.name} wants a {field.kind} such as {example}", start)
        term = Term(field.name, operator.text.removeprefix("!"), value)
        return Not(term) if operator.text.startswith("!") else term

    def _value(self) -> tuple[int, str]:
        """A quoted text, or everything up to the next space or parenthesis."""
        rest = self._text[self._at :]
        start = self._at + len(rest) - len(rest.lstrip())
        if start >= len(self._text) or self._text[start] in "()":
            raise self._mistake("a value is missing here", start)
        if self._text[start] in "\"'":
            token = self._next()
            if token.kind == "unclosed":
                raise self._mistake("this quote is never closed", start)
            return start, re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        end = start
        while end < len(self._text) and not self._text[end].isspace() and self._text[end] not in "()\"'":
            end += 1
        value = self._text[start:end]
        if value.lower() in ("and", "or", "not"):
            raise self._mistake(f"a value is missing before {value}", start)
        if value[0] in "=~<>!":
            raise self._mistake("two operators in a row", start)
        self._at = end
        return start, value

    def _bare(self, token: _Token) -> Node:
        word = token.text
        if word.lower() in FIELDS:
            raise self._mistake(f"{word} is a field: compare it with something", token.start + len(word))
        if "@" in word:
            return Either(Term("sender", "=", word), Term("recipient", "=", word))
        if _QUEUE_ID.match(word):
            return Term("id", "=", word)
        raise self._mistake(f"{word} is no field, queue ID or address", token.start, fields=True)

    def _check_regular_expression(self, value: str, start: int) -> None:
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what re only warns of is a mistake as well
                re.compile(value)
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise self._mistake(f"not a regular expression: {error}", start) from None

    def _keyword(self, word: str) -> bool:
        token = self._peek()
        if token.kind == "word" and token.text.lower() == word:
            self._next()
            return True
        return False

    def _peek(self) -> _Token:
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            return _Token("end", "", len(self._text.rstrip()))
        return _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))

    def _next(self) -> _Token:
        token = self._peek()
        if token.kind != "end":
            self._at = token.start + len(token.text)
        return token

    def _mistake(self, what: str, at: int, *, fields: bool = False) -> FilterError:
        shown = "".join(c if c.isprintable() else "?" for c in self._text)
        names = "fields: " + ", ".join(FIELDS)
        return FilterError(
            f"{what}\n  {shown}\n  {' ' * at}^", hint=names if fields else "fields and examples: queue --help"
        )
