"""What a command prints as the way back leads back, pasted as it stands, whatever the address is called."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.tools.building import HASH

from .conftest import Cli, Result

#: Each character in it is one that an address of ours may have and that a shell does something with.
ODD = "~o'brien&x=1@example.org"
OTHER = "amy@example.org"
GRANTED = "sales'&~@example.org"


@pytest.fixture
def odd(house: Cli) -> Cli:
    house("user", "add", ODD, "--hash-stdin", stdin=f"{HASH}\n")
    house("alias", "set", f"a{ODD}", ODD, OTHER)
    house("forward", "set", ODD, "'x&y'@elsewhere.test")
    house("sender", "grant", ODD, GRANTED)
    return house


def state(cli: Cli) -> Any:
    found = cli("directory", "export").json
    for user in found["users"]:
        user.pop("password", None)
    for rows in found.values():  # those that were made again are younger
        for row in rows if isinstance(rows, list) else ():
            row.pop("created_at", None)
    return found


def way_back(done: Result) -> list[str]:
    (line,) = [line for line in done.err.splitlines() if "undo: " in line]
    name, *words = shlex.split(line.partition("undo: ")[2])
    assert name == "postmaster"
    return words


@pytest.mark.parametrize(
    "words",
    [
        ("user", "remove", ODD, "--yes"),
        ("user", "remove", ODD, "--yes", "--mail", "delete"),
        ("user", "rename", ODD, f"new{ODD}"),
        ("alias", "remove", f"a{ODD}", "--yes"),
        ("forward", "remove", ODD, "--yes"),
        ("sender", "revoke", ODD, GRANTED, "--yes"),
        ("sender", "grant", ODD, "@example.org"),
        ("domain", "rename", "example.org", "example.com", "--yes"),
        ("domain", "remove", "bücher.example", "--yes"),
    ],
    ids=lambda words: "-".join([*words[:2], *words[4:]]),
)
def test_the_way_back_leads_back(odd: Cli, words: tuple[str, ...]) -> None:
    before = state(odd)
    done = odd(*words, expect=3 if words[1] == "rename" else 0)  # there is no queue to look into
    assert state(odd) != before
    # It names the settings file that was named: pasted, it means the same directory.
    config, file, *back = way_back(done)
    assert (config, file) == ("--config", str(odd.file))
    odd(*back, *(["--yes"] if back[0] == "undo" else []))
    assert state(odd) == before


def test_a_restored_copy_is_taken_back_by_what_is_printed(odd: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    copy = str(folder / "copy of $HOME.db")
    odd("directory", "backup", copy)
    odd("user", "add", "late@example.org", "--hash-stdin", stdin=f"{HASH}\n")
    before = state(odd)
    done = odd("directory", "restore", copy, "--yes")
    assert state(odd) != before
    odd(*way_back(done)[2:], "--yes")
    assert state(odd) == before


def test_a_hint_names_the_settings_file_too(odd: Cli, tmp_path: Path) -> None:
    told = odd("user", "show", "nobody@example.org", expect=1).err
    assert f"(postmaster --config {odd.file} user list shows what there is)" in told
    error = odd("user", "show", "nobody@example.org", "-o", "json", expect=1).error
    assert error["hint"] == "postmaster user list shows what there is"


def test_a_hint_about_a_last_target_names_the_right_noun(odd: Cli) -> None:
    odd("alias", "set", "only@example.org", "bob@example.org")
    hint = odd("user", "remove", "bob@example.org", "--yes", "-o", "json", expect=1).error["hint"]
    assert hint.endswith("postmaster alias set only@example.org ADDRESS")
    odd("alias", "remove", "only@example.org", "--yes")
    odd("alias", "edit", "team@example.org", "--remove", "bob@example.org")
    odd("forward", "set", ODD, "bob@example.org", "--no-keep-copy")
    hint = odd("user", "remove", "bob@example.org", "--yes", "-o", "json", expect=1).error["hint"]
    words = shlex.split(hint.partition(": postmaster ")[2])
    odd(*[OTHER if word == "ADDRESS" else word for word in words])
    odd("user", "remove", "bob@example.org", "--yes")


def test_what_was_interrupted_is_gone_on_with_by_what_is_said(odd: Cli) -> None:
    """And nothing else is deleted."""
    odd("user", "remove", ODD, "--yes")
    done = odd("user", "trash", "purge", "--unfinished", "-o", "json")
    assert done.json == {"purged": [], "deleted": True}
    assert [row["address"] for row in odd("user", "trash", "list", "-o", "json").json] == [ODD]
    odd("user", "trash", "purge", expect=2)
    odd("user", "trash", "purge", "--unfinished", "--all", expect=2)
