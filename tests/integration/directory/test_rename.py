"""Another address for a user, another name for a domain: what leads there follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from postmaster.directory import aliases, domains, forwards, grants, rename, undo, users
from postmaster.directory.database import Directory
from postmaster.directory.schema import JOURNALLED
from postmaster.errors import ExistsError, NotFoundError, RuleError
from tests.tools.building import A, Builder, D

Ask = Callable[..., list[Any]]


@pytest.fixture
def house(make: Builder) -> Builder:
    make.domain("example.org")
    make.domain("twin.example", alias_of="example.org")
    make.domain("example.net")
    for name in ("amy", "bob"):
        make.user(f"{name}@example.org")
    make.alias("team@example.org", "amy+list@example.org", "amy@twin.example", "x@elsewhere.example")
    make.forward("bob@example.org", "amy@example.org")
    make.grant("bob@example.org", "amy@example.org")
    return make


def user(directory: Directory, old: str, new: str, **given: Any) -> rename.RenamedUser:
    with directory.change() as change:
        return rename.rename_user(change, A(old), A(new), **given)


def home(directory: Directory, old: str, new: str, **given: Any) -> rename.RenamedDomain:
    with directory.change() as change:
        return rename.rename_domain(change, D(old), D(new), **given)


def targets(directory: Directory, where: str) -> list[str]:
    with directory.read() as reading:
        return [one.ascii for one in aliases.show(reading, A(where)).targets]


def rows(directory: Directory) -> dict[str, list[Any]]:
    with directory.read() as reading:
        return {
            name: [tuple(row) for row in reading.execute(select(table).order_by(table.c.id))]
            for name, table in JOURNALLED.items()
        }


def test_aliases_forwards_and_grants_follow_and_the_old_address_leads_on(
    house: Builder, directory: Directory, ask: Ask
) -> None:
    before = rows(directory)
    done = user(directory, "amy@example.org", "amy.ash@example.net")
    assert done.alias is not None
    assert done.alias.targets == (A("amy.ash@example.net"),)
    assert set(done.followed) == {A("team@example.org"), A("bob@example.org")}
    assert targets(directory, "team@example.org") == [
        *("amy.ash+list@example.net", "amy.ash@example.net", "x@elsewhere.example"),
    ]
    with directory.read() as reading:
        assert forwards.show(reading, A("bob@example.org")).targets == (A("amy.ash@example.net"),)
        assert [one.address for one in grants.list_all(reading)] == [A("amy.ash@example.net")]
    assert ask("dovecot", "SELECT login FROM user_list ORDER BY 1") == [
        *("amy.ash@example.net", "bob@example.org"),
    ]
    assert done.after.mail_id == done.before.mail_id
    with directory.change() as change:
        undo.undo(change)
    assert rows(directory) == before


def test_within_a_domain_targets_in_alias_domains_stay_there(house: Builder, directory: Directory) -> None:
    user(directory, "amy@example.org", "ash@example.org", keep_alias=False)
    assert targets(directory, "team@example.org") == [
        *("ash+list@example.org", "ash@twin.example", "x@elsewhere.example"),
    ]
    with directory.read() as reading, pytest.raises(NotFoundError):
        aliases.show(reading, A("amy@example.org"))


def test_there_and_back_again_is_as_it_was(house: Builder, directory: Directory) -> None:
    user(directory, "amy@example.org", "ash@example.org")
    house.alias("more@example.org", "amy@example.org")
    back = user(directory, "ash@example.org", "amy@example.org", keep_alias=False)
    assert back.after.address == A("amy@example.org")
    assert targets(directory, "more@example.org") == ["amy@example.org"]
    with directory.read() as reading, pytest.raises(NotFoundError):
        users.show(reading, A("ash@example.org"))


def test_an_address_that_is_taken_is_refused(house: Builder, directory: Directory) -> None:
    before = rows(directory)
    for new, error in (
        ("bob@example.org", ExistsError),
        ("team@example.org", ExistsError),
        ("amy@example.org", RuleError),
        ("amy@twin.example", RuleError),
        ("amy@nowhere.example", NotFoundError),
    ):
        with pytest.raises(error):
            user(directory, "amy@example.org", new)
    with pytest.raises(NotFoundError):
        user(directory, "team@example.org", "other@example.org")
    assert rows(directory) == before


def test_an_alias_on_the_way_out_has_an_end(house: Builder, directory: Directory) -> None:
    from datetime import UTC, datetime

    end = datetime(2099, 1, 1, tzinfo=UTC)
    done = user(directory, "amy@example.org", "ash@example.org", until=end)
    assert done.alias is not None
    assert done.alias.until == end


def test_a_domain_takes_all_in_it_along(house: Builder, directory: Directory, ask: Ask) -> None:
    before = rows(directory)
    done = home(directory, "example.org", "example.com")
    assert done.alias is not None
    assert (done.after.users, done.alias.alias_of) == (2, D("example.com"))
    assert targets(directory, "team@example.com") == [
        *("amy+list@example.com", "amy@twin.example", "x@elsewhere.example"),
    ]
    assert ask("dovecot", "SELECT login FROM user_list ORDER BY 1") == ["amy@example.com", "bob@example.com"]
    assert ask("postfix", "SELECT domain FROM virtual_alias_domain ORDER BY 1") == [
        *("example.org", "twin.example"),
    ]
    back = home(directory, "example.com", "example.org", keep_alias=False)
    assert back.after.name == D("example.org")
    with directory.read() as reading:
        assert [one.name.ascii for one in domains.list_all(reading)] == [
            *("example.net", "example.org", "twin.example"),
        ]
    with directory.change() as change:
        undo.undo(change)
        undo.undo(change)
    assert rows(directory) == before


def test_a_name_that_is_hosted_is_refused_and_an_alias_of_it_makes_room(
    house: Builder, directory: Directory
) -> None:
    with pytest.raises(ExistsError, match=r"example\.net is hosted already"):
        home(directory, "example.org", "example.net")
    with pytest.raises(RuleError):
        home(directory, "example.org", "example.org")
    done = home(directory, "example.org", "twin.example")
    assert targets(directory, "team@twin.example") == [
        *("amy+list@twin.example", "amy@twin.example", "x@elsewhere.example"),
    ]
    assert done.alias is not None
    assert done.alias.name == D("example.org")
