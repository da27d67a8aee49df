"""Sizes as people write them."""

from __future__ import annotations

import re

from postmaster.errors import UsageError

_SIZE = re.compile(r"(\d{1,19}) ?([KMGT]?)(?:I?B)?", re.ASCII)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int | None:
    """Bytes from `500M`, `2G`, `1048576`; None from `none`. Units are powers of 1024. Raises UsageError."""
    if text.lower() == "none":
        return None
    found = _SIZE.fullmatch(text.upper())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"{text[:60]!r} is no size", hint="for example 500M or 2G; none for no limit")
    return int(found[1]) * _UNITS[found[2]]
