"""init, domain, user, alias, forward and publish: what they do, print and refuse."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli


def test_init_says_what_it_did_and_is_safe_to_repeat(bare: Cli) -> None:
    refused = bare("user", "list", expect=1)
    assert refused.err.count("\n") == 1
    assert f"(run: postmaster --config {bare.file} init)" in refused.err
    first = bare("init")
    assert "made the directory" in first.out
    assert "made the look-ups" in first.out
    assert "made" not in bare("init").out
    assert bare("init", "-o", "json").json["done"] == [
        line for line in bare("init").out.splitlines() if "everything is there" not in line
    ]


#: What scripts rely on: keys are added, never renamed.
KEYS = {
    "domain": {"domain", "ascii", "alias_of", "users", "aliases", "created_at"},
    "user": {
        *("address", "login_name", "name", "login", "imap", "pop3", "send", "receive", "quota_bytes"),
        *("scheme", "mail_folder", "created_at"),
    },
    "alias": {"address", "targets", "catch_all", "created_at"},
    "forward": {"address", "targets", "keep_copy"},
}


@pytest.mark.parametrize("noun", sorted(KEYS))
def test_the_keys_of_json(house: Cli, noun: str) -> None:
    where = {"domain": "example.org", "user": "amy@example.org", "alias": "team@example.org"}
    rows = house(noun, "list", "-o", "json").json
    assert rows
    assert all(set(row) >= KEYS[noun] for row in rows)
    assert house(noun, "list", "-o", "jsonl").out == "".join(
        json.dumps(row, ensure_ascii=False) + "\n" for row in rows
    )
    read = list(csv.DictReader(io.StringIO(house(noun, "list", "-o", "csv").out)))
    assert len(read) == len(rows)
    assert set(read[0]) == set(rows[0])
    shown = house(noun, "show", where.get(noun, "bob@example.org"), "-o", "json").json
    assert set(shown) >= KEYS[noun]


def test_the_heading_of_a_csv_does_not_depend_on_what_is_there(house: Cli) -> None:
    def headings() -> list[str]:
        return [house(noun, "list", "-o", "csv").out.splitlines()[0] for noun in sorted(KEYS)]

    full = headings()
    house("forward", "remove", "bob@example.org", "--yes")
    for alias in ("team@example.org", "@example.org"):
        house("alias", "remove", alias, "--yes")
    for user in ("amy@example.org", "bob@example.org"):
        house("user", "remove", user, "--yes")
    for domain in ("bücher.example", "example.org"):
        house("domain", "remove", domain, "--yes")
    assert headings() == full


def test_tables_for_people(house: Cli) -> None:
    assert house("domain", "list").out.splitlines() == [
        "DOMAIN          ALIAS OF     USERS  ALIASES",
        "example.org     -                2        2",
        "bücher.example  example.org      0        0",
    ]
    assert "team@example.org  amy@example.org, bob@example.org" in house("alias", "list").out
    assert re.search(r"^bob@example\.org +bob@elsewhere\.test +yes +-$", house("forward", "list").out, re.M)
    shown = house("user", "show", "bob@bücher.example").out
    assert "address      bob@example.org" in shown
    assert "bob@elsewhere.test" in shown


def test_domains_in_either_form(house: Cli) -> None:
    shown = house("domain", "show", "XN--BCHER-KVA.example", "-o", "json").json
    assert (shown["domain"], shown["ascii"]) == ("bücher.example", "xn--bcher-kva.example")
    assert shown["alias_of"] == "example.org"


def test_a_password_in_each_way(cli: Cli) -> None:
    cli("domain", "add", "example.org")
    made = cli("user", "add", "amy@example.org", "--generate", "-o", "json").json
    assert len(made["password"]) >= 16
    assert made["scheme"] == "ARGON2ID"
    typed = cli("user", "add", "bob@example.org", "--password-stdin", "-o", "json", stdin="long enough\n")
    assert "password" not in typed.json
    assert "long enough" not in typed.out + typed.err
    hashed = "{SHA512-CRYPT}$6$rounds=5000$saltsalt$" + "a" * 86
    changed = cli("user", "password", "bob@example.org", "--hash-stdin", "-o", "json", stdin=hashed)
    assert changed.json == {"address": "bob@example.org", "scheme": "SHA512-CRYPT"}
    for stdin, why in (("short\n", "shorter than 8"), ("", "shorter than 8"), ("tab\tin it ok\n", "control")):
        refused = cli("user", "password", "bob@example.org", "--password-stdin", stdin=stdin, expect=2)
        assert why in refused.err
    plain = cli("user", "password", "bob@example.org", "--hash-stdin", stdin="{PLAIN}secret1234\n", expect=2)
    assert "secret1234" not in plain.err
    refused = cli("user", "password", "bob@example.org", expect=2)
    assert "--password-stdin" in refused.err
    both = cli("user", "password", "bob@example.org", "--generate", "--hash-stdin", expect=2)
    assert "only one of" in both.err


def test_switches_quota_and_name(house: Cli) -> None:
    changed = house("user", "set", "amy@example.org", "--no-pop3", "--quota", "2G", "--name", "Amy")
    assert changed.out.splitlines() == [
        "address  amy@example.org",
        "name     - → Amy",
        "pop3     yes → no",
        "quota    none → 2 GiB",
    ]
    both = house("user", "set", "amy@example.org", "--quota", "none", "-o", "json").json
    assert both["before"]["quota_bytes"] == 2 << 30
    assert both["after"]["quota_bytes"] is None
    assert "nothing" in house("user", "set", "amy@example.org", "--no-pop3").out
    assert "nothing to change" in house("user", "set", "amy@example.org", expect=2).err
    for bad in ("2X", "-1", "", "1e3", "9" * 30):
        assert house("user", "set", "amy@example.org", "--quota", bad, expect=2).err.count("\n") == 1


def test_aliases_are_set_edited_and_removed(house: Cli) -> None:
    told = house("alias", "set", "team@example.org", "carl@elsewhere.test", "-o", "json").json
    assert told["before"]["targets"] == ["amy@example.org", "bob@example.org"]
    assert told["after"]["targets"] == ["carl@elsewhere.test"]
    edited = house(
        *("alias", "edit", "team@example.org", "--add", "amy@example.org"),
        *("--remove", "carl@elsewhere.test", "-o", "json"),
    ).json
    assert edited["after"]["targets"] == ["amy@example.org"]
    refused = house("alias", "remove", "team@example.org", expect=2)
    assert "--yes" in refused.err
    dry = house("alias", "remove", "team@example.org", "--dry-run", "-o", "json")
    assert dry.json["removed"] is False
    house("alias", "show", "team@example.org")
    gone = house("alias", "remove", "team@example.org", "--yes")
    assert f"undo: postmaster --config {house.file} undo " in gone.err
    assert "is no alias" in house("alias", "show", "team@example.org", expect=1).err


def test_forwards(house: Cli) -> None:
    told = house(
        "forward", "set", "amy@example.org", "amy@elsewhere.test", "--no-keep-copy", "-o", "json"
    ).json
    assert told["before"] is None
    assert told["after"]["keep_copy"] is False
    gone = house("forward", "remove", "amy@example.org", "--yes")
    assert f"undo: postmaster --config {house.file} undo " in gone.err


def test_removing_a_user_names_the_folder_and_who_lost_a_target(house: Cli) -> None:
    dry = house("user", "remove", "bob@example.org", "--dry-run", "-o", "json").json
    assert dry["dropped_from"] == ["team@example.org"]
    house("user", "show", "bob@example.org")
    gone = house("user", "remove", "bob@example.org", "--yes", "-o", "json").json
    assert gone["dropped_from"] == ["team@example.org"]
    assert (gone["mail"], gone["mail_folder"]) == ("trash", None)  # no mail ever came
    stays = house("user", "remove", "amy@example.org", "--yes", expect=1)
    assert "team@example.org" in stays.err


def test_removing_a_domain_names_the_obstacles(house: Cli) -> None:
    refused = house("domain", "remove", "example.org", "--yes", expect=1).err
    for obstacle in ("amy@example.org", "bob@example.org", "team@example.org", "bücher.example"):
        assert obstacle in refused
    assert house("domain", "remove", "bücher.example", "--dry-run", "-o", "json").json["removed"] is False
    gone = house("domain", "remove", "bücher.example", "--yes")
    assert f"undo: postmaster --config {house.file} undo " in gone.err


def test_publish_has_nothing_to_do_and_rebuilds_when_told(house: Cli) -> None:
    assert house("publish").out == "the look-ups are up to date\n"
    assert house("publish", "--rebuild").out.count("written anew") == 2
    assert len(house("publish", "--rebuild", "-o", "json").json["rebuilt"]) == 2


def test_publish_tells_what_it_caught_up_with(house: Cli, tmp_path: Path) -> None:
    lookups = tmp_path / "d" / "lookups"
    with closing(sqlite3.connect(lookups / "postfix.db")) as connection, connection:
        connection.execute("UPDATE published SET entry = entry - 2, made_at = ?", (made_at(tmp_path, 2),))
    assert re.search(r"postfix\.db: brought up to date \(2 entries\)$", house("publish").out, re.M)
    assert house("publish").out == "the look-ups are up to date\n"


def made_at(tmp_path: Path, back: int) -> str:
    """When the journal's last entry but so many was made, as a look-up file notes it."""
    with closing(sqlite3.connect(tmp_path / "d" / "directory.db")) as connection:
        query = "SELECT made_at FROM journal ORDER BY id DESC LIMIT 1 OFFSET ?"
        return str(connection.execute(query, (back,)).fetchone()[0]).replace(" ", "T")


def all_of(house: Cli) -> list[Any]:
    return [house(noun, "list", "-o", "json").json for noun in ("domain", "user", "alias", "forward")]


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("user", "add", "amy@example.org", "--generate"), 1, "amy@example.org"),
        (("user", "add", "team@example.org", "--generate"), 1, "is an alias"),
        (("user", "add", "x@nowhere.test", "--generate"), 1, "nowhere.test"),
        (("user", "add", "a b@example.org", "--generate"), 2, "not a local part"),
        (("user", "add", "amy+x@example.org", "--generate"), 2, "extension separator"),
        (("user", "add", "x@bücher.example", "--generate"), 1, "alias"),
        (("alias", "set", "amy@example.org", "bob@example.org"), 1, "is a user"),
        (("alias", "set", "new@example.org", "nobody@bücher.example"), 1, "nobody"),
        (("alias", "set", "team@example.org", "team@example.org"), 1, "itself"),
        (("alias", "set", "x@example.org", "'; DROP TABLE user; --"), 2, "address"),
        (("alias", "edit", "none@example.org", "--add", "amy@example.org"), 1, "none@example.org"),
        (("alias", "edit", "team@example.org"), 2, ""),
        (("forward", "set", "nobody@example.org", "x@elsewhere.test"), 1, "nobody@example.org"),
        (("forward", "set", "amy@example.org", "amy@example.org"), 1, "itself"),
        (("forward", "remove", "amy@example.org", "--yes"), 1, "amy@example.org"),
        (("domain", "add", "example.org"), 1, "example.org"),
        (("domain", "add", "exa_mple.org"), 2, "not a domain"),
        (("domain", "add", "new.example", "--alias-of", "nowhere.test"), 1, "nowhere.test"),
        (("domain", "add", "new.example", "--alias-of", "bücher.example"), 1, "itself an alias"),
        (("domain", "remove", "nowhere.test", "--yes"), 1, "nowhere.test"),
        (("user", "set", "nobody@example.org", "--no-login"), 1, "nobody@example.org"),
        (("user", "set", "amy@example.org", "--name", "a\x1b[2Jb"), 2, "name"),
        (("user", "remove", "team@example.org", "--yes"), 1, "team@example.org"),
        (("user", "list", "--domain", "nowhere.test"), 1, "nowhere.test"),
        (("user", "show", "\x1b]0;title\x07@example.org"), 2, "unprintable"),
        (("user", "show", "[red]x[/red]@example.org"), 2, "not a local part"),
        (("user", "frobnicate"), 2, "No such command"),
        (("frobnicate",), 2, "No such command"),
        (("user", "add"), 2, "Missing argument"),
        (("user", "list", "-o", "xml"), 2, "xml"),
        (("user", "list", "--nonsense"), 2, "nonsense"),
        (("queue", "flush"), 2, "--all"),
        (("queue", "flush", "4B7Z2K5NHbz8gQ", "--all"), 2, "--all"),
    ],
)
def test_bad_input_gets_one_clear_line_and_changes_nothing(
    house: Cli, words: tuple[str, ...], status: int, why: str
) -> None:
    before = all_of(house)
    refused = house(*words, expect=status)
    assert refused.out == ""
    assert refused.err.startswith("postmaster: ")
    assert refused.err.count("\n") == 1
    assert refused.err.strip().isprintable()
    assert why in refused.err
    if "xml" not in words:  # the last -o counts
        as_json = house(*words, "-o", "json", expect=status)
        assert set(as_json.error) == {"code", "message", "hint"}
        assert as_json.error["code"]
    assert all_of(house) == before
