"""The pure parts of reading and writing main.cf and master.cf."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import ServerError
from postmaster.postfix import postconf
from postmaster.postfix.postconf import SEPARATORS, Service, split_list


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a, b c,,d", ["a", "b", "c", "d"]),
        ("reject, static:{REJECT no, not you} permit", ["reject", "static:{REJECT no, not you}", "permit"]),
        ("inline:{ {a = b, c}, d=e }, hash:/f", ["inline:{ {a = b, c}, d=e }", "hash:/f"]),
        ("open { a, b", ["open", "{ a, b"]),
        ("a} b", ["a}", "b"]),
        ("{ a b }, c", ["{ a b }", "c"]),
    ],
)
def test_a_list_is_split_at_commas_and_spaces_outside_braces(text: str, items: list[str]) -> None:
    assert split_list(text) == items


@given(st.text())
def test_any_text_is_split(text: str) -> None:
    items = split_list(text)
    assert all(items)
    assert [c for c in text if c not in SEPARATORS] == [c for i in items for c in i if c not in SEPARATORS]
    if "{" not in text:
        assert not any(c in item for c in SEPARATORS for item in items)


def test_a_service_and_its_options() -> None:
    service = Service("587", "inet", ("n", "-", "n", "-", "-", "smtpd"), (("a", "b c"), ("d", "")))
    assert service.key == "587/inet"
    assert service.entry() == "587 inet n - n - - smtpd -o { a = b c } -o { d =  }"


def test_a_value_with_a_line_end_is_refused_before_postconf_runs(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="unprintable"):
        postconf.set_values(tmp_path, {"mynetworks": "127.0.0.1\nrelayhost = evil"})
