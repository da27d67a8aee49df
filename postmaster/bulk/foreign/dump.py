"""SQL dumps as rows: the text that mysqldump, pg_dump and sqlite3 .dump write, read as hostile.

Understood: CREATE TABLE for the order of columns, INSERT with one or many rows, COPY … FROM stdin. Everything
else is skipped up to its semicolon. Nothing is ever run. A dump of MySQL has backslash escapes in its texts;
one of PostgreSQL or SQLite only in E'…'.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from postmaster.errors import UsageError

_TOKEN = re.compile(
    r"""
      (?P<space>[\s]+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
    | (?P<back>`(?:[^`]|``)*`) | (?P<double>"(?:[^"]|"")*")
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*) | (?P<number>[0-9][0-9A-Za-z.+]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_TEXTS = {
    True: re.compile(r"'((?:[^'\\]|\\.|'')*)'", re.DOTALL),
    False: re.compile(r"'((?:[^']|'')*)'", re.DOTALL),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a", "f": "\f", "v": "\v"}
HEAD = 4000  # characters that say whose dump it is
_MYSQL = re.compile(r"MySQL|MariaDB|phpMyAdmin|(?:TABLE|EXISTS|INTO) `")
_NO_COLUMN = frozenset(
    ("PRIMARY", "KEY", "UNIQUE", "CONSTRAINT", "INDEX", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "EXCLUDE")
)


@dataclass(slots=True)
class Record:
    """A row of a table. What is NULL or not there reads as an empty text."""

    place: str
    values: dict[str, str | None]

    def text(self, name: str) -> str:
        return self.values.get(name) or ""

    def flag(self, name: str, default: bool = True) -> bool:
        """A boolean, however it is written."""
        value = self.values.get(name)
        if value is None:
            return default
        return value.strip().lower() not in ("0", "false", "f", "n", "no", "", "\0", "b'0'")

    def number(self, name: str) -> int:
        """A whole number; 0 for what is none."""
        value = self.text(name).strip().partition(".")[0]
        return int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else 0


@dataclass(slots=True)
class Rows:
    """Tables by name, rows that are none as (place, why), and the tables with rows that nobody asked for.

    `names` are those of all tables, in small letters.
    """

    tables: dict[str, list[Record]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # name, word, text, number, mark, end
    value: str
    at: int


def read(text: str, wanted: Collection[str]) -> Rows:
    """The rows of these tables.

    Raises UsageError where a text or comment never ends, or a table is there twice.
    """
    reader = _Reader(text, wanted)
    reader.run()
    return reader.rows


class _Reader:
    def __init__(self, text: str, wanted: Collection[str]) -> None:
        self._text = text
        self._wanted = frozenset(wanted)
        self._at = 0
        self._line, self._counted = 1, 0
        self._backslash = _MYSQL.search(text[:HEAD]) is not None and "PostgreSQL" not in text[:HEAD]
        self._columns: dict[str, list[str]] = {}
        self.rows = Rows()

    def run(self) -> None:
        while (token := self._next()).kind != "end":
            word = token.value.upper() if token.kind == "word" else ""
            if word == "INSERT" or word == "REPLACE":
                self._insert()
            elif word == "CREATE":
                self._create()
            elif word == "COPY":
                self._copy()
            elif token.kind == "mark" and token.value == "\\":  # a command of psql's ends with its line
                end = self._text.find("\n", self._at)
                self._at = end if end >= 0 else len(self._text)
            elif token.value != ";":
                self._skip()

    def _place(self, at: int) -> str:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = max(at, self._counted)
        return f"line {self._line}"

    def _next(self) -> _Token:
        text = self._text
        while self._at < len(text):
            at = self._at
            if text[at] == "'":
                found = _TEXTS[self._backslash].match(text, at)
                if found is None:
                    raise UsageError(f"{self._place(at)}: a text that never ends")
                self._at = found.end()
                return _Token("text", self._plain(found[1], self._backslash), at)
            match = _TOKEN.match(text, at)
            if match is None:
                if text.startswith("/*", at) or text[at] in '`"':
                    raise UsageError(f"{self._place(at)}: a comment or name that never ends")
                self._at += 1
                return _Token("mark", text[at], at)
            self._at = match.end()
            kind = match.lastgroup
            if kind == "space":
                continue
            value = match[0]
            if kind in ("back", "double"):
                quote = value[0]
                return _Token("name", value[1:-1].replace(quote * 2, quote), at)
            if kind == "escaped":
                return _Token("text", self._plain(value[2:-1], True), at)
            if kind in ("dollar", "tag"):
                return _Token("text", value.split("$", 2)[2].rsplit("$", 2)[0], at)
            return _Token("word" if kind == "word" else "number", value, at)
        return _Token("end", "", len(text))

    @staticmethod
    def _plain(text: str, backslash: bool) -> str:
        if not backslash:
            return text.replace("''", "'")
        return re.sub(
            r"''|\\(.)", lambda m: "'" if m[1] is None else _ESCAPES.get(m[1], m[1]), text, flags=re.DOTALL
        )

    def _skip(self) -> None:
        while (token := self._next()).kind != "end" and not (token.kind == "mark" and token.value == ";"):
            pass

    def _name(self, token: _Token) -> tuple[str, _Token]:
        """(the last part of a name with dots, the token behind it)."""
        name = token.value
        following = self._next()
        while following.value == "." and following.kind == "mark":
            name = self._next().value
            following = self._next()
        return name.lower(), following

    def _list(self) -> list[str]:
        """Names up to the closing bracket."""
        found = []
        while (token := self._next()).kind != "end" and token.value != ")":
            if token.kind in ("name", "word"):
                found.append(token.value.lower())
        return found

    def _create(self) -> None:
        token = self._next()
        while token.kind == "word" and token.value.upper() in ("TEMPORARY", "UNLOGGED"):
            token = self._next()
        if token.value.upper() != "TABLE":
            self._skip_from(token)
            return
        token = self._next()
        while token.kind == "word" and token.value.upper() in ("IF", "NOT", "EXISTS"):
            token = self._next()
        name, token = self._name(token)
        if token.value == "(":
            columns, depth, is_first = [], 1, True
            while depth and (token := self._next()).kind != "end":
                if is_first and (
                    token.kind == "name" or (token.kind == "word" and token.value.upper() not in _NO_COLUMN)
                ):
                    columns.append(token.value.lower())
                is_first = depth == 1 and token.kind == "mark" and token.value == ","
                if token.kind == "mark":
                    depth += {"(": 1, ")": -1}.get(token.value, 0)
            if name in self._wanted and name in self._columns:
                raise UsageError(
                    f"{self._place(token.at)}: the table {name} is there twice",
                    hint="make the dump of that one database alone",
                )
            self._columns[name] = columns
            self._found(name)
        self._skip_from(token)

    def _skip_from(self, token: _Token) -> None:
        if token.kind != "end" and not (token.kind == "mark" and token.value == ";"):
            self._skip()

    def _insert(self) -> None:
        token = self._next()
        while token.kind == "word" and token.value.upper() in (
            "INTO",
            "IGNORE",
            "OR",
            "REPLACE",
            "LOW_PRIORITY",
        ):
            token = self._next()
        name, token = self._name(token)
        columns = self._columns.get(name)
        if token.kind == "mark" and token.value == "(":
            columns = self._list()
            token = self._next()
        if token.value.upper() not in ("VALUES", "VALUE"):
            self._skip_from(token)
            return
        token = self._next()
        while token.kind == "mark" and token.value == "(":
            place = self._place(token.at) if name in self._wanted else ""
            values = self._values()
            self._add(name, place, columns, values)
            token = self._next()
            if token.kind == "mark" and token.value == ",":
                token = self._next()
        self._skip_from(token)

    def _values(self) -> list[str | None]:
        found: list[str | None] = []
        value: str | None = None
        depth = 1
        while (token := self._next()).kind != "end":
            if token.kind == "mark" and token.value in "()":
                depth += 1 if token.value == "(" else -1
                if depth == 0:
                    break
            elif token.kind == "mark" and token.value == "," and depth == 1:
                found.append(value)
                value = None
            elif token.kind == "text":
                value = token.value
            elif token.kind == "number":
                value = f"-{token.value}" if value == "-" else value or token.value
            elif token.value == "-":
                value = "-"
            elif token.kind == "word" and token.value.upper() in ("TRUE", "FALSE"):
                value = token.value.lower()
        found.append(value)
        return found

    def _copy(self) -> None:
        name, token = self._name(self._next())
        columns = self._list() if token.value == "(" else self._columns.get(name)
        words = []
        while (token := self._next()).kind != "end" and token.value != ";":
            words.append(token.value.upper())
        if words[:2] != ["FROM", "STDIN"]:
            return
        self._found(name)
        place = self._place(self._at)
        at = self._text.find("\n", self._at) + 1
        while at:
            end = self._text.find("\n", at)
            line = self._text[at : end if end >= 0 else len(self._text)]
            if line.rstrip("\r") == "\\.":
                break
            if name not in self._wanted:
                self.rows.others.add(name)
            elif line or end >= 0:
                values = [self._copied(one) for one in line.split("\t")]
                self._add(name, self._place(at), columns, values)
            at = end + 1
        else:
            raise UsageError(f"{place}: rows of {name} that never end")
        self._at = at + 2

    @staticmethod
    def _copied(text: str) -> str | None:
        if text == "\\N":
            return None
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text) if "\\" in text else text

    def _found(self, name: str) -> None:
        """A table without rows is there too."""
        self.rows.names.add(name)
        if name in self._wanted:
            self.rows.tables.setdefault(name, [])

    def _add(self, name: str, place: str, columns: list[str] | None, values: list[str | None]) -> None:
        self.rows.names.add(name)
        if name not in self._wanted:
            self.rows.others.add(name)
        elif columns is None:
            self.rows.problems.append((place, f"a row of {name}, whose columns are nowhere named"))
        elif len(columns) != len(values):
            self.rows.problems.append(
                (place, f"a row of {name} has {len(values)} values, and there are {len(columns)} columns")
            )
        else:
            self.rows.tables.setdefault(name, []).append(
                Record(place, dict(zip(columns, values, strict=True)))
            )


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of each line that is neither empty nor a comment."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line
