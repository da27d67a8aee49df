"""The JSON of each object has exactly the keys that docs/conventions.md has: a change shows in both.

What needs servers is in tests/server/test_json_keys.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.documented import json_keys, key_paths

from .conftest import Cli

WHERE = {"domain": "example.org", "user": "amy@example.org", "alias": "team@example.org"}


def keys(cli: Cli, *words: str, status: int = 0) -> set[str]:
    return key_paths(cli(*words, "-o", "json", expect=status).json)


@pytest.mark.parametrize("noun", ["domain", "user", "alias", "forward"])
def test_of_lists_and_of_one(house: Cli, noun: str) -> None:
    documented = json_keys(noun)
    rows: list[dict[str, Any]] = house(noun, "list", "-o", "json").json
    assert rows
    assert all(key_paths(row) == documented for row in rows)
    more = set()
    if noun == "user":
        use = {"last_login", "usage_bytes", "usage_messages"}
        more = {"forward", "keep_copy"} | use
        (row, *_) = house("user", "list", "--usage", "-o", "json").json
        assert key_paths(row) == documented | use
    assert keys(house, noun, "show", WHERE.get(noun, "bob@example.org")) == documented | more


def test_of_what_is_made(house: Cli) -> None:
    assert keys(house, "domain", "add", "example.net") == json_keys("domain")
    assert keys(house, "user", "add", "carl@example.net", "--generate") == json_keys("user") | {"password"}
    assert keys(house, "user", "password", "amy@example.org", "--generate") == json_keys("user password")


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("user", ("user", "set", "amy@example.org", "--no-pop3")),
        ("alias", ("alias", "set", "team@example.org", "amy@example.org")),
        ("alias", ("alias", "edit", "team@example.org", "--remove", "bob@example.org")),
        ("forward", ("forward", "set", "bob@example.org", "x@elsewhere.test")),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, tuple) else words,
)
def test_of_before_and_after(house: Cli, noun: str, words: tuple[str, ...]) -> None:
    assert keys(house, *words) == {"before", "after"} | {
        f"{when}.{key}" for when in ("before", "after") for key in json_keys(noun)
    }


@pytest.mark.parametrize("dry", [True, False])
def test_of_what_is_removed(house: Cli, dry: bool) -> None:
    how = "--dry-run" if dry else "--yes"
    for noun, where, more in (
        ("forward", "bob@example.org", {"removed"}),
        ("alias", "team@example.org", {"removed", "dropped_from"}),
        ("domain", "bücher.example", {"removed"}),
    ):
        assert keys(house, noun, "remove", where, how) == json_keys(noun) | more
    assert keys(house, "user", "remove", "bob@example.org", how) == json_keys("user remove")


def test_of_init_and_publish(house: Cli) -> None:
    assert keys(house, "init") == json_keys("init")
    assert keys(house, "publish", "--rebuild") == json_keys("publish")


def test_of_health(house: Cli) -> None:
    told = house("health", "check", "directory", "-o", "json", expect=None).json
    assert key_paths(told) == json_keys("health")
    made = keys(house, "health", "probe-account", "probe@example.org")
    assert made == json_keys("health probe-account")
    documented = json_keys("health list")
    assert all(key_paths(row) == documented for row in house("health", "list", "-o", "json").json)


def test_of_an_error(house: Cli) -> None:
    refused = house("user", "show", "carl@example.org", "-o", "json", expect=1)
    assert refused.error == {
        "code": "not_found",
        "message": "there is no user carl@example.org",
        "hint": "postmaster user list shows what there is",
    }


def test_of_the_history_and_of_undo(house: Cli) -> None:
    documented = json_keys("history")

    def of_entry(found: Any) -> set[str]:
        for change in found["changes"]:
            assert all(set(pair) == {"before", "after"} for pair in change["values"].values())
            change["values"] = {}
        return key_paths(found)

    rows = house("history", "-o", "json").json
    assert {len(row["changes"]) > 0 for row in rows} == {True}
    assert all(of_entry(row) == documented for row in rows)
    assert of_entry(house("history", "--entry", "2", "-o", "json").json) == documented
    for how in ("--dry-run", "--yes"):
        assert of_entry(house("undo", how, "-o", "json").json) | {"notes"} == json_keys("undo")


def test_of_the_life_of_an_account(house: Cli) -> None:
    def of_lock(found: Any) -> set[str]:
        return key_paths(found) | {
            key for key in json_keys("user lock") if "[]." in key or key[:5] == "sent."
        }

    where = "amy@example.org"
    made = keys(house, "user", "app-password", "add", where, "phone")
    assert made == json_keys("user app-password") | {"password"}
    (row,) = house("user", "app-password", "list", where, "-o", "json").json
    assert key_paths(row) == json_keys("user app-password")
    assert keys(house, "user", "app-password", "revoke", where, "phone") == {"address", "revoked"}
    locked = house("user", "lock", where, "--yes", "-o", "json", expect=None)
    assert of_lock(locked.json) == json_keys("user lock")
    assert locked.status in (0, 3)
    unlocked = keys(house, "user", "unlock", where, "--generate")
    assert unlocked == json_keys("user unlock") | {"password"}
    renamed = ("user", "rename", where, "ash@example.org")
    assert keys(house, *renamed, "--dry-run") == json_keys("user rename")
    assert of_lock(house(*renamed, "-o", "json", expect=None).json) >= json_keys("user rename")
    for how in ("--dry-run", "--yes"):
        done = house("domain", "rename", "example.org", "example.com", how, "-o", "json", expect=None)
        assert key_paths(done.json) == json_keys("domain rename")
    house("alias", "remove", "@example.com", "--yes")
    house("alias", "remove", "amy@example.com", "--yes")
    assert keys(house, "user", "remove", "ash@example.com", "--yes") == json_keys("user remove")
    (row,) = house("user", "trash", "list", "-o", "json").json
    assert key_paths(row) == json_keys("user trash")
    assert keys(house, "user", "trash", "purge", "--all", "--dry-run") == {"purged", "deleted"}
    assert keys(house, "user", "restore", "ash@example.com") == json_keys("user restore")


def test_of_copies_of_the_directory(house: Cli) -> None:
    copy = str(house.file.parent / "copy.db")
    assert keys(house, "directory", "backup", copy) == json_keys("directory backup")
    restored = house("directory", "restore", copy, "--yes", "-o", "json").json
    assert key_paths(restored) == json_keys("directory restore")
    other = str(house.file.parent / "other.db")
    for how in ("--dry-run", "--yes"):
        assert keys(house, "directory", "copy", ".", other, how) == json_keys("directory copy")
