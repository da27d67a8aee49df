"""The address parser: round trips, refusals, and never an unexpected exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.address import (
    ADDRESS_OCTETS,
    AUTH_USERNAME_CHARS,
    LOCAL_PART_OCTETS,
    OWN_LOCAL_CHARACTERS,
    Address,
    parse_address,
    parse_alias_address,
    parse_domain,
    parse_local_part,
    parse_own_address,
)
from postmaster.errors import AddressError

#: What may come from outside: any text, and text that is nearly an address.
ANY = st.text(max_size=300)
NEARLY = st.text(alphabet="abcÄß世@.+-_\"\\'%*!/ \t\n\0[]<>:;,|&=~{}$#0١ｅ。\u202e", max_size=80)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda t: t[2:4] != "--")
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "test"]))
ATOM = st.from_regex(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,10}", fullmatch=True)
LOCAL = st.lists(ATOM, min_size=1, max_size=3).map(".".join)
UNICODE_LABEL = st.sampled_from(["bücher", "straße", "παράδειγμα", "例え", "мир", "faß", "Ünïcode"])


@given(ANY | NEARLY)
def test_any_text_is_an_address_or_one_clear_refusal(text: str) -> None:
    for parse in (parse_address, parse_own_address, parse_alias_address, parse_domain, parse_local_part):
        try:
            parse(text)
        except AddressError as error:
            said = f"{error.message} ({error.hint})"
        else:
            said = ""
        assert said.isprintable()
        assert len(said) < 400


@given(ANY | NEARLY)
def test_what_is_taken_parses_again_to_the_same(text: str) -> None:
    try:
        address = parse_alias_address(text)
    except AddressError:
        return
    assert parse_alias_address(address.ascii) == address
    assert parse_alias_address(address.unicode) == address
    assert address.ascii.isascii()
    assert address.ascii == address.ascii.lower()
    assert len(address.ascii) <= ADDRESS_OCTETS


@given(LOCAL, DOMAIN)
def test_every_plain_address_is_taken_in_lower_case(local: str, domain: str) -> None:
    address = parse_address(f"{local}@{domain.upper()}")
    assert address.ascii == f"{local.lower()}@{domain}"


@given(UNICODE_LABEL, DOMAIN)
def test_both_labels_are_accepted_and_each_shows_the_other(label: str, domain: str) -> None:
    parsed = parse_domain(f"{label}.{domain}")
    assert parsed.ascii.startswith("xn--")
    assert parse_domain(parsed.ascii) == parsed
    assert parse_domain(parsed.ascii.upper()) == parsed
    assert parsed.unicode == f"{label.lower()}.{domain}"


@given(st.text(st.sampled_from(OWN_LOCAL_CHARACTERS), min_size=1, max_size=30), DOMAIN)
def test_one_constant_decides_what_a_name_of_ours_holds(local: str, domain: str) -> None:
    try:
        address = parse_own_address(f"{local}@{domain}")
    except AddressError:
        assert local.startswith(("-", ".")) or local.endswith(".") or ".." in local
        return
    assert set(address.ascii) <= set(AUTH_USERNAME_CHARS)


@given(st.characters(codec="utf-8").filter(lambda c: c.lower() not in OWN_LOCAL_CHARACTERS), DOMAIN)
def test_what_dovecot_would_refuse_is_refused(character: str, domain: str) -> None:
    with pytest.raises(AddressError):
        parse_own_address(f"a{character}b@{domain}")


@pytest.mark.parametrize(
    ("text", "local", "extension"),
    [
        ("amy+news", "amy", "+news"),
        ("amy+a+b", "amy", "+a+b"),
        ("+amy", "+amy", ""),
        ("amy+", "amy", "+"),
        ("amy", "amy", ""),
        ('"a b+c"', '"a b+c"', ""),
    ],
)
def test_an_extension_is_split_as_postfix_does(text: str, local: str, extension: str) -> None:
    parsed = parse_local_part(text)
    assert (parsed.base, parsed.extension) == (local, extension)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"amy"', "amy"),
        ('"a\\my"', "amy"),
        ('"a b"', '"a b"'),
        ('"a\\"b"', '"a\\"b"'),
        ('"a.b"', "a.b"),
        ('""', '""'),
    ],
)
def test_quoting_is_as_little_as_can_be(text: str, same: str) -> None:
    assert parse_local_part(text).text == same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("amy", "no @"),
        ("@example.org", "nothing before the @"),
        ("amy@", "domain is empty"),
        ("amy@localhost", "only one label"),
        ("amy@192.0.2.1", "number or an IP address"),
        ("amy@[192.0.2.1]", "address literals"),
        ("amy@exa mple.org", "not a domain"),
        ("amy@-example.org", "not a domain"),
        ("amy@example..org", "empty label"),
        ("amy@example.org.", "empty label"),
        (f"amy@{'a' * 64}.org", "label is longer than 63"),
        (f"amy@{'a.' * 130}org", "longer than 253"),
        (f"{'a' * (LOCAL_PART_OCTETS + 1)}@example.org", "local part is longer than 64"),
        (f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.example.org", "longer than 254"),
        ("a..b@example.org", "not a local part"),
        ("amy @example.org", "spaces around"),
        ("a my@example.org", "not a local part"),
        ("ämy@example.org", "outside ASCII"),
        ("amy\n@example.org", "unprintable"),
        (" amy@example.org", "spaces around"),
        ("amy@exam\u202eple.org", "unprintable"),
        ("x" * 2000, "longer than any"),
        ("amy@xn--a.org", "IDNA 2008"),
        ("amy@☃.org", "IDNA 2008"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("amy+tag@example.org", "extension separator"),
        ("a%b@example.org", "cannot have %"),
        ("a/b@example.org", "cannot have /"),
        ('"a b"@example.org', "cannot have"),
        ("-amy@example.org", "starts with a hyphen"),
    ],
)
def test_what_is_valid_elsewhere_may_not_be_made_here(text: str, why: str) -> None:
    assert isinstance(parse_address(text), Address)
    with pytest.raises(AddressError, match=why):
        parse_own_address(text)


def test_a_catch_all_is_an_address_of_an_alias_alone() -> None:
    assert parse_alias_address("@Example.ORG").ascii == "@example.org"
    assert parse_alias_address("@example.org").is_catch_all
    with pytest.raises(AddressError):
        parse_own_address("@example.org")
    with pytest.raises(AddressError):
        parse_alias_address("@@example.org")
