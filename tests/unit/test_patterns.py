"""Patterns that every supported Python reads alike."""

from __future__ import annotations

import re
from pathlib import Path

import postmaster

SOURCES = sorted(Path(postmaster.__file__).parent.rglob("*.py"))


def test_no_group_is_repeated_possessively() -> None:
    """Before Python 3.11.5 `(?:a|b)*+` misses matches; `(?>(?:a|b)*)` says the same."""
    assert len(SOURCES) > 50
    for source in SOURCES:
        for number, line in enumerate(source.read_text().splitlines(), 1):
            found = re.search(r"\)(?:[*+?]|\{\d*,?\d*\})\+", line)
            assert found is None, f"{source}:{number}: {line.strip()}"
