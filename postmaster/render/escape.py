"""Text from outside, made safe to show: no terminal control, nothing that reorders or hides text."""

from __future__ import annotations

import re
from typing import TextIO

# C0, DEL, C1, line and paragraph separators, bidirectional controls, zero-width and other invisible
# characters, surrogates (undecodable bytes), the byte order mark, private use, tags.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ue000-\uf8ff\ufeff"
    "\ufff0-\uffff\U000e0000-\U0010ffff]"
)


def printable(text: str) -> str:
    """The text with every unsafe character as `\\x1b` or `\\u202e`; undecodable bytes as `\\xff`."""
    return _UNSAFE.sub(_code, text)


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        number -= 0xDC00
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(number)
    if named:
        return named
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def json_text(text: str) -> str:
    """JSON that is safe to show: unsafe characters in its texts as JSON's own escapes; it says the same."""
    return _UNSAFE.sub(_json_code, text)


def _json_code(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000  # a surrogate pair, RFC 8259 section 7
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


#: Signs of our own, for a terminal that has ASCII alone.
_PLAIN = {"…": "...", "→": "->", "·": "|", "—": "-", "–": "-"}


def write_all(output: TextIO) -> None:
    """Let an output of an old character set take every text: what it lacks is escaped as JSON does."""
    import codecs
    import io

    if isinstance(output, io.TextIOWrapper) and codecs.lookup(output.encoding).name != "utf-8":
        codecs.register_error("escape", _missing)
        output.reconfigure(errors="escape")


def _missing(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one) or re.sub(".", _json_code, one, flags=re.S) for one in lacking), error.end


_CSV_TRIGGERS = ("=", "+", "-", "@", "'", "\t", "\r")


def csv_field(text: str) -> str:
    """A field that no spreadsheet takes for a formula: one `'` before a character that could begin one."""
    return f"'{text}" if text.startswith(_CSV_TRIGGERS) else text


def csv_value(field: str) -> str:
    """The text behind a field that `csv_field` made: takes exactly one `'` off."""
    return field[1:] if field.startswith("'") else field
