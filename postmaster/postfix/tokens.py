"""Address lists as Postfix reads them: results of look-ups, alias(5) values, `.forward` files.

`split` finds the addresses in a text; `quote` and `unquote` change the local part of one between the
external form (quoted where it must be; what tables are asked for) and the internal one (what a queue
file holds). Any text is read: what makes no sense to the scanner stays as it is, as in Postfix.

Left out: named groups (`name: a, b;`), which neither tables nor alias files use; their `:` and `;` are
characters like others. `:include:/path` and `"|command"` come out as one address each.

Sources: tok822_parse.c, quote_822_local.c.
"""

from __future__ import annotations

from dataclasses import dataclass

_SPACE = " \t\r\n"
_OPERATORS = "|%!" + '()<>@,;:\\".[]'
_WORDS = ("atom", "quoted", "literal")


@dataclass(frozen=True, slots=True)
class Token:
    """A word (atom, quoted, literal), a comment, or an operator whose kind is its character."""

    kind: str
    text: str
    begin: int  # where it stands in the text
    end: int


def split(text: str) -> list[str]:
    """The addresses in a list, each in internal form, in order. A missing comma is added."""
    found: list[str] = []
    current: list[Token] = []

    def finish() -> None:
        if current:
            found.append(internal(current))
            current.clear()

    tokens = [token for token in scan(text) if token.kind != "comment"]
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == ",":
            finish()
        elif token.kind == "<" and (close := _closing(tokens, at)) is not None:
            current.clear()  # what stands before is a person's name
            current.extend(tokens[at + 1 : close])  # nothing in <>: no address
            finish()
            at = close
        else:
            if current and token.kind in _WORDS and current[-1].kind in _WORDS and not _names(tokens, at):
                finish()
            current.append(token)
        at += 1
    finish()
    return found


def scan(text: str) -> list[Token]:
    """The tokens of a text. Anything is taken."""
    found = []
    at, end = 0, len(text)
    while at < end:
        begin, character = at, text[at]
        if character in _SPACE:
            at += 1
            continue
        if character == "(":
            at = _comment_end(text, at)
            found.append(Token("comment", text[begin:at], begin, at))
        elif character in '"[':
            closing = '"' if character == '"' else "]"
            word, at = _collect(text, at + 1, closing)
            at = min(at + 1, end)
            kind = "quoted" if character == '"' else "literal"
            found.append(Token(kind, word, begin, at))
        elif character != "\\" and character in _OPERATORS:
            at += 1
            found.append(Token(character, character, begin, at))
        else:
            word, at = _collect(text, at, _SPACE + _OPERATORS.replace("\\", ""))
            found.append(Token("atom", word, begin, at))
    return found


def internal(tokens: list[Token]) -> str:
    """Tokens of one address as text without quotes (tok822_internalize)."""
    text, before = "", None
    for token in tokens:
        if before is not None and before.kind in _WORDS and token.kind in _WORDS:
            text += " "
        text += f"[{token.text}]" if token.kind == "literal" else token.text
        before = token
    return text


def quote(address: str) -> str:
    """An address in internal form, in external form: its local part quoted where it must be."""
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    if local and _is_dot_string(local):
        return address
    escaped = "".join(f"\\{c}" if c in '"\\\r' or ord(c) > 127 else c for c in local)
    return f'"{escaped}"{at}{domain}'


def unquote(address: str) -> str:
    """An address in external form, in internal form (unquote_822_local)."""
    text, in_quotes, last_at, at = "", False, None, 0
    while at < len(address):
        character = address[at]
        if character == '"':
            in_quotes = not in_quotes
            at += 1
            continue
        if character == "@" and not in_quotes:
            last_at = (len(text), at)
        elif character == "\\":
            if at + 1 == len(address):
                break
            at += 1
            character = address[at]
        text += character
        at += 1
    return text if last_at is None else text[: last_at[0]] + address[last_at[1] :]


def _collect(text: str, at: int, ends: str) -> tuple[str, int]:
    """A word up to one of these characters, backslashes taken off, and where it ends."""
    word = ""
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
            if at == len(text):
                break
            character = text[at]
        elif character in ends:
            break
        word += " " if character in _SPACE else character
        at += 1
    return word, at


def _comment_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                break
        elif character == "\\":
            at += 1
    return min(at, len(text))


def _closing(tokens: list[Token], at: int) -> int | None:
    for number in range(at + 1, len(tokens)):
        if tokens[number].kind in ("<", ","):
            return None
        if tokens[number].kind == ">":
            return number
    return None


def _names(tokens: list[Token], at: int) -> bool:
    """Whether the words from here on only name the address in angle brackets behind them."""
    for token in tokens[at:]:
        if token.kind == "<":
            return True
        if token.kind not in (*_WORDS, "."):
            return False
    return False


def _is_dot_string(local: str) -> bool:
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    return not any(c in ' ()<>@,;:\\"[]' or ord(c) < 32 or ord(c) > 126 for c in local)
