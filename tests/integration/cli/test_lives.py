"""The life of an account, and copies of the directory, as typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from postmaster.cli.main import app
from tests.tools.building import HASH

from .conftest import Cli

AMY = "amy@example.org"
#: What a group of the directory's commands only shows, or what changes no directory.
READING = {
    *("domain list", "domain show", "user list", "user show", "user app-password list", "user trash list"),
    *("alias list", "alias show", "forward list", "forward show", "sender list", "sender explain"),
    *("directory check", "directory export", "directory diff", "directory backup", "directory copy"),
}


def commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """(words, command) of every command in a group."""
    for name, inner in group.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, *words, name)
        else:
            yield " ".join((*words, name)), inner


def test_every_command_that_changes_the_directory_takes_a_reason() -> None:
    without = {
        name
        for name, command in commands(typer.main.get_command(app))
        if name.split()[0] in ("domain", "user", "alias", "forward", "sender", "directory", "undo")
        and "--reason" not in {text for one in command.params for text in one.opts}
    }
    assert without == READING


def test_a_restore_is_an_entry_of_the_history_with_its_reason(house: Cli, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    house("directory", "backup", copy)
    house("user", "lock", AMY, "--yes", expect=None)
    done = house("directory", "restore", copy, "--yes", "--reason", "the disk failed", "-o", "json")
    assert f"note: {AMY} is locked, and no longer will be" in done.err
    (row,) = house("history", "--limit", "1", "-o", "json").json
    assert (row["command"], row["reason"], row["changes"]) == (
        "directory restore copy.db",
        "the disk failed",
        [],
    )
    assert row["entry"] == done.json["entry"] + 1
    assert "put a copy of the directory in force" in house("undo", "--yes", expect=1).err
    house("user", "set", AMY, "--no-imap")
    house("undo", "--yes")
    house("directory", "restore", done.json["before"], "--yes")
    assert house("user", "show", AMY, "-o", "json").json["locked_at"] is not None
    assert "longer than" in house("directory", "restore", copy, "--yes", "--reason", "x" * 1001, expect=2).err


def test_a_copy_never_takes_the_directorys_own_place(house: Cli, tmp_path: Path) -> None:
    truth = tmp_path / "d" / "directory.db"
    (tmp_path / "link.db").symlink_to(truth)
    for name in (truth, tmp_path / "link.db"):
        assert "is the directory itself" in house("directory", "backup", "--force", str(name), expect=2).err
    odd = tmp_path / "o'dd ?x=1 %20 \udcff.db"
    house("directory", "backup", str(odd))
    house("directory", "restore", str(odd), "--yes")
    long = house("directory", "backup", "x" * 100_000, expect=1).err
    assert long.endswith("cannot be used: File name too long\n")
    assert len(long) < 300
    assert len(house("undo", "x" * 100_000, expect=2).err) < 2500
    told = house("directory", "backup", str(tmp_path / "nowhere" / "copy.db"), expect=1).err
    assert "No such file or directory" in told
    assert "as root" not in told


def test_a_number_that_no_entry_has_is_refused(house: Cli) -> None:
    for number in ("0", str(2**63), "9" * 30, "x"):
        for words in (("history", "--entry", number), ("undo", number, "--yes")):
            assert len(house(*words, expect=2).err.splitlines()) == 1
    assert "has no entry" in house("undo", str(2**63 - 1), "--yes", expect=1).err


def test_an_account_does_not_open_with_what_it_was_locked_with(house: Cli) -> None:
    house("user", "password", AMY, "--password-stdin", stdin="stolen password\n")
    house("user", "lock", AMY, "--yes", expect=None)
    refused = house("user", "unlock", AMY, "--password-stdin", stdin="stolen password\n", expect=2)
    assert "the password that the account was locked with" in refused.err
    assert "stolen" not in refused.err
    house("user", "unlock", AMY, "--password-stdin", stdin="another password\n")
    house("user", "lock", AMY, "--yes", expect=None)
    house("user", "password", AMY, "--password-stdin", stdin="given after the lock\n")
    house("user", "unlock", AMY, "--password-stdin", stdin="given after the lock\n")
    house("user", "password", AMY, "--hash-stdin", stdin=f"{HASH}\n")
    house("user", "lock", AMY, "--yes", expect=None)
    assert "that is the hash" in house("user", "unlock", AMY, "--hash-stdin", stdin=f"{HASH}\n", expect=2).err
