"""Reads what the pages under docs/ promise, so that tests can hold it against the real thing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def section(page: str, heading: str) -> str:
    """The text below a heading of any level, up to the next heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no section {heading}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every table line, less headings and rules; code marks taken off."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            found.append(cells)
    return found


def json_keys(heading: str) -> set[str]:
    """The documented keys of an object: `findings[].check` is a key of each item of a list."""
    return {row[0] for row in rows(section("conventions.md", heading))}


def key_paths(value: Any, before: str = "") -> set[str]:
    """The keys of a real object in the same writing; a list's items must agree."""
    if isinstance(value, dict):
        return set().union(
            *({f"{before}{key}"} | key_paths(inner, f"{before}{key}.") for key, inner in value.items())
        )
    if isinstance(value, list):
        return set().union(*(key_paths(item, f"{before.removesuffix('.')}[].") for item in value))
    return set()
