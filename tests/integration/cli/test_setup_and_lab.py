"""setup and lab where no server is: refusals. The rest is in tests/server."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli


def test_setup_without_servers_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for words in (("show",), ("diff",), ("apply", "--yes"), ("check",)):
        told = cli("setup", *words, expect=1)
        assert "not installed" in told.err
        assert told.err.count("\n") == 1


def test_there_is_nothing_to_revert(cli: Cli) -> None:
    assert "nothing to revert" in cli("setup", "revert", "--yes", expect=1).err
    assert "no backup 7" in cli("setup", "revert", "7", "--yes", expect=1).err


def test_a_folder_that_is_no_lab(cli: Cli, tmp_path: Path) -> None:
    for word in ("status", "stop", "remove"):
        assert "is no lab" in cli("lab", word, str(tmp_path), expect=1).err
