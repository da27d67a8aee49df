"""Where a Sieve script sends mail on to (RFC 5228). Any bytes are a script: none is trusted.

Only the words are read, and not whether the script is a good one. So an address that stands behind a
`redirect` which would never run is named too, and one that the script puts together from variables is
named as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    \#[^\r\n]*                                   # a comment to the end of the line
  | /\*.*?(?:\*/|\Z)                             # a comment of any length
  | (?P<text>text:[ \t]*(?:\#[^\r\n]*)?\r?\n(?P<lines>.*?)(?:^\.\r?$|\Z))
  | "(?P<quoted>(?:[^"\\]|\\.)*)(?:"|\Z)
  | (?P<word>:?[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>[^\s])
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
LIMIT = 1 << 20  # bytes of a script that are looked at; Dovecot takes no larger one (sieve_max_script_size)


def redirects(script: bytes) -> list[str]:
    """The addresses that a script redirects to, each once, in its order."""
    found: list[str] = []
    in_redirect, skips = False, False
    for kind, text in _tokens(script[:LIMIT].decode("utf-8", "replace")):
        if kind == "word":
            if not in_redirect:
                in_redirect = text.lower() == "redirect"
            skips = text.lower() in _WITH_VALUE
        elif kind == "mark":
            if text in ";{}":
                in_redirect = False
            skips = skips and text == "["
        elif in_redirect and not skips:
            found.append(text.strip())
        else:
            skips = False
    return list(dict.fromkeys(found))


#: Tagged arguments of redirect whose value is no address (RFC 3461, RFC 6009, RFC 8580).
_WITH_VALUE = {":notify", ":ret", ":bytimerelative", ":bytimeabsolute", ":bymode"}


def _tokens(script: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(script):
        kind = match.lastgroup
        if kind == "quoted":
            yield "string", re.sub(r"\\(.)", r"\1", match["quoted"], flags=re.DOTALL)
        elif match["text"] is not None:
            yield "string", match["lines"]
        elif kind is not None:
            yield kind, match[kind]
