"""Where a Sieve script redirects to, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.dovecot.sieve import redirects


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"", []),
        (b'redirect "a@b.test";', ["a@b.test"]),
        (b'REDIRECT :copy "a@b.test"; keep;', ["a@b.test"]),
        (b'# redirect "a@b.test";\nkeep;', []),
        (b'/* redirect "a@b.test"; */ redirect "c@d.test";', ["c@d.test"]),
        (b'fileinto "redirect"; if true { redirect\n  "a@b.test"; }', ["a@b.test"]),
        (b'redirect :notify "FAILURE" :ret "FULL" "a@b.test";', ["a@b.test"]),
        (b'redirect :list "a@b.test"; redirect "a@b.test";', ["a@b.test"]),
        (b'redirect "a\\"q@b.test";', ['a"q@b.test']),
        (b"redirect text: # note\r\na@b.test\r\n.\r\n;", ["a@b.test"]),
        (b'redirect "${who}@b.test";', ["${who}@b.test"]),
        (b'redirect "never ends', ["never ends"]),
        (b'vacation "redirect me"; keep;', []),
        (b'redirect "a@b.test" \xff\xfe;', ["a@b.test"]),
    ],
)
def test_redirects_are_found_and_nothing_else(script: bytes, expected: list[str]) -> None:
    assert redirects(script) == expected


@given(
    st.binary(max_size=400)
    | st.text(st.sampled_from('redirect:"\\;{}[]#/*. \nab@text'), max_size=200).map(str.encode)
)
def test_any_bytes_are_a_script(script: bytes) -> None:
    assert all(isinstance(one, str) for one in redirects(script))


@given(
    st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}\.test", fullmatch=True),
    st.sampled_from(["keep;", "# x\n", '/* " */']),
)
def test_what_stands_around_does_not_hide_one(address: str, around: str) -> None:
    assert redirects(f'{around} redirect "{address}"; {around}'.encode()) == [address]
