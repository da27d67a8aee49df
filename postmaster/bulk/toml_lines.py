"""On which lines the sections and entries of a TOML text stand: the standard library's reader does not say.

Only for a text that was read, and so is TOML (1.0): nothing is judged here, strings and comments are skipped.
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
