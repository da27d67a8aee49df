"""Importing from another system, and what is there then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.cli.conftest import Cli

BLF = "$2y$05$" + "b" * 53
SHA = "$6$saltsalt$" + "a" * 86
MD5 = "$1$saltsalt$" + "a" * 22


def taken(cli: Cli, system: str, source: Path | str, *more: str, expect: int = 0) -> dict[str, Any]:
    """What the import says; and a second time nothing changes."""
    words = ("directory", "import", "--from", system, str(source), *more)
    first: dict[str, Any] = cli(*words, "-o", "json", expect=expect).json
    whole = cli("directory", "export", "--with-hashes").out
    again = cli(*words, "-o", "json", expect=expect).json
    assert (again["created"], again["changed"], again["entry"]) == (0, 0, None)
    assert cli("directory", "export", "--with-hashes").out == whole
    return first


def held(cli: Cli) -> dict[str, list[dict[str, Any]]]:
    return cli("directory", "export", "--with-hashes").json  # type: ignore[no-any-return]


def lists(cli: Cli, section: str) -> dict[str, list[str]]:
    return {one["address"]: one["targets"] for one in held(cli)[section]}


def may_send(cli: Cli) -> list[tuple[str, str]]:
    return [(one["user"], one["address"]) for one in held(cli)["grants"]]
