"""history, undo, --reason and --until, as typed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.cli.until import parse_until
from postmaster.errors import UsageError

from .conftest import Cli


def test_a_reason_is_kept_and_shown_with_who_and_what(house: Cli) -> None:
    house("user", "set", "amy@example.org", "--no-pop3", "--reason", "asked by \x1b[31mphone")
    first = house("history").out.splitlines()[1]
    assert "user set amy@example.org" in first
    assert "asked by \\x1b[31mphone" in first
    (row,) = house("history", "amy@example.org", "--since", "1h", "--limit", "1", "-o", "json").json
    assert row["reason"] == "asked by \x1b[31mphone"
    assert row["changes"][0]["values"] == {"pop3": {"before": True, "after": False}}
    shown = house("history", "--entry", str(row["entry"])).out
    assert "account of amy@example.org changed: pop3 yes → no" in shown
    assert (
        "longer than"
        in house("user", "set", "amy@example.org", "--reason", "x" * 1001, "--pop3", expect=2).err
    )


def test_every_changing_command_takes_a_reason(house: Cli) -> None:
    for words in (
        ("domain", "add", "example.net"),
        ("domain", "remove", "example.net", "--yes"),
        ("user", "add", "carl@example.org", "--generate"),
        ("user", "password", "carl@example.org", "--generate"),
        ("user", "set", "carl@example.org", "--no-imap"),
        ("alias", "set", "new@example.org", "carl@example.org"),
        ("alias", "edit", "new@example.org", "--add", "amy@example.org"),
        ("alias", "remove", "new@example.org", "--yes"),
        ("forward", "set", "carl@example.org", "amy@example.org"),
        ("forward", "remove", "carl@example.org", "--yes"),
        ("sender", "grant", "carl@example.org", "team@example.org"),
        ("sender", "revoke", "carl@example.org", "team@example.org", "--yes"),
        ("user", "app-password", "add", "carl@example.org", "phone"),
        ("user", "app-password", "revoke", "carl@example.org", "phone"),
        ("user", "lock", "carl@example.org", "--yes"),
        ("user", "unlock", "carl@example.org", "--generate"),
        ("user", "rename", "carl@example.org", "carla@example.org"),
        ("user", "rename", "carla@example.org", "carl@example.org", "--no-alias"),
        ("user", "remove", "carl@example.org", "--yes"),
        ("user", "restore", "carl@example.org"),
        ("undo", "--yes"),
        ("domain", "rename", "bücher.example", "buch.example", "--yes"),
    ):
        # Without servers some of what follows a change cannot be done.
        house(*words, "--reason", f"because of {words[0]}", expect=None)
        (row,) = house("history", "--limit", "1", "-o", "json").json
        assert row["reason"] == f"because of {words[0]}", words
        assert row["command"].startswith(" ".join(words[:1]))


def test_undo_says_what_it_would_do_asks_and_names_its_own_entry(house: Cli) -> None:
    house("alias", "remove", "team@example.org", "--yes")
    planned = house("undo", "--dry-run").out
    assert "address of team@example.org created" in planned
    house("alias", "show", "team@example.org", expect=1)
    assert "not done without being told" in house("undo", expect=2).err
    done = house("undo", "--yes", "-o", "json")
    assert f"undo: postmaster --config {house.file} undo " in done.err
    assert house("alias", "show", "team@example.org", "-o", "json").json["targets"] == [
        *("amy@example.org", "bob@example.org")
    ]
    house("undo", str(done.json["entry"]), "--yes")
    house("alias", "show", "team@example.org", expect=1)
    error = house("undo", "999", "--yes", "-o", "json", expect=1).error
    assert (error["code"], error["hint"]) == ("not_found", "postmaster history lists what it has")


def test_a_conflict_is_one_line_with_its_code(house: Cli) -> None:
    entry = house("history", "--limit", "1", "-o", "json").json[0]["entry"]
    house("forward", "set", "bob@example.org", "carl@elsewhere.test")
    error = house("undo", str(entry), "--yes", "-o", "json", expect=1).error
    assert error["code"] == "conflict"
    assert f"by entry {entry + 1} (forward set bob@example.org" in error["message"]


def test_users_aliases_and_forwards_end_when_told(house: Cli) -> None:
    house("user", "add", "temp@example.org", "--generate", "--until", "2099-12-31T12:00:00Z")
    house("alias", "set", "fair@example.org", "amy@example.org", "--until", "30d")
    house("forward", "set", "amy@example.org", "amy@elsewhere.test", "--until", "2w")
    assert house("user", "show", "temp@example.org", "-o", "json").json["until"] == "2099-12-31T12:00:00Z"
    assert house("alias", "show", "fair@example.org", "-o", "json").json["until"] is not None
    house("alias", "set", "fair@example.org", "bob@example.org")
    assert house("alias", "show", "fair@example.org", "-o", "json").json["until"] is not None
    house("alias", "edit", "fair@example.org", "--until", "none")
    assert house("alias", "show", "fair@example.org", "-o", "json").json["until"] is None
    house("user", "set", "temp@example.org", "--until", "none")
    assert house("user", "show", "temp@example.org", "-o", "json").json["until"] is None
    assert house("forward", "show", "amy@example.org", "-o", "json").json["until"] is not None
    assert (
        "is over already" in house("user", "set", "temp@example.org", "--until", "2020-01-01", expect=2).err
    )


def test_bytes_that_are_no_text_are_refused_in_one_line(house: Cli) -> None:
    for words in (
        ("history", "--actor", "a\udcff"),
        ("user", "set", "amy@example.org", "--no-imap", "--reason", "\udcff"),
    ):
        assert house(*words, expect=2).err.endswith("is not UTF-8\n")


def test_who_let_mail_go_to_an_address_elsewhere(house: Cli) -> None:
    house("alias", "edit", "team@example.org", "--add", "Team+x@elsewhere.test", "--reason", "a friend")
    house("alias", "edit", "team@example.org", "--remove", "team+x@elsewhere.test")
    for address in ("team@elsewhere.test", "team+y@elsewhere.test"):
        rows = house("history", address, "-o", "json").json
        assert [row["reason"] for row in rows] == [None, "a friend"]
    assert len(house("history", "--domain", "elsewhere.test", "-o", "json").json) == 3
    assert "knows nothing of" in house("history", "amy@elsewhere.test", expect=1).err
    assert "knows nothing of" in house("history", "--domain", "nowhere.test", expect=1).err
    assert house("history", "amy+tag@example.org", "-o", "json").json
    for wrong in ("", "@", "amy"):
        house("history", wrong, expect=2)
        house("history", "--domain", wrong, expect=2)


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_day_ends_with_itself_and_a_span_from_now() -> None:
    assert parse_until("none", NOW) is None
    assert parse_until("2d", NOW) == datetime(2026, 6, 3, 12, tzinfo=UTC)
    assert parse_until("2026-06-02T00:00:00+02:00", NOW) == datetime(2026, 6, 1, 22, tzinfo=UTC)
    day = parse_until("2026-06-02", NOW)
    assert day is not None
    assert day.astimezone() == datetime(2026, 6, 3).astimezone()
    assert parse_until("20260602", NOW) == parse_until("2026-W23-2", NOW) == day  # ISO 8601 writes it so too


@given(st.text(max_size=20) | st.from_regex(r"\d{1,5}-\d\d-\d\d(T\d\d:\d\d)?", fullmatch=True))
def test_any_text_is_a_moment_to_come_or_refused(text: str) -> None:
    try:
        moment = parse_until(text, NOW)
    except UsageError:
        return
    assert moment is None or moment > NOW


@pytest.mark.parametrize("wrong", ["", "tomorrow", "0d", "31.12.2026", "99999w99", "-1d"])
def test_what_is_no_date_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        parse_until(wrong, NOW)
