"""Addresses look as Postfix's own programs print them, and have nothing that controls a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix.printed import external_ascii, external_utf8


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"amy@example.org", "amy@example.org"),
        (b"", ""),
        (b"amy", "amy"),
        (b"b b@example.org", '"b b"@example.org'),
        (b"a.b.@example.org", '"a.b."@example.org'),
        (b"a..b@example.org", '"a..b"@example.org'),
        (b".a@example.org", '".a"@example.org'),
        (b'say "hi"\\@example.org', r'"say \"hi\"\\"@example.org'),
        (b"a@b@example.org", '"a@b"@example.org'),
        (b"@example.org", '""@example.org'),
        (b"@relay.test:amy@example.org", "@relay.test:amy@example.org"),
        (b"\x1b[31m@example.org", '"?[31m"@example.org'),
        (b"a\x00b@example.org", "a"),
        ("grüße@example.org".encode(), "grüße@example.org"),
        ("я@пример.рф".encode(), "я@пример.рф"),
        (b"\xff@example.org", "?@example.org"),
        (b"a@[192.0.2.1]", "a@[192.0.2.1]"),
    ],
)
def test_addresses_are_printed_as_postqueue_does(raw: bytes, text: str) -> None:
    assert external_utf8(raw) == text


def test_without_smtputf8_only_ascii_is_printed() -> None:
    assert external_ascii("grüße@example.org".encode()) == "gr????e@example.org"


@given(st.binary(max_size=60))
def test_an_address_has_nothing_unprintable(raw: bytes) -> None:
    for shown in (external_utf8(raw), external_ascii(raw)):
        assert not any(ord(c) < 32 or ord(c) == 127 for c in shown)
    assert external_ascii(raw).isascii()
