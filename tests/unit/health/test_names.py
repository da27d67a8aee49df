"""Records of mail: any bytes are a record or refused in one line; what is right is read right."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.health.checks.dns import _is_special
from postmaster.health.names import keys
from postmaster.health.names.host import is_error_code
from postmaster.health.names.records import (
    LONGEST,
    DkimKey,
    Malformed,
    of_kind,
    parse_dkim,
    parse_dmarc,
    parse_mta_sts,
    parse_policy,
    parse_tls_rpt,
    shown,
)

PARSERS: list[Callable[[bytes], object]] = [
    parse_dkim,
    parse_dmarc,
    parse_mta_sts,
    parse_policy,
    parse_tls_rpt,
]
#: Words that the parsers look for; bytes made of them come near to a record.
WORDS = (
    *(b"v=DKIM1", b"v=DMARC1", b"v=STSv1", b"v=TLSRPTv1", b";", b"p=", b"=", b"none", b"QUJD", b"id=1"),
    *(b"rua=mailto:a@b.c", b"k=rsa", b" ", b"\xff", b"\0", b"version: STSv1\n", b"mode: enforce\n"),
    *(b"mx: *.a.b\n", b"max_age: 1\n"),
)
NEAR = st.lists(st.sampled_from(WORDS) | st.binary(max_size=6), max_size=12).map(b"".join)


@pytest.mark.parametrize("parse", PARSERS)
@given(st.binary(max_size=300) | NEAR)
def test_any_bytes_are_a_record_or_refused_in_one_printable_line(
    parse: Callable[[bytes], object], raw: bytes
) -> None:
    told = "a record"
    try:
        parse(raw)
    except Malformed as error:
        told = str(error)
    assert told.isprintable()
    assert 0 < len(told) < 200


@pytest.mark.parametrize("parse", PARSERS)
def test_a_record_without_end_is_refused(parse: Callable[[bytes], object]) -> None:
    with pytest.raises(Malformed):
        parse(b"v=DKIM1; p=" + b"A" * (LONGEST * 10))


@given(st.binary(max_size=300))
def test_what_is_shown_of_a_record_is_one_printable_line(raw: bytes) -> None:
    assert shown(raw).isprintable()


BLANKS = st.sampled_from(["", " ", "  ", "\t"])


@given(
    kind=st.sampled_from(["rsa", "ed25519"]),
    key=st.binary(max_size=64),
    testing=st.booleans(),
    blank=BLANKS,
    version=st.booleans(),
)
def test_a_key_reads_back(kind: str, key: bytes, testing: bool, blank: str, version: bool) -> None:
    tags = ["v=DKIM1"] * version + [
        f"k={kind}",
        "t=y:s" if testing else "t=s",
        f"p={base64.b64encode(key).decode()}",
    ]
    text = f"{blank};{blank}".join(tags) + ";" * testing
    assert parse_dkim(text.encode()) == DkimKey(kind, key, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p=QUJD; v=DKIM1", "first"),
        ("v=DKIM2; p=QUJD", "version"),
        ("v=DKIM1; k=rsa", "no key"),
        ("v=DKIM1; k=dsa; p=QUJD", "key type"),
        ("v=DKIM1; p=QUJD; p=QUJD", "twice"),
        ("", "empty"),
    ],
)
def test_a_wrong_key_record_says_why(text: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse_dkim(text.encode())


def test_a_key_for_another_service_is_not_for_mail() -> None:
    assert not parse_dkim(b"v=DKIM1; s=tlsrpt; p=QUJD").serves_mail
    assert parse_dkim(b"v=DKIM1; s=email:other; p=QUJD").serves_mail


def test_dmarc_of_the_rfc() -> None:
    found = parse_dmarc(
        b"v=DMARC1; p=Quarantine; sp=reject; pct=25; rua=mailto:a@x.org!10m,https://x.org/r;"
        b" ruf=mailto:b@y.org"
    )
    assert (found.policy, found.subdomain_policy, found.percent) == ("quarantine", "reject", 25)
    assert found.reports == (("a@x.org", "x.org"), ("b@y.org", "y.org"))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "p=none; v=DMARC1",
            "v=DMARC1",
            "v=DMARC1; p=nothing",
            "v=DMARC1; p=none; pct=101",
            "v=DMARC1 p=none",
        ),
        *("v=DMARC1; p=none; adkim=x", "v=DMARC1; p=none; rua=someone@x.org", "v=dmarc1; p=none"),
    ],
)
def test_wrong_dmarc_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_dmarc(text.encode())


def test_a_policy_covers_one_label_for_a_star() -> None:
    policy = parse_policy(
        b"version: STSv1\r\nmode: enforce\r\nmx: mail.x.org\r\nmx: *.y.org\r\nmax_age: 86400\r\nnew: 1\r\n"
    )
    assert (policy.mode, policy.max_age) == ("enforce", 86400)
    hosts = ("mail.x.org", "MAIL.x.org.", "a.y.org", "a.b.y.org", "y.org", "x.org")
    assert [policy.covers(host) for host in hosts] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    "text",
    [
        *(b"mode: enforce\nmx: a.b\nmax_age: 1\n", b"version: STSv1\nmode: x\nmx: a.b\nmax_age: 1\n"),
        *(b"version: STSv1\nmode: enforce\nmax_age: 1\n", b"version: STSv1\nmode: enforce\nmx: a.b\n"),
        *(b"version: STSv1\nmode: none\nmax_age: 99999999\n", b"version STSv1\n", b"<html>\n"),
    ],
)
def test_a_wrong_policy_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        parse_policy(text)


def test_records_of_another_kind_are_left_out() -> None:
    texts = [b"v=spf1 -all", b"v=DMARC1; p=none", b"v=DMARC12; p=none", b" v = DMARC1 ;p=none"]
    assert of_kind(texts, b"DMARC1") == [texts[1], texts[3]]


def test_signing_keys_are_named_for_all_domains_or_one() -> None:
    given_ = ("one=/k/one", "x.org/one=/k/own", "y.org/two=/k/two", "three", "=x")
    assert keys.named(given_, "x.org") == {"one": Path("/k/own")}
    assert keys.named(given_, "y.org") == {"one": Path("/k/one"), "two": Path("/k/two")}


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 40])
def test_no_curve_key_is_malformed(key: bytes) -> None:
    with pytest.raises(Malformed):
        keys.strength(DkimKey("ed25519", key, True))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_key_or_malformed(key: bytes) -> None:
    for kind in ("rsa", "ed25519"):
        try:
            _, bits = keys.strength(DkimKey(kind, key, True))
        except Malformed:
            continue
        assert bits > 0


def test_what_a_blocklist_answers() -> None:
    listed = ("127.0.0.2", "127.0.0.10", "127.0.1.2", "127.1.2.3")
    errors = ("127.255.255.252", "127.255.255.254", "127.0.0.1", "127.0.1.255", "198.51.100.1")
    assert not any(map(is_error_code, listed))
    assert all(map(is_error_code, errors))


def test_names_that_no_name_server_has() -> None:
    assert all(map(_is_special, ("a.test", "test", "x.example.org", "example.com", "a.invalid", "localhost")))
    assert not any(map(_is_special, ("postfix.org", "testing.org", "myexample.org")))
