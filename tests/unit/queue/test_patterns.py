"""Globs and regular expressions: what they match, and that no text keeps them busy."""

from __future__ import annotations

import fnmatch
import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.queue.patterns import SEEN, matcher, mistake_in_expression

SMALL = st.text(alphabet="ab*?.", max_size=8)


@given(SMALL, st.text(alphabet="ab.", max_size=10))
def test_a_glob_matches_as_the_shell_does(pattern: str, text: str) -> None:
    assert bool(matcher("=", pattern, False)(text)) is fnmatch.fnmatchcase(text, pattern)
    assert bool(matcher("=", pattern.upper(), True)(text)) is fnmatch.fnmatchcase(text, pattern)


def test_every_short_glob_on_every_short_text() -> None:
    texts = ["".join(t) for size in range(4) for t in product("ab", repeat=size)]
    for size in range(5):
        for parts in product("a*?", repeat=size):
            pattern = "".join(parts)
            match = matcher("=", pattern, False)
            for text in texts:
                assert bool(match(text)) is fnmatch.fnmatchcase(text, pattern), (pattern, text)


@given(st.text(max_size=30))
def test_every_text_is_matched_by_itself(text: str) -> None:
    assert matcher("=", text, False)(text)
    assert matcher("=", text, True)(text)


def test_a_glob_takes_no_more_than_linear_time_for_each_star() -> None:
    match = matcher("=", "*a" * 100 + "b", False)
    started = time.process_time()
    assert not match("a" * 20_000)
    assert time.process_time() - started < 20  # backtracking would take longer than the universe has


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|a)*b",
        "(a|ab)*c",
        "(a?){50}a{50}",
        "((a+)b?)*c",
        "(?:a{1,9}){1,9}",
        "(.*a){20}b",
        r"(\w+\.)+x",
        "(?=(a+)+)b",
        "(x(y(z*))*)",
        "(?>(a+)+)",
        "(a)?(?(1)(b+)+|c)",
    ],
)
def test_repetition_inside_repetition_is_refused(pattern: str) -> None:
    assert "repetition" in str(mistake_in_expression(pattern))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(?i)greylist", "Greylisted"),
        (r"\d+\.\d+\.\d+\.\d+", "x 192.0.2.1 y"),
        (r"^host \S+ said: 4\d\d", "host mx[192.0.2.1] said: 450 no"),
        ("timed out|refused|reset", "Connection refused"),
        (r"(?:.*\.)?example\.org", "mail.example.org"),
        (r"(?:[a-z]+\.)*+org", "mail.example.org"),
        ("a{2,3}", "caat"),
        ("said: .*quota.*full", "said: over quota, full"),
        (r"(\w+) \1", "the the"),
        (r"(?:\d{1,3}\.){3}\d{1,3}", "192.0.2.1"),
        (r"<[^>]+>: .*rejected: [^(]+\(in", "<a@b>: Recipient address rejected: no (in"),
        ("(?:foo){3}", "foofoofoo"),
        ("(colou?r|grey)", "color"),
    ],
)
def test_what_people_write_is_taken(pattern: str, text: str) -> None:
    assert mistake_in_expression(pattern) is None
    assert matcher("~", pattern, True)(text)


@pytest.mark.parametrize("pattern", ["a.*b.*c.*d.*e", ".*" * 4 + "x", r"\d*" * 5 + "x", "a?" * 30 + "b"])
def test_too_many_repetitions_are_refused(pattern: str) -> None:
    assert "more than 3 repetitions" in str(mistake_in_expression(pattern))


@pytest.mark.parametrize("pattern", ["[", "(", "a**", "(?P<n>", "\\", "[[a]", "a{99999999999999}", "(" * 500])
def test_what_is_no_expression(pattern: str) -> None:
    assert str(mistake_in_expression(pattern)).startswith("not a regular expression")


@pytest.mark.parametrize("pattern", [".*a.*b", "a.*a.*b", "x*y", ".*.*b", r"\w*\W*!"])
def test_hostile_texts_take_bounded_time(pattern: str) -> None:
    assert mistake_in_expression(pattern) is None
    match = matcher("~", pattern, True)
    started = time.process_time()
    for hostile in ("a" * 100_000, "ab" * 50_000, "x" * 100_000, "a b" * 30_000):
        match(hostile)
    assert time.process_time() - started < 60


def test_an_expression_sees_the_beginning_of_a_text() -> None:
    assert matcher("~", "needle", True)("x" * (SEEN[0] - 6) + "needle")
    assert not matcher("~", "needle", True)("x" * SEEN[0] + "needle")


@given(st.text(alphabet="ab().*+?|[]{}^$\\d19,", max_size=12), st.text(alphabet="ab19", max_size=30))
def test_any_expression_is_taken_or_refused(pattern: str, text: str) -> None:
    if mistake_in_expression(pattern) is None:
        assert bool(matcher("~", pattern, True)(text)) is (re.search(pattern, text) is not None)
