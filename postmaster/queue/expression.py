r"""The filter language of every queue command: `sender=*@shop.example and age>2h`.

A text becomes a tree (`parse`), a tree becomes a test on a message (`compile_filter`), and prints
itself so that parsing the print gives the same tree. A mistake is shown with a caret at its place.

    expression = both {"or" both}           both = one {"and" one}
    one        = "not" one | "(" expression ")" | FIELD OPERATOR VALUE | WORD

A WORD alone is a queue ID, or an address (with `@`) that is sender or recipient. A VALUE ends at a
space or parenthesis, or is quoted with `"` or `'`; in quotes `\"`, `\'` and `\\` stand for the
character, every other backslash for itself, so that regular expressions need no second one.

A field with several values (recipients, reasons) matches when any of them does; a message that has
no value for a field does not match. `!=` and `!~` are the negation of `=` and `~`. So a filter is
true or false, never unknown: `not not x` is `x`, and De Morgan's laws hold. Where the source of the
messages cannot know a field, asking for it is an error (`check_source`), as `not` would otherwise
select everything.

Text is compared without case, but for queue IDs and instances. What it does not do: guess. A bare
field name, an operator without a value and a value without a field are errors, as half a filter
could select a whole queue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postmaster.errors import UsageError
from postmaster.postfix.spool import is_queue_id
from postmaster.queue.fields import DURATIONS, FIELDS, SPOOL_ONLY, TEXTS, Field, Kind
from postmaster.queue.matching import Headers, Test, compile_filter
from postmaster.queue.patterns import mistake_in_expression
from postmaster.queue.tree import (
    KEYWORDS,
    OPERATORS,
    AnyOf,
    Node,
    Not,
    Term,
    all_of,
    any_of,
    fields_of,
    needs,
    quantity,
)

__all__ = [
    "FilterError",
    "Headers",
    "Node",
    "Test",
    "all_of",
    "any_of",
    "check_source",
    "compile_filter",
    "fields_of",
    "needs",
    "needs_spool",
    "parse",
    "parse_word",
    "term",
]

#: No filter a person writes is longer, or nested deeper; both bound the work on hostile input.
MAXIMUM_CHARACTERS = 4096
MAXIMUM_DEPTH = 50
SHOWN = 100  # characters of a filter around a mistake

_ORDER = ("<=", ">=", "<", ">")


class FilterError(UsageError):
    """A mistake in a filter; `detail` has the filter with a caret under the mistake's place."""

    code = "invalid_filter"


def parse(text: str) -> Node:
    """The tree of a filter. Raises FilterError with a caret at the mistake."""
    if len(text) > MAXIMUM_CHARACTERS:
        raise FilterError(f"the filter is longer than {MAXIMUM_CHARACTERS} characters")
    return _Parser(text).parse()


def parse_word(text: str) -> AnyOf | Term | None:
    """The filter that a queue ID or an address is by itself; None for any other word."""
    return _by_itself(text) if _WORD.fullmatch(text) else None


def _by_itself(text: str) -> AnyOf | Term | None:
    if "@" in text:
        return AnyOf((Term("sender", "=", text), Term("recipient", "=", text)))
    marked = text.rstrip("*!#")  # mailq marks active, held and expired messages so
    return Term("id", "=", marked) if is_queue_id(marked) else None


def term(name: str, operator: str, value: str) -> Not | Term:
    """A comparison, checked as `parse` does. Raises FilterError."""
    field = FIELDS[name]
    wrong = _mistake_in(field, operator, value)
    if wrong is not None:
        raise FilterError(wrong)
    made = Term(name, operator.removeprefix("!"), _plain_value(field, value))
    return Not(made) if operator.startswith("!") else made


def needs_spool(node: Node) -> bool:
    """Whether a filter asks for what `postqueue` cannot know."""
    return not fields_of(node).isdisjoint(SPOOL_ONLY)


def check_source(node: Node, source: str) -> None:
    """Refuse a filter that asks for what its source cannot know. Raises FilterError."""
    if source == "postqueue" and needs_spool(node):
        missing = sorted(fields_of(node) & SPOOL_ONLY)
        raise FilterError(
            f"{' and '.join(missing)} cannot be told from postqueue",
            hint="run it as root, with --source spool",
        )


def _mistake_in(field: Field, operator: str, value: str) -> str | None:
    """What is wrong with a comparison; None: nothing."""
    if field.kind in TEXTS:
        if operator in _ORDER:
            return f"{field.name} is text and has no {operator}"
        return mistake_in_expression(value) if operator.endswith("~") else None
    if operator.endswith("~"):
        return f"{field.name} is a {_noun(field)} and has no {operator}"
    if field.kind in DURATIONS and operator not in _ORDER:
        return f"{field.name} changes all the time: compare it with < or >"
    if quantity(value, field.kind) is None:
        example = {Kind.size: "5M", Kind.number: "3"}.get(field.kind, "30m or 2d")
        return f"{field.name} wants a {_noun(field)} such as {example}"
    return None


def _noun(field: Field) -> str:
    return field.kind.value.partition(" ")[0]


def _plain_value(field: Field, value: str) -> str:
    """The value as it is compared: addresses without brackets, the null sender as empty."""
    if field.name in ("sender", "recipient"):
        if value.startswith("<") and value.endswith(">"):
            value = value[1:-1]
        if field.name == "sender" and value.upper() == "MAILER-DAEMON":
            return ""  # as mailq prints it
    return value


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<operator>""" + "|".join(OPERATORS) + r""")"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<unclosed>["'])"""
    r"""|(?P<word>(?:[^\s()=~<>!"'][^\s()=~<>!]*)(?:!(?=\s|\Z))?|!))""",
    re.DOTALL,
)
_WORD = re.compile(r"""[^\s()=~<>!"'][^\s()=~<>!]*!?""")
_VALUE = re.compile(r"[^\s()]+")
_SPACE = re.compile(r"\s*")
_ESCAPED = re.compile(r"""\\(["'\\])""")


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
        nodes = [self._both()]
        while self._keyword("or"):
            nodes.append(self._both())
        node = any_of(nodes)
        assert node is not None
        return node

    def _both(self) -> Node:
        nodes = [self._one()]
        while self._keyword("and"):
            nodes.append(self._one())
        node = all_of(nodes)
        assert node is not None
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
        operator = self._peek()
        if token.kind == "quoted" and operator.kind != "operator":
            return self._bare(token, _unquote(token.text))
        if token.kind != "word":
            raise self._mistake("expected a field, a queue ID or an address", token.start)
        if operator.kind != "operator":
            return self._bare(token, token.text)
        field = FIELDS.get(token.text.lower())
        if field is None:
            raise self._mistake(f"there is no field {token.text}", token.start, _nearest(token.text))
        self._next()
        return self._comparison(field, operator)

    def _comparison(self, field: Field, operator: _Token) -> Not | Term:
        start, value = self._value()
        try:
            return term(field.name, operator.text, value)
        except FilterError as error:
            of_the_value = field.kind in TEXTS and operator.text.endswith("~")
            at = start if of_the_value or " wants " in error.message else operator.start
            raise self._mistake(error.message, at) from None

    def _value(self) -> tuple[int, str]:
        """Where a value starts, and the value: a quoted text, or up to the next space or parenthesis."""
        found = _SPACE.match(self._text, self._at)
        start = found.end() if found else self._at
        if start >= len(self._text) or self._text[start] == ")":
            raise self._mistake("a value is missing here", start)
        if self._text[start] == "(":
            raise self._mistake("a value with parentheses or spaces needs quotes", start)
        if self._text[start] in "\"'":
            token = self._next()
            if token.kind == "unclosed":
                raise self._mistake("this quote is never closed", start)
            return start, _unquote(token.text)
        plain = _VALUE.match(self._text, start)
        assert plain is not None
        value = plain[0]
        if value.lower() in KEYWORDS:
            raise self._mistake(f"a value is missing before {value}", start)
        if value[0] in "=~<>!" and not (value.startswith("<") and value.endswith(">")):
            raise self._mistake("two operators in a row", start)
        self._at = plain.end()
        return start, value

    def _bare(self, token: _Token, word: str) -> AnyOf | Term:
        if word.lower() in FIELDS:
            end = token.start + len(token.text)
            raise self._mistake(f"{word} is a field: compare it with something", end, _example(word))
        node = _by_itself(word)
        if node is None:
            raise self._mistake(f"{word} is no field, queue ID or address", token.start, _nearest(word))
        return node

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

    def _mistake(self, what: str, at: int, hint: str | None = None) -> FilterError:
        return FilterError(
            _shortened(what),
            hint=hint or "as in 'sender=*@shop.example and age>2h'; values with spaces in quotes",
            detail=f"{_pointed(self._text, at)}\n{_fields()}",
        )


def _fields() -> str:
    import textwrap

    return textwrap.fill(
        f"fields: {', '.join(FIELDS)}", 78, subsequent_indent="        ", break_on_hyphens=False
    )


def _unquote(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])


def _shortened(what: str) -> str:
    return what if len(what) <= 200 else what[:199] + "…"


def _nearest(word: str) -> str | None:
    import difflib

    close = difflib.get_close_matches(word.lower()[:40], FIELDS, 1)
    return f"did you mean {close[0]}?" if close else None


def _example(name: str) -> str:
    examples = {
        "size": ">5M",
        "recipients": ">10",
        "queue": "=deferred",
        "reason": "~greylist",
        "dsn": "=4.7.*",
    }
    ordered = FIELDS[name.lower()].kind in DURATIONS
    example = examples.get(name.lower(), ">2h" if ordered else "=*example*")
    return f"as in '{name.lower()}{example}'; a shell takes an unquoted < or > for itself"


def _pointed(text: str, at: int) -> str:
    """The filter, or what is around the place, and a line below with a caret under it."""
    from unicodedata import east_asian_width

    from postmaster.render.escape import printable

    start = max(0, at - SHOWN // 2) if len(text) > SHOWN else 0
    before = ("…" if start else "") + printable(text[start:at])
    after = printable(text[at : start + SHOWN]) + ("…" if len(text) > start + SHOWN else "")
    width = sum(2 if east_asian_width(c) in "WF" else 1 for c in before)
    return f"  {before}{after}\n  {' ' * width}^"
