"""What the published views answer, asked as the servers ask."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.tools.building import Builder

Ask = Callable[..., list[Any]]

ALIAS = (
    "SELECT target_local || '@' || target_domain, is_local FROM virtual_alias "
    "WHERE local_part = ? AND domain = ? ORDER BY 1"
)


@pytest.fixture
def house(make: Builder) -> Builder:
    make.domain("example.org")
    make.domain("bücher.example", alias_of="example.org")
    make.user("amy@example.org", quota=1 << 30)
    make.user("bob@example.org")
    return make


def test_hosted_and_alias_domains_are_in_different_classes(house: Builder, ask: Ask) -> None:
    assert ask("postfix", "SELECT domain FROM virtual_mailbox_domain") == ["example.org"]
    assert ask("postfix", "SELECT domain FROM virtual_alias_domain") == ["xn--bcher-kva.example"]


def test_a_mailbox_answers_with_its_own_address_so_no_catch_all_swallows_it(house: Builder, ask: Ask) -> None:
    house.alias("@example.org", "bob@example.org")
    assert ask("postfix", ALIAS, "amy", "example.org") == [("amy@example.org", 1)]
    assert ask("postfix", "SELECT target FROM catch_all WHERE domain = 'example.org'") == ["bob@example.org"]
    assert ask("postfix", ALIAS, "", "example.org") == []


def test_an_alias_domain_answers_for_addresses_that_exist_and_has_no_catch_all(
    house: Builder, ask: Ask
) -> None:
    house.alias("team@example.org", "amy@example.org", "x@elsewhere.example")
    house.alias("@example.org", "bob@example.org")
    twin = "xn--bcher-kva.example"
    assert ask("postfix", ALIAS, "amy", twin) == [("amy@example.org", 1)]
    assert ask("postfix", ALIAS, "team", twin) == [("team@example.org", 1)]
    assert ask("postfix", ALIAS, "nobody", twin) == []
    assert ask("postfix", "SELECT target FROM catch_all WHERE domain = ?", twin) == []
    assert ask("postfix", "SELECT login FROM sender_login WHERE local_part = 'amy' AND domain = ?", twin) == [
        "amy@example.org"
    ]


def test_local_targets_are_told_from_remote_ones(house: Builder, ask: Ask) -> None:
    house.alias("team@example.org", "amy+list@bücher.example", "x@elsewhere.example")
    assert ask("postfix", ALIAS, "team", "example.org") == [
        ("amy+list@xn--bcher-kva.example", 1),
        ("x@elsewhere.example", 0),
    ]


@pytest.mark.parametrize(
    ("keep_copy", "expected"),
    [(True, [("amy@example.org", 1), ("amy@x.example", 0)]), (False, [("amy@x.example", 0)])],
)
def test_a_forward_keeps_a_copy_or_not(
    house: Builder, ask: Ask, keep_copy: bool, expected: list[tuple[str, int]]
) -> None:
    house.forward("amy@example.org", "amy@x.example", keep_copy=keep_copy)
    assert ask("postfix", ALIAS, "amy", "example.org") == expected
    house.remove("forward", "amy@example.org")
    assert ask("postfix", ALIAS, "amy", "example.org") == [("amy@example.org", 1)]


def test_who_does_not_receive_is_refused_with_twins_and_lists_that_lead_nowhere_else(
    house: Builder, ask: Ask
) -> None:
    house.alias("only@example.org", "amy+tag@bücher.example")
    house.alias("two@example.org", "amy@example.org", "bob@example.org")
    house.alias("@example.org", "amy@example.org")
    refused = "SELECT local_part || '@' || domain FROM recipient_access ORDER BY 1"
    assert ask("postfix", refused) == []
    house.switch("amy@example.org", receive=False)
    assert ask("postfix", refused) == [
        "amy@example.org",
        "amy@xn--bcher-kva.example",
        "only@example.org",
        "only@xn--bcher-kva.example",
    ]
    assert ask("postfix", "SELECT action FROM recipient_access WHERE local_part = 'amy'")[0].startswith(
        "550 5.2.1 "
    )
    assert ask("postfix", ALIAS, "two", "example.org") == [("bob@example.org", 1)]
    assert ask("postfix", "SELECT target FROM catch_all WHERE domain = 'example.org'") == []
    assert ask("dovecot", "SELECT receive FROM userdb WHERE login = 'amy@example.org'") == [0]


def test_what_leads_nowhere_over_any_hops_is_refused_beside_a_catch_all(house: Builder, ask: Ask) -> None:
    house.forward("bob@example.org", "amy@example.org", keep_copy=False)
    house.alias("a1@example.org", "bob@bücher.example")
    house.alias("a2@example.org", "a1@example.org")
    house.alias("other@example.org", "a2@example.org", "x@elsewhere.example")
    house.user("carl@example.org")
    house.alias("@example.org", "carl@example.org")
    house.alias("rest@example.org", "whoever@example.org")
    refused = "SELECT local_part FROM recipient_access WHERE domain = 'example.org' ORDER BY 1"
    assert ask("postfix", refused) == []
    changed = house.switch("amy@example.org", receive=False)
    assert ask("postfix", refused) == ["a1", "a2", "amy", "bob"]
    assert changed.notes == (
        "mail to bob@example.org, a1@example.org, a2@example.org is refused as well, "
        "as it leads nowhere else",
    )
    assert ask("postfix", ALIAS, "other", "example.org") == [("x@elsewhere.example", 0)]
    house.switch("carl@example.org", receive=False)
    assert ask("postfix", refused) == ["a1", "a2", "amy", "bob", "carl", "rest"]
    assert ask("postfix", "SELECT target FROM catch_all") == []
    house.switch("amy@example.org", receive=True)
    house.switch("carl@example.org", receive=True)
    assert ask("postfix", refused) == []


@pytest.mark.parametrize(
    ("switches", "services"),
    [
        ({}, ["doveadm", "imap", "pop3", "sieve", "smtp", "submission"]),
        ({"login": False}, []),
        ({"imap": False}, ["doveadm", "pop3", "sieve", "smtp", "submission"]),
        ({"pop3": False}, ["doveadm", "imap", "sieve", "smtp", "submission"]),
        ({"send": False}, ["doveadm", "imap", "pop3", "sieve"]),
        ({"receive": False}, ["doveadm", "imap", "pop3", "sieve", "smtp", "submission"]),
    ],
)
def test_each_switch_takes_its_own_right_and_no_other(
    house: Builder, ask: Ask, switches: dict[str, bool], services: list[str]
) -> None:
    if switches:
        house.switch("amy@example.org", **switches)
    found = ask("dovecot", "SELECT service FROM passdb WHERE login = 'amy@example.org' ORDER BY 1")
    assert found == services
    may_send = "smtp" in services
    query = "SELECT action FROM submission_login WHERE login = 'amy@example.org'"
    assert ask("postfix", query) == (["OK"] if may_send else [])


def test_userdb_has_folder_and_quota(house: Builder, ask: Ask, directory: Any) -> None:
    rows = ask("dovecot", "SELECT login, length(mail_id), quota_bytes FROM userdb ORDER BY 1")
    assert rows == [("amy@example.org", 20, 1 << 30), ("bob@example.org", 20, None)]
    assert ask("dovecot", "SELECT login FROM user_list WHERE login > '' ORDER BY 1") == [
        "amy@example.org",
        "bob@example.org",
    ]


def test_postfix_is_given_no_hash_and_dovecot_no_alias(house: Builder, ask: Ask, settings: Any) -> None:
    house.alias("secret-list@example.org", "amy@example.org")
    files = settings.lookups.directory
    postfix = b"".join(p.read_bytes() for p in files.glob("postfix.db*"))
    dovecot = b"".join(p.read_bytes() for p in files.glob("dovecot.db*"))
    assert b"argon2" in dovecot
    assert b"argon2" not in postfix
    assert b"secret-list" in postfix
    assert b"secret-list" not in dovecot


QUERIES = {
    "postfix": [
        "SELECT domain FROM virtual_mailbox_domain WHERE domain = 'x'",
        "SELECT domain FROM virtual_alias_domain WHERE domain = 'x'",
        "SELECT address FROM virtual_mailbox WHERE local_part = 'x' AND domain = 'x'",
        "SELECT target_local, is_local FROM virtual_alias WHERE local_part = 'x' AND domain = 'x'",
        "SELECT target FROM catch_all WHERE domain = 'x'",
        "SELECT action FROM recipient_access WHERE local_part = 'x' AND domain = 'x'",
        "SELECT login FROM sender_login WHERE local_part IN ('x', '') AND domain = 'x'",
        "SELECT action FROM submission_login WHERE login = 'x'",
    ],
    "dovecot": [
        "SELECT password FROM passdb WHERE login = 'x' AND service = 'imap'",
        "SELECT name FROM app_passdb WHERE sha256 = 'x' AND login = 'x' AND service = 'imap'",
        "SELECT mail_id FROM userdb WHERE login = 'x' AND (receive = 1 OR 'imap' <> 'lmtp')",
        "SELECT login FROM user_list WHERE login > ''",
    ],
}


@pytest.mark.parametrize(("file", "query"), [(file, query) for file in QUERIES for query in QUERIES[file]])
def test_no_view_is_answered_by_a_scan(house: Builder, ask: Ask, file: str, query: str) -> None:
    plan = [row[3] for row in ask(file, f"EXPLAIN QUERY PLAN {query}")]
    assert any("SEARCH" in step for step in plan)
    assert not [step for step in plan if "SCAN" in step]


HOSTILE = [
    "o'brien@example.org",
    "a&b@example.org",
    "x=y~z@example.org",
]


@pytest.mark.parametrize("where", HOSTILE)
def test_unusual_but_valid_addresses_are_published_as_they_are(house: Builder, ask: Ask, where: str) -> None:
    house.user(where)
    house.alias("to-" + where, where, '"quo\'ted, (local)"@elsewhere.example', "per%cent@elsewhere.example")
    local = where.partition("@")[0]
    assert ask("postfix", ALIAS, local, "example.org") == [(where, 1)]
    assert {row[0] for row in ask("postfix", ALIAS, "to-" + local, "example.org")} == {
        where,
        '"quo\'ted, (local)"@elsewhere.example',
        "per%cent@elsewhere.example",
    }


def test_what_ends_at_a_date_is_closed_from_that_second_on(house: Builder, ask: Ask) -> None:
    house.alias("@example.org", "bob@example.org")
    house.alias("old@example.org", "amy@example.org")
    house.alias("through@example.org", "old@example.org")
    house.alias("both@example.org", "old@example.org", "x@elsewhere.example")
    refused = "SELECT local_part FROM recipient_access WHERE domain = 'example.org' ORDER BY 1"
    house.until("old@example.org", 3600)
    assert ask("postfix", refused) == []
    assert ask("postfix", ALIAS, "through", "example.org") == [("old@example.org", 1)]
    house.until("old@example.org", 0)
    assert ask("postfix", refused) == ["old", "through"]
    assert ask("postfix", ALIAS, "old", "example.org") == []
    assert ask("postfix", ALIAS, "both", "example.org") == [("x@elsewhere.example", 0)]
    house.until("amy@example.org", 0)
    assert ask("postfix", refused) == ["amy", "old", "through"]
    assert ask("postfix", "SELECT action FROM submission_login WHERE login = 'amy@example.org'") == []
    assert ask("dovecot", "SELECT service FROM passdb WHERE login = 'amy@example.org'") == []
    assert ask("dovecot", "SELECT receive FROM userdb WHERE login = 'amy@example.org'") == [0]


def test_an_end_needs_no_publishing(house: Builder, ask: Ask) -> None:
    house.alias("old@example.org", "amy@example.org")
    house.until("old@example.org", 1.5)
    house.until("bob@example.org", 1.5)
    logins = "SELECT DISTINCT login FROM passdb ORDER BY 1"
    assert ask("dovecot", logins) == ["amy@example.org", "bob@example.org"]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and ask("dovecot", logins) != ["amy@example.org"]:
        time.sleep(0.1)
    assert ask("dovecot", logins) == ["amy@example.org"]
    refused = "SELECT local_part FROM recipient_access WHERE domain = 'example.org' ORDER BY 1"
    assert ask("postfix", refused) == ["bob", "old"]


def test_a_forward_that_has_ended_leaves_the_mail_to_the_mailbox(house: Builder, ask: Ask) -> None:
    house.forward("amy@example.org", "amy@x.example", keep_copy=False)
    now = datetime.now(UTC).replace(tzinfo=None)
    house.set("amy@example.org", forward_until=now + timedelta(hours=1))
    assert ask("postfix", ALIAS, "amy", "example.org") == [("amy@x.example", 0)]
    house.set("amy@example.org", forward_until=now)
    assert ask("postfix", ALIAS, "amy", "example.org") == [("amy@example.org", 1)]
    assert ask("postfix", "SELECT * FROM recipient_access") == []


def test_a_locked_user_keeps_what_went_out_of_the_house_and_logs_in_nowhere(house: Builder, ask: Ask) -> None:
    house.forward("amy@example.org", "amy@x.example", keep_copy=False)
    house.app_password("amy@example.org", "phone")
    app = "SELECT DISTINCT service FROM app_passdb WHERE login = 'amy@example.org' ORDER BY 1"
    assert ask("dovecot", app) == ["imap", "pop3", "smtp", "submission"]
    house.set("amy@example.org", locked_at=datetime(2026, 6, 1))
    assert ask("postfix", ALIAS, "amy", "example.org") == [("amy@example.org", 1)]
    assert ask("postfix", "SELECT action FROM submission_login WHERE login = 'amy@example.org'") == []
    assert ask("dovecot", app) == []
    assert ask("dovecot", "SELECT service FROM passdb WHERE login = 'amy@example.org'") == []
    assert ask("dovecot", "SELECT redirects FROM userdb ORDER BY login") == [0, 1]


def test_who_has_no_password_logs_in_by_app_passwords_alone(house: Builder, ask: Ask) -> None:
    house.app_password("amy@example.org", "phone", "secret")
    house.set("amy@example.org", password="", imap=False)
    assert ask("dovecot", "SELECT login FROM passdb WHERE login = 'amy@example.org'") == []
    query = "SELECT name FROM app_passdb WHERE sha256 = ? AND login = ? AND service = ?"
    digest = hashlib.sha256(b"secret").hexdigest()
    assert ask("dovecot", query, digest, "amy@example.org", "pop3") == ["phone"]
    assert ask("dovecot", query, digest, "amy@example.org", "imap") == []
    assert ask("dovecot", query, digest, "amy@example.org", "sieve") == []
    assert ask("dovecot", query, digest, "bob@example.org", "pop3") == []


def test_grants_let_others_send_in_alias_domains_too_and_a_whole_domain_covers_each_address(
    house: Builder, ask: Ask
) -> None:
    house.alias("team@example.org", "amy@example.org")
    house.grant("bob@example.org", "team@example.org")
    house.grant("amy@example.org", "@example.org")
    owners = "SELECT login FROM sender_login WHERE local_part IN (?, '') AND domain = ? ORDER BY 1"
    for domain in ("example.org", "xn--bcher-kva.example"):
        assert ask("postfix", owners, "team", domain) == ["amy@example.org", "bob@example.org"]
        assert ask("postfix", owners, "bob", domain) == ["amy@example.org", "bob@example.org"]
        assert ask("postfix", owners, "nobody", domain) == ["amy@example.org"]
    house.remove("user", "bob@example.org")
    assert ask("postfix", owners, "team", "example.org") == ["amy@example.org"]
