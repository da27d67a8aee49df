"""Where forward_path looks, by Postfix's rules for names in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.routing.forward_file import Account, find_user, paths

AMY = Account("amy", 1000, 1000, Path("/home/amy"), "/bin/sh")
DEFAULT = "$home/.forward${recipient_delimiter}${extension}, $home/.forward"


@pytest.mark.parametrize(
    ("forward_path", "extension", "expected"),
    [
        (DEFAULT, "", [("/home/amy/.forward", False)]),
        (DEFAULT, "+x", [("/home/amy/.forward+x", True), ("/home/amy/.forward", False)]),
        ("/f/$(user)", "+x", [("/f/amy", False)]),
        ("/f/${user}${extension?.ext}", "+x", [("/f/amy.ext", False)]),  # asked for, and not in the name
        ("/f/${user}${extension?.$extension}", "+x", [("/f/amy.x", True)]),
        ("/f/$domain/$local", "+x", [("/f/x.test/amy+x", False)]),
        ("/f/${user}${extension?.ext}", "", [("/f/amy", False)]),
        ("/f/${extension:none}", "", [("/f/none", False)]),
        ("relative/$user", "", []),
        ("/f/$unknown", "", []),
        ("", "", []),
    ],
)
def test_paths(forward_path: str, extension: str, expected: list[tuple[str, bool]]) -> None:
    assert [(str(p), has) for p, has in paths(forward_path, AMY, extension, "x.test")] == expected


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_setting_is_read(forward_path: str, extension: str) -> None:
    assert all(path.is_absolute() for path, _ in paths(forward_path, AMY, extension, "x.test"))


@given(st.text(max_size=30))
def test_any_name_is_a_user_or_none(name: str) -> None:
    found = find_user(name)
    assert found is None or found.name == name
