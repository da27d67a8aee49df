"""`$name` in parameters that local(8) expands, by mac_expand's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix.macros import Expanded, expand

VALUES = {"user": "amy", "extension": None, "empty": "", "domain": "x.test"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$user@$domain", "amy@x.test"),
        ("${user}s$(domain)", "amysx.test"),
        ("a$$b $", "a$b $"),
        ("${user?yes}${extension?yes}${empty?yes}", "yes"),
        ("${user:no}${extension:no}${empty:no}", "nono"),
        ("${user?{yes}:{no}}${extension?{yes}:{no}}", "yesno"),
        ("${user?a$domain}", "ax.test"),
        ("${extension?{a}:{$user}}", "amy"),
        ("${user?${empty?x}${user}}", "amy"),
        ("$userx", ""),
        ("${user", "amy"),
        ("$-", "-"),
    ],
)
def test_names_are_replaced(text: str, expected: str) -> None:
    assert expand(text, VALUES).text == expected


def test_what_has_no_value_and_what_stands_in_the_text_is_told() -> None:
    assert expand("$extension", VALUES) == Expanded("", frozenset({"extension"}), True)
    assert expand("${extension?$extension}$user", VALUES) == Expanded("amy", frozenset({"user"}), False)
    assert not expand("$empty", VALUES).has_undefined
    assert expand("${{a} == {b} ? {c}}", VALUES).has_undefined


@given(st.text("${}()?:user ", max_size=80))
def test_any_text_is_read(text: str) -> None:
    expand(text, VALUES)


def test_texts_in_texts_have_an_end() -> None:
    assert expand("${user?" * 5000 + "x", VALUES).has_undefined
