"""Address lists as Postfix reads them: any text is taken, quoting goes both ways."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix.tokens import quote, scan, split, unquote


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", []),
        ("amy", ["amy"]),
        ("amy@example.org", ["amy@example.org"]),
        ("a@x.test, b@y.test", ["a@x.test", "b@y.test"]),
        ("a@x.test b@y.test", ["a@x.test", "b@y.test"]),
        (",,a,,", ["a"]),
        ('"odd name"@x.test', ["odd name@x.test"]),
        ('"a, b"@x.test, c', ["a, b@x.test", "c"]),
        ('"Doe, Jane" <jane@x.test>, plain', ["jane@x.test", "plain"]),
        ("Jane Doe <jane@x.test>", ["jane@x.test"]),
        ("<jane@x.test> other", ["jane@x.test", "other"]),
        ("<>", []),
        ("a (not b, c) d", ["a", "d"]),
        ("a (nested (deep)) , b", ["a", "b"]),
        (":include:/etc/list", [":include:/etc/list"]),
        ('":include:/etc/a list"', [":include:/etc/a list"]),
        ('"|/bin/prog -x \\"y\\" , z"', ['|/bin/prog -x "y" , z']),
        ("/var/mail/box", ["/var/mail/box"]),
        ("user@[127.0.0.1]", ["user@[127.0.0.1]"]),
        ("\\amy", ["amy"]),
        ("a <b", ["a<b"]),
    ],
)
def test_addresses_of_a_list(text: str, addresses: list[str]) -> None:
    assert split(text) == addresses


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    split(text)
    tokens = scan(text)
    assert all(0 <= one.begin < one.end <= len(text) for one in tokens)
    assert all(before.end <= after.begin for before, after in pairwise(tokens))


_LOCAL = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@given(_LOCAL, st.sampled_from(["example.org", "a-b.test", "[127.0.0.1]"]))
def test_quoting_and_taking_quotes_off_gives_the_same(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    assert unquote(quote(address)) == address
    assert split(quote(address)) == [address]


@given(st.text(max_size=60))
def test_quoting_takes_any_text(text: str) -> None:
    quote(text)
    unquote(text)


def test_a_plain_address_is_not_quoted() -> None:
    assert quote("a.b+c@x.test") == "a.b+c@x.test"
    assert quote("a..b@x.test") == '"a..b"@x.test'
    assert quote(".a@x.test") == '".a"@x.test'
    assert quote("o'neil") == "o'neil"
    assert quote("@x.test") == '""@x.test'
