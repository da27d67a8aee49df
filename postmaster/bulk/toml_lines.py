"""What the standard library's reader of TOML (1.0) lacks: on which lines things stand, and a bound for keys.

Lines are for a text that was read, and so is TOML: nothing is judged there, strings and comments are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_KEY = r"""[ \t]*(?:"(?P<{0}2>[^"\n]*)"|'(?P<{0}1>[^'\n]*)'|(?P<{0}0>[A-Za-z0-9_-]+))[ \t]*"""
_SKIPPED = r'''\#[^\n]*|"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|\'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}''' + (
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
)
# Outside of every value a line may begin with a key or with the head of a table.
_OUTSIDE = re.compile(
    rf"^{_KEY.format('key')}[.=]|^[ \t]*\[\[?{_KEY.format('head')}|{_SKIPPED}|(?P<open>[\[{{])",
    re.MULTILINE | re.DOTALL,
)
_INSIDE = re.compile(rf"{_SKIPPED}|(?P<open>[\[{{])|(?P<close>[\]}}])", re.DOTALL)

#: Of a dotted key. Entries have keys of one part; the standard library's reader takes as long as the square.
PARTS_LIMIT = 100
_TOKEN = re.compile(
    r"""[ \t]*(?:(?P<word>[A-Za-z0-9_-]+)|(?P<quote>"{3}|'{3}|"|')|(?P<dot>\.)|\#[^\n]*|.)""", re.DOTALL
)
_ENDS = {
    '"': re.compile(r'(?P<end>["\n])|\\'),
    '"""': re.compile(r'(?P<end>"{3,5})|\\'),
    "'": re.compile(r"(?P<end>['\n])"),
    "'" * 3: re.compile(r"(?P<end>'{3,5})"),
}


def long_key(text: str) -> int | None:
    """The line of the first dotted key with too many parts, in a text that need not be TOML."""
    if all(line.count(".") < PARTS_LIMIT for line in text.split("\n")):
        return None
    at, parts, is_part = 0, 0, False
    while (match := _TOKEN.match(text, at)) is not None:
        at = match.end()
        if match.lastgroup == "dot":
            parts = parts + 1 if is_part else 0
            is_part = False
            if parts == PARTS_LIMIT:
                return text.count("\n", 0, at) + 1
            continue
        if match.lastgroup is None or is_part:
            parts = 0
        is_part = match.lastgroup is not None
        if match.lastgroup == "quote":
            at = _end_of_string(text, match["quote"], at)
    return None


def _end_of_string(text: str, quote: str, at: int) -> int:
    while (match := _ENDS[quote].search(text, at)) is not None:
        at = match.end()
        if match.lastgroup == "end":
            return at
        at += 1  # what is escaped
    return len(text)


@dataclass(slots=True)
class Lines:
    """`sections`: where each name at the top stands first; `entries`: where the tables of a section begin."""

    sections: dict[str, int] = field(default_factory=dict)
    entries: dict[str, list[int]] = field(default_factory=dict)

    def entry(self, section: str, index: int, count: int) -> int | None:
        """The line of one of so many entries, or of its section; None for a name that is spelt oddly."""
        found = self.entries.get(section, [])
        return found[index] if len(found) == count else self.sections.get(section)


def lines_of(text: str) -> Lines:
    """Where what the text says stands."""
    found = Lines()
    name, in_root = "", True  # of the key at the top whose value is being passed
    depth, at, line, counted = 0, 0, 1, 0
    while (match := (_INSIDE if depth else _OUTSIDE).search(text, at)) is not None:
        at = match.end()
        if match.lastgroup is None:
            continue
        line += text.count("\n", counted, match.start())
        counted = match.start()
        if match.lastgroup == "close":
            depth -= 1
        elif match.lastgroup == "open":
            if in_root and depth == 1 and match["open"] == "{":
                found.entries.setdefault(name, []).append(line)
            depth += 1
        elif match.lastgroup.startswith("head"):
            in_root, name = False, match[match.lastgroup]
            found.sections.setdefault(name, line)
            if match[0].lstrip().startswith("[[") and text.startswith("]]", at):
                found.entries.setdefault(name, []).append(line)
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif in_root:
            name = match[match.lastgroup]
            found.sections.setdefault(name, line)
    return found
