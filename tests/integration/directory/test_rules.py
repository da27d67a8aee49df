"""What the directory refuses, and that each refusal names the object in the way and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from postmaster.directory import aliases, domains, forwards, users
from postmaster.directory.database import Directory
from postmaster.directory.schema import journal
from postmaster.errors import ExistsError, InUseError, NotFoundError, PostmasterError, RuleError, UsageError
from tests.tools.building import HASH, A, Builder, D


@pytest.fixture
def house(make: Builder) -> Builder:
    make.domain("example.org")
    make.domain("example.net", alias_of="example.org")
    make.user("amy@example.org")
    make.user("bob@example.org")
    return make


def entries(directory: Directory) -> int:
    with directory.read() as reading:
        return int(reading.execute(select(func.count()).select_from(journal)).scalar_one())


@pytest.mark.parametrize(
    ("kind", "where", "targets", "error", "words"),
    [
        ("alias", "amy@example.org", ["bob@example.org"], ExistsError, "amy@example.org is a user"),
        ("alias", "a@example.com", ["bob@example.org"], NotFoundError, "example.com is not hosted"),
        ("alias", "a@example.net", ["bob@example.org"], RuleError, "example.net is an alias of example.org"),
        ("alias", "a@example.org", ["nobody@example.org"], RuleError, "nobody@example.org: that address"),
        ("alias", "a@example.org", ["nobody@example.net"], RuleError, "nobody@example.net: that address"),
        ("alias", "a@example.org", ["a@example.org"], RuleError, "itself"),
        ("alias", "a@example.org", ["a+tag@example.net"], RuleError, "itself"),
        ("alias", "a@example.org", [], UsageError, "at least one target"),
        ("alias", "@example.org", ["anybody@example.org"], RuleError, "itself"),
        ("forward", "amy@example.org", ["amy@example.org"], RuleError, "itself"),
        ("forward", "amy@example.org", [], UsageError, "at least one target"),
        ("forward", "carl@example.org", ["amy@example.org"], NotFoundError, "no user carl@example.org"),
        ("forward", "amy@example.org", ["nobody@example.org"], RuleError, "nobody@example.org"),
        ("user", "amy@example.org", [], ExistsError, "amy@example.org is a user already"),
        ("user", "carl@example.net", [], RuleError, "alias of example.org"),
        ("user", "carl@example.com", [], NotFoundError, "example.com is not hosted"),
        ("domain", "example.org", [], ExistsError, "example.org is hosted already"),
        ("domain", "example.net", [], ExistsError, "alias of example.org"),
    ],
)
def test_a_refused_change_names_the_obstacle_and_leaves_no_trace(
    house: Builder, kind: str, where: str, targets: list[str], error: type[PostmasterError], words: str
) -> None:
    before = entries(house.directory)
    with pytest.raises(error) as caught:
        getattr(house, kind)(where, *targets)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert entries(house.directory) == before


def test_a_loop_over_several_hops_is_refused_and_drawn(house: Builder) -> None:
    house.alias("one@example.org", "amy@example.org")
    house.alias("two@example.org", "one@example.org")
    house.alias("three@example.org", "two@example.net")
    with pytest.raises(RuleError) as caught:
        house.alias("one@example.org", "three@example.org")
    circle = "one@example.org → three@example.org → two@example.org → one@example.org"
    assert caught.value.message == f"mail would go in a circle: {circle}"


def test_a_forward_into_a_list_that_leads_back_is_a_loop(house: Builder) -> None:
    house.alias("team@example.org", "amy@example.org", "bob@example.org")
    with pytest.raises(RuleError, match="circle"):
        house.forward("amy@example.org", "team@example.org", keep_copy=True)


def test_a_loop_through_the_catch_all_is_refused(house: Builder) -> None:
    house.alias("@example.org", "amy@example.org")
    house.alias("list@example.org", "left-to-catch-all@example.org")
    with pytest.raises(RuleError, match="circle"):
        house.alias("@example.org", "list@example.org")


def test_the_catch_all_makes_any_target_in_its_domain_good_but_not_in_alias_domains(house: Builder) -> None:
    house.alias("@example.org", "amy@example.org")
    house.alias("a@example.org", "whoever@example.org")
    with pytest.raises(RuleError, match=r"whoever@example\.net"):
        house.alias("b@example.org", "whoever@example.net")


def test_the_catch_all_stays_while_a_target_depends_on_it(house: Builder) -> None:
    house.alias("@example.org", "amy@example.org")
    house.alias("a@example.org", "whoever@example.org")
    with pytest.raises(InUseError, match=r"last target of a@example\.org"):
        house.remove("alias", "@example.org")
    house.remove("alias", "a@example.org")
    house.remove("alias", "@example.org")


def test_expansions_past_the_limit_of_postfix_are_refused(house: Builder) -> None:
    with house.directory.change() as change:
        for number in range(2):
            aliases.set_targets(
                change,
                A(f"list{number}@example.org"),
                [A(f"member{i}@elsewhere{number}.example") for i in range(600)],
            )
    with pytest.raises(RuleError, match="more than 1000"):
        house.alias("all@example.org", "list0@example.org", "list1@example.org")


def test_a_domain_with_addresses_or_twins_stays(house: Builder) -> None:
    with pytest.raises(InUseError, match=r"alias domains: example\.net"):
        house.remove("domain", "example.org")
    house.remove("domain", "example.net")
    with pytest.raises(InUseError, match=r"2 users and 0 aliases: amy@example\.org, bob@example\.org"):
        house.remove("domain", "example.org")
    house.remove("user", "amy@example.org")
    house.remove("user", "bob@example.org")
    house.remove("domain", "example.org")
    with house.directory.read() as reading:
        assert list(domains.list_all(reading)) == []


def test_an_alias_domain_stays_while_a_target_names_it(house: Builder) -> None:
    house.alias("a@example.org", "amy@example.net")
    with pytest.raises(InUseError, match=r"targets of a@example\.org"):
        house.remove("domain", "example.net")


def test_the_last_target_of_an_alias_stays_and_one_of_several_is_dropped(house: Builder) -> None:
    house.alias("only@example.org", "amy@example.org")
    with pytest.raises(InUseError, match=r"last target of only@example\.org"):
        house.remove("user", "amy@example.org")
    house.alias("only@example.org", "amy+list@example.net", "bob@example.org")
    gone = house.remove("user", "amy@example.org")
    assert gone.dropped_from == (A("only@example.org"),)
    with house.directory.read() as reading:
        assert aliases.show(reading, A("only@example.org")).targets == (A("bob@example.org"),)


def test_an_alias_with_only_targets_that_go_together_counts_as_stranded(house: Builder) -> None:
    house.alias("both@example.org", "amy+a@example.org", "amy+b@example.org")
    with pytest.raises(InUseError, match=r"both@example\.org"):
        house.remove("user", "amy@example.org")


def test_a_domain_that_becomes_local_tells_of_targets_that_now_lead_nowhere(house: Builder) -> None:
    house.alias("a@example.org", "carl@example.com")
    added = house.domain("example.com")
    assert added.notes == ("aliases or forwards lead to carl@example.com, which does not exist here yet",)


def test_an_alias_domain_is_never_an_alias_of_an_alias(house: Builder) -> None:
    with pytest.raises(RuleError, match=r"example\.net is itself an alias of example\.org"):
        house.domain("example.com", alias_of="example.net")
    with pytest.raises(RuleError, match="itself"):
        house.domain("example.com", alias_of="example.com")


def test_switching_receive_off_tells_which_aliases_it_closes(house: Builder) -> None:
    house.alias("only@example.org", "amy@example.org")
    house.alias("two@example.org", "amy@example.org", "bob@example.org")
    changed = house.switch("amy@example.org", receive=False)
    assert changed.notes == ("mail to only@example.org is refused as well, as it leads nowhere else",)
    assert house.switch("amy@example.org", receive=False).notes == ()


def test_the_wrong_kind_is_named(house: Builder) -> None:
    house.alias("team@example.org", "amy@example.org")
    with house.directory.read() as reading:
        with pytest.raises(NotFoundError, match="is an alias, not a user"):
            users.show(reading, A("team@example.org"))
        with pytest.raises(NotFoundError, match="is a user, not an alias"):
            aliases.show(reading, A("amy@example.org"))
        with pytest.raises(NotFoundError, match="forwards nothing"):
            forwards.show(reading, A("amy@example.org"))


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x1b[31m"])
def test_a_name_is_bounded_and_printable(house: Builder, name: str) -> None:
    with pytest.raises(UsageError):
        house.user("carl@example.org", name=name)


@pytest.mark.parametrize("quota", [0, -1, 2**63])
def test_a_quota_is_a_sensible_number_of_bytes(house: Builder, quota: int) -> None:
    with pytest.raises(UsageError):
        house.user("carl@example.org", quota=quota)


def test_an_address_made_again_gets_another_mail_folder(house: Builder) -> None:
    first = house.remove("user", "amy@example.org").record
    second = house.user("amy@example.org", password_hash=HASH)
    assert first.mail_id != second.mail_id
    assert first.id != second.id


def test_an_alias_is_edited_by_single_targets(house: Builder) -> None:
    house.alias("team@example.org", "amy@example.org")
    with house.directory.change() as change:
        changed = aliases.edit(
            change, A("team@example.org"), add=[A("bob@example.org"), A("amy@example.org")]
        )
    assert changed.before is not None
    assert changed.before.targets == (A("amy@example.org"),)
    assert changed.after.targets == (A("amy@example.org"), A("bob@example.org"))
    with house.directory.change() as change:
        changed = aliases.edit(change, A("team@example.net"), remove=[A("amy@example.org")])
    assert changed.after.targets == (A("bob@example.org"),)
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"remove": [A("bob@example.org")]}, RuleError),
        ({"remove": [A("x@example.org")]}, NotFoundError),
        ({}, UsageError),
    ]
    for wrong, error in refused:
        with pytest.raises(error), house.directory.change() as change:
            aliases.edit(change, A("team@example.org"), **wrong)


def test_lists_are_in_order_and_by_domain(house: Builder) -> None:
    house.domain("bücher.example")
    house.user("zoe@bücher.example")
    house.alias("a@bücher.example", "zoe@bücher.example", "amy@example.org")
    house.forward("bob@example.org", "bob@elsewhere.example", keep_copy=False)
    with house.directory.read() as reading:
        assert [d.name.unicode for d in domains.list_all(reading)] == [
            "example.net",
            "example.org",
            "bücher.example",
        ]
        assert [u.address.local.text for u in users.list_all(reading)] == ["amy", "bob", "zoe"]
        assert [u.address.unicode for u in users.list_all(reading, D("bücher.example"))] == [
            "zoe@bücher.example"
        ]
        assert [a.targets for a in aliases.list_all(reading, D("bücher.example"))] == [
            (A("zoe@bücher.example"), A("amy@example.org"))
        ]
        assert [(f.address.unicode, f.keep_copy) for f in forwards.list_all(reading)] == [
            ("bob@example.org", False)
        ]
        with pytest.raises(NotFoundError):
            list(users.list_all(reading, D("nowhere.example")))
