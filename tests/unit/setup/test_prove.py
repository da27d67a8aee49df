"""Judging from mynetworks whether an address is an outsider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.setup.prove import is_inside


@pytest.mark.parametrize(
    ("networks", "inside"),
    [
        ("", False),
        ("127.0.0.1/32 [::1]/128", False),
        ("127.0.0.0/8", True),
        ("[::ffff:127.0.0.0]/104, 10.0.0.0/8 127.0.0.2", True),
        ("hash:/etc/postfix/networks", None),
        ("/etc/postfix/networks", None),
        ("!127.0.0.2", None),
        ("127.0.0.2, hash:/x", True),
    ],
)
def test_inside_outside_or_unknown(networks: str, inside: bool | None) -> None:
    assert is_inside("127.0.0.2", networks) is inside


@given(st.text(max_size=50))
def test_any_text_is_judged(networks: str) -> None:
    assert is_inside("127.0.0.2", networks) in (True, False, None)
