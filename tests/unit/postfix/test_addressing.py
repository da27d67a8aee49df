"""Classes of domains and the keys under which an address is looked up, with answers given by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import ServerError
from postmaster.postfix.addressing import Addressing
from postmaster.postfix.classes import DomainClasses, conflicts
from postmaster.postfix.tables import Tables

PARAMETERS = {
    "recipient_delimiter": "+",
    "myorigin": "origin.test",
    "mydomain": "domain.test",
    "append_at_myorigin": "yes",
    "append_dot_mydomain": "no",
    "allow_percent_hack": "yes",
    "swap_bangpath": "yes",
    "propagate_unmatched_extensions": "canonical, virtual",
    "owner_request_special": "yes",
    "double_bounce_sender": "double-bounce",
    "empty_address_recipient": "MAILER-DAEMON",
    "resolve_dequoted_address": "yes",
    "mydestination": "local.test, !not.list.test hash:/locals",
    "virtual_alias_domains": "hash:/aliases",
    "virtual_mailbox_domains": "boxes.test, alias2.test",
    "relay_domains": "relay.test .dot.test",
    "parent_domain_matches_subdomains": "relay_domains",
    "inet_interfaces": "127.0.0.1",
    "proxy_interfaces": "",
}


class Answers(Tables):
    """Tables whose content is written down here."""

    def __init__(self, tables: dict[str, dict[str, str]]) -> None:
        super().__init__(Path("/nowhere"), running=False)
        self.tables = tables

    def find_all(self, table: str, keys: Iterable[str]) -> dict[str, str | None]:
        return {key: self.tables.get(table, {}).get(key) for key in keys}


def made(tables: dict[str, dict[str, str]], **changed: str) -> tuple[Addressing, DomainClasses, Answers]:
    answers = Answers(tables)
    given_ = {**PARAMETERS, **changed}
    classes = DomainClasses(given_, answers)
    return Addressing(given_, answers, classes), classes, answers


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("LOCAL.test", "local"),
        ("below.local.test", "default"),
        ("tabled.test", "local"),
        ("alias.test", "virtual_alias"),
        ("alias2.test", "virtual_alias"),  # in both: the alias class wins
        ("boxes.test", "virtual_mailbox"),
        ("relay.test", "relay"),
        ("deep.below.relay.test", "relay"),
        ("xrelay.test", "default"),
        ("[127.0.0.1]", "local"),
        ("[127.0.0.2]", "default"),
        ("", "default"),
    ],
)
def test_classes_of_domains(domain: str, expected: str) -> None:
    _, classes, _ = made(
        {"hash:/locals": {"tabled.test": "x"}, "hash:/aliases": {"alias.test": "x", "alias2.test": "x"}}
    )
    assert classes.of(domain) == expected


def test_lists_have_exceptions_files_and_faults(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("# comment\nfrom.file.test other.test\n")
    _, classes, _ = made({}, mydestination=f"!no.test, no.test, {file}")
    assert [classes.of(name) for name in ("no.test", "from.file.test", "comment")] == [
        "default",
        "local",
        "default",
    ]
    with pytest.raises(ServerError, match="cannot be read"):
        made({}, mydestination=str(tmp_path / "missing"))


def test_conflicts_name_the_parameter_that_wins() -> None:
    _, classes, _ = made({}, mydestination="boxes.test")
    assert conflicts(classes, {"boxes.test": "virtual_mailbox", "alias2.test": "virtual_mailbox"}) == [
        ("boxes.test", "mydestination", "mydestination")
    ]


def test_keys_are_asked_in_the_order_of_postfix() -> None:
    addressing, _, _ = made({})
    assert addressing.keys("a+x@boxes.test") == [
        ("a+x@boxes.test", ""),
        ("a@boxes.test", "+x"),
        ("@boxes.test", ""),
    ]
    assert [key for key, _ in addressing.keys("a+x@local.test")] == [
        *("a+x@local.test", "a@local.test", "a+x", "a", "@local.test"),
    ]
    assert [key for key, _ in addressing.keys("a b+x@origin.test")] == [
        *('"a b+x"@origin.test', '"a b"@origin.test', '"a b+x"', '"a b"', "@origin.test"),
    ]


@pytest.mark.parametrize(
    ("interfaces", "address", "is_own"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("all", "127.0.0.1", True),
        ("all", "192.0.2.1", False),  # of no host (RFC 5737)
        ("all", "0.0.0.0", False),
        ("all", "not.an.address", False),
        ("all", "IPv6:2001:db8::1", False),
        ("loopback-only", "127.0.0.1", True),
        ("loopback-only", "192.0.2.1", False),
        ("$myhostname, localhost", "127.0.0.1", True),
    ],
)
def test_addresses_of_the_host_are_local(interfaces: str, address: str, is_own: bool) -> None:
    _, classes, _ = made({}, inet_interfaces=interfaces)
    assert (classes.of(f"[{address}]") == "local") is is_own


@pytest.mark.parametrize(
    ("local", "parts"),
    [
        ("amy+x", ("amy", "+x")),
        ("amy+x+y", ("amy", "+x+y")),
        ("+x", ("+x", "")),
        ("amy", ("amy", "")),
        ("Postmaster", ("Postmaster", "")),
        ("mailer-daemon", ("mailer-daemon", "")),
    ],
)
def test_extensions(local: str, parts: tuple[str, str]) -> None:
    assert made({})[0].split_extension(local) == parts


def test_a_hyphen_as_delimiter_spares_owners_and_requests() -> None:
    addressing, _, _ = made({}, recipient_delimiter="-")
    assert addressing.split_extension("owner-list") == ("owner-list", "")
    assert addressing.split_extension("list-request") == ("list-request", "")
    assert addressing.split_extension("list-x") == ("list", "-x")


@pytest.mark.parametrize(
    ("address", "complete"),
    [
        ("amy", "amy@origin.test"),
        ("amy@x", "amy@x"),
        ("amy@x.test.", "amy@x.test"),
        ("user%site.test", "user@site.test"),
        ("site.test!user", "user@site.test"),
        ("a%b@x.test", "a%b@x.test"),
    ],
)
def test_addresses_are_completed(address: str, complete: str) -> None:
    assert made({})[0].canonical(address) == complete


def test_an_answer_that_is_a_domain_keeps_the_local_part_and_an_extension_is_added_once() -> None:
    addressing, _, _ = made({"t:/m": {"@whole.test": "@other.test", "amy@x.test": "bob, c@d.test"}})

    def to(address: str, *, propagate: bool = True) -> tuple[str, ...]:
        mapped = addressing.map("t:/m", address, propagate=propagate)
        assert mapped is not None
        return mapped.addresses

    assert to("any+tag@whole.test") == ("any+tag@other.test",)
    assert to("amy+tag@x.test") == ("bob+tag@origin.test", "c+tag@d.test")
    assert to("amy+tag@x.test", propagate=False) == ("bob@origin.test", "c@d.test")
    assert addressing.map("t:/m", "nobody@x.test", propagate=True) is None
    assert addressing.map("", "amy@x.test", propagate=True) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("user%site.test@local.test", "user@site.test"),
        ("site.test!user@local.test", "user@site.test"),
        ("a%b%c@local.test", "a%b@c"),
        ("user%local.test%local.test@local.test", "user@local.test"),
        ("amy@other.test@local.test", "amy@other.test"),
        ("@local.test", "MAILER-DAEMON@local.test"),
        ("user%site.test@elsewhere.test", "user%site.test@elsewhere.test"),
        ("amy@local.test", "amy@local.test"),
    ],
)
def test_a_way_through_a_domain_of_ours_is_taken_off(address: str, expected: str) -> None:
    assert made({})[0].routed(address) == expected


def test_a_way_stays_where_it_is_switched_off() -> None:
    addressing, _, _ = made({}, allow_percent_hack="no", swap_bangpath="no", resolve_dequoted_address="no")
    for address in ("a%b@local.test", "a!b@local.test", "a@b@local.test"):
        assert addressing.routed(address) == address


@given(st.text(max_size=40), st.sampled_from(["", "@local.test"]))
def test_any_address_has_keys_and_an_end_of_its_way(text: str, domain: str) -> None:
    addressing, _, _ = made({})
    address = addressing.canonical(text + domain)
    assert addressing.keys(address)
    end = addressing.routed(address)
    assert addressing.routed(end) == end


def test_parts_of_an_address_are_not_looked_up_in_tables_of_patterns() -> None:
    rows = {"@x.test": "all", "amy@x.test": "part", "amy+T@x.test": "whole", "amy+t@x.test": "folded"}
    for table in ("regexp:/p", "proxy:pcre:/p", "tcp:host:1", "pipemap:{regexp:/p, hash:/h}"):
        addressing, _, _ = made({table: rows, "hash:/h": {"@x.test": "fixed"}})
        maps = f"{table} hash:/h"
        found = [addressing.find(maps, f"{one}@x.test") for one in ("amy+T", "amy+u", "bob")]
        assert [one and (one.table, one.answer) for one in found] == [
            (table, "whole"),  # as it stands, not folded
            ("hash:/h", "fixed"),
            ("hash:/h", "fixed"),
        ]
