"""Addresses and text as Postfix's own programs print them.

Queue files and defer logs hold the internal form. What is not printable becomes `?`, and so does, without
SMTPUTF8 (`smtputf8_enable`), every byte that is not ASCII. Sources: `quote_822_local.c`, `printable.c`.
"""

from __future__ import annotations

import re

_PLAIN_ADDRESS = re.compile(
    rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*(?:@[\x21-\x3f\x41-\x7e]*)?\Z"
)
_SPECIAL = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\"\[\]]')
_QUOTED = re.compile(rb'["\\\r]')
_PRINTABLE_UTF8 = re.compile(rb"([\x20-\x7e]+|[\xc2-\xfe][\x80-\xbf]+)|.", re.DOTALL)
_PRINTABLE_ASCII = re.compile(rb"([\x20-\x7e]+)|.", re.DOTALL)


def external_utf8(raw: bytes) -> str:
    """An address as `postqueue` prints it: quoted where RFC 5321 wants it, nothing unprintable."""
    if _PLAIN_ADDRESS.match(raw) is not None:
        return raw.decode("ascii")
    return _quote(raw, True)


def external_ascii(raw: bytes) -> str:
    """The same without SMTPUTF8."""
    if _PLAIN_ADDRESS.match(raw) is not None:
        return raw.decode("ascii")
    return _quote(raw, False)


def _quote(raw: bytes, utf8: bool) -> str:
    raw = raw.partition(b"\0")[0]
    if not raw:
        return ""
    route = b""
    if raw[:1] == b"@" and b":" in raw:  # a source route stays as it is
        route, colon, raw = raw.partition(b":")
        route += colon
    local, at, domain = raw.rpartition(b"@")
    if not at:
        local, domain = raw, b""
    parts = local.split(b".")
    if not local or not all(parts) or _SPECIAL.search(local):
        local = b'"' + _QUOTED.sub(rb"\\\g<0>", local) + b'"'
    return printed(route + local + at + domain, utf8)


def printed(raw: bytes, utf8: bool) -> str:
    """Bytes as `postqueue` prints them: `?` for what is not printable."""
    if raw.isascii() and (text := raw.decode("ascii")).isprintable():  # as it nearly always is
        return text
    pattern = _PRINTABLE_UTF8 if utf8 else _PRINTABLE_ASCII
    return pattern.sub(lambda found: found[1] or b"?", raw.partition(b"\0")[0]).decode("utf-8", "replace")
