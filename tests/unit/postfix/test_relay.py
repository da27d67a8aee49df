"""Who may relay, judged from restrictions: open, closed, and unknown where it cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix import relay
from postmaster.postfix.relay import OUTSIDER, Verdict, is_inside, judge_service, widest

SAFE = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"


def ask(tables: Mapping[str, Mapping[str, str]]) -> relay.Ask:
    def answer(table: str, keys: tuple[str, ...]) -> str | None:
        if table.startswith("static:"):
            return table.removeprefix("static:").strip("{} ")
        known = tables.get(table)
        return None if known is None else next((known[key] for key in keys if key in known), "")

    return answer


def verdict(tables: Mapping[str, Mapping[str, str]] | None = None, /, **given: str) -> Verdict:
    values = {"mynetworks": "127.0.0.0/8", "smtpd_restriction_classes": "", **given}
    lists = ("client", "helo", "sender", "relay", "recipient")
    values |= {f"smtpd_{name}_restrictions": values.pop(name) for name in lists if name in values}
    return judge_service("smtp", values, ask(tables or {})).verdict


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (SAFE, "closed"),
        ("permit_mynetworks permit_sasl_authenticated defer_unauth_destination", "closed"),
        ("permit_sasl_authenticated,reject", "closed"),
        ("", "open"),
        ("permit, reject", "open"),
        ("permit_mynetworks", "open"),
        ("warn_if_reject reject_unauth_destination", "open"),
        ("warn_if_reject reject_unauth_destination, reject", "closed"),
        ("reject_unknown_client_hostname, reject_rbl_client reject", "open"),
        ("sleep 5, reject", "closed"),
        ("check_sasl_access proxy:mysql:/x, reject", "closed"),
        ("check_client_access static:OK, reject", "open"),
        ("check_client_access static:{REJECT 5.7.1 no}, permit", "closed"),
        ("check_client_access static:DUNNO, reject", "closed"),
        ("check_policy_service inet:127.0.0.1:10023, reject_unauth_destination", "unknown"),
        ("{check_policy_service {inet:127.0.0.1:10023, timeout=1s}}, reject", "unknown"),
        ("reject_unauth_destination, check_policy_service inet:127.0.0.1:10023", "closed"),
        ("check_recipient_access hash:/x, reject", "unknown"),
        ("permit_tls_all_clientcerts, reject", "unknown"),
        ("permit_mx_backup, permit_auth_destination, permit_inet_interfaces, reject", "closed"),
        ("a_mistake, reject", "closed"),
        ("PERMIT", "open"),
    ],
)
def test_one_list(rules: str, wanted: str) -> None:
    assert verdict(relay=rules) is Verdict(wanted)


def test_each_list_must_let_it_pass() -> None:
    assert verdict(relay="permit", recipient=SAFE) is Verdict.closed
    assert verdict(relay="permit", client="reject") is Verdict.closed
    assert verdict(relay="permit", recipient="check_policy_service inet:x:1") is Verdict.unknown
    assert verdict(relay="permit", recipient="") is Verdict.open


def test_tables_are_asked_what_they_say_of_the_outsider() -> None:
    rules = "check_recipient_access hash:/x, reject_unauth_destination"
    assert verdict({"hash:/x": {}}, relay=rules) is Verdict.closed
    assert verdict({"hash:/x": {"example.org": "OK"}}, relay=rules) is Verdict.closed
    assert verdict({"hash:/x": {"elsewhere.invalid": "OK"}}, relay=rules) is Verdict.open
    assert verdict({"hash:/x": {"elsewhere.invalid": "REJECT no"}}, relay=rules) is Verdict.closed
    silent = {"hash:/x": {"elsewhere.invalid": "permit_sasl_authenticated"}}
    assert verdict(silent, relay=rules) is Verdict.closed
    client = "check_client_access cidr:/x, reject"
    assert verdict({"cidr:/x": {OUTSIDER: "OK"}}, relay=client) is Verdict.open


def test_restriction_classes() -> None:
    given = {"smtpd_restriction_classes": "ours, loop", "ours": "permit_sasl_authenticated", "loop": "loop"}
    assert verdict(relay="ours, reject", **given) is Verdict.closed
    assert verdict(relay="ours", **given) is Verdict.open
    assert verdict(relay="loop, reject", **given) is Verdict.unknown
    assert verdict(relay="ours, reject", **(given | {"ours": "permit"})) is Verdict.open


@pytest.mark.parametrize(
    ("networks", "wanted"),
    [
        ("127.0.0.0/8 [::1]/128", False),
        ("0.0.0.0/0", True),
        ("!198.51.100.77, 0.0.0.0/0", False),
        ("mail.example.org 198.51.100.0/24", True),
        ("[::]/0", False),
        ("cidr:/networks", None),
        ("hash:/here", True),
        ("/nonexistent", None),
        ("", False),
    ],
)
def test_networks(networks: str, wanted: bool | None) -> None:
    assert is_inside(OUTSIDER, networks, ask({"hash:/here": {OUTSIDER: "x"}})) is wanted


def test_networks_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "networks"
    file.write_text("# ours\n10.0.0.0/8\n198.51.100.0/24\n")
    assert is_inside(OUTSIDER, f"127.0.0.1 {file}", ask({})) is True
    file.write_text(f"{file}\n")
    assert is_inside(OUTSIDER, str(file), ask({})) is None


def test_everybody_in_mynetworks_may_relay() -> None:
    assert verdict(relay=SAFE, mynetworks="0.0.0.0/0") is Verdict.open
    assert verdict(relay=SAFE, mynetworks="cidr:/networks") is Verdict.unknown
    late = "reject_unauth_destination, permit_mynetworks"
    assert verdict(relay=late, mynetworks="0.0.0.0/0") is Verdict.closed


def test_wide_networks() -> None:
    assert widest("127.0.0.0/8 10.0.0.0/8 192.168.0.0/16 [fd00::]/8 203.0.113.0/24") is None
    assert widest("127.0.0.0/8 91.0.0.0/10 5.0.0.0/12") == "91.0.0.0/10"
    assert widest("[2a00::]/12 hash:/x !1.2.3.4") == "[2a00::]/12"


_WORD = st.sampled_from(
    ["permit", "reject", "{", "}", "{reject}", "check_client_access", "static:OK", "hash:/x", "sleep", "7",
     "warn_if_reject", "check_policy_service", "ours", "permit_mynetworks", "!", ":", "$x"]
) | st.text(max_size=8)  # fmt: skip


@given(st.lists(_WORD, max_size=12), st.lists(_WORD, max_size=6), st.text(max_size=30))
def test_any_words_give_a_verdict(words: list[str], others: list[str], networks: str) -> None:
    given = {"smtpd_restriction_classes": "ours", "ours": " ".join(others), "mynetworks": networks}
    assert verdict(relay=" ".join(words), **given) in Verdict


@given(st.lists(_WORD, max_size=8))
def test_what_comes_after_a_refusal_for_sure_opens_nothing(words: list[str]) -> None:
    assert verdict(relay=" ".join(["reject", *words])) is Verdict.closed
