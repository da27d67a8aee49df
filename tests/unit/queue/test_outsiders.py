"""Whether a client is ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.queue.outsiders import is_inside, networks

KNOWN = "!192.0.2.66 127.0.0.0/8, 192.0.2.0/24 [::1]/128 hash:/etc/postfix/nets /etc/postfix/file"


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("127.0.0.1", True),
        ("192.0.2.7", True),
        ("192.0.2.66", False),
        ("::1", True),
        ("IPv6:::1", True),
        ("203.0.113.1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_networks(client: str, expected: bool) -> None:
    assert is_inside(client, networks(KNOWN)) is expected


@given(st.text(), st.text())
def test_anything_is_inside_or_not(text: str, client: str) -> None:
    is_inside(client, networks(text))
