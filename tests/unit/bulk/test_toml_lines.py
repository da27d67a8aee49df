"""Each entry of a TOML text has the line where it stands, whatever stands around it."""

from __future__ import annotations

import io
import tomllib
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmaster.bulk import reading, writing
from postmaster.bulk.toml_lines import PARTS_LIMIT, lines_of, long_key
from postmaster.bulk.writing import SECTIONS, As
from postmaster.directory.entries import Entry
from postmaster.errors import UsageError
from tests.tools.entries import directories

ODD = '''# [[users]]
complete = true
note = """
[[users]]
a = 1 \\"""
"""
quote = \'\'\'
[[users]]\'\'\'\'\'
"domains" = [ {domain = "a.org"},  # {
  # {domain = "x.org"}
  { domain = "b.org", l = ["{", '['] }, { domain="c.org"} ]
[[users]]  # one
address = "x"
  [[ 'users' ]]
address = [
 "[[users]]",
 [[1]] ]
[users.sub]
aliases.b = 1
[[aliases]]'''


def test_strings_comments_and_arrays_are_not_taken_for_tables() -> None:
    tomllib.loads(ODD)
    found = lines_of(ODD)
    assert found.entries == {"domains": [9, 11, 11], "users": [12, 14], "aliases": [20]}
    assert found.sections["note"] == 3
    assert [found.entry("domains", at, 3) for at in range(3)] == [9, 11, 11]
    assert found.entry("domains", 0, 4) == 9
    assert found.entry("nothing", 0, 1) is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(entries=directories(), between=st.lists(st.sampled_from(["", "# [[users]]", "\t"]), min_size=1))
def test_what_was_written_is_found_where_it_stands(entries: list[Entry], between: list[str]) -> None:
    output = io.StringIO()
    writing.write(output, As.toml, iter(entries), hashes=True)
    lines = [one for line in output.getvalue().split("\n") for one in (*between, line)]
    places = [one.place for one in reading.parse("\n".join(lines), As.toml).listed]
    heads = [lines[int(place.removeprefix("line ")) - 1] for place in places]
    assert heads == [f"[[{SECTIONS[one.kind]}]]" for one in entries]
    assert len(set(places)) == len(places)


@given(text=st.text("[]{}=.,\"'#\\\n\r ab1", max_size=40))
def test_any_text_is_passed_to_its_end(text: str) -> None:
    found = lines_of(text)
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in found.sections.values())


PART = st.sampled_from(["a", "-", '"b.c"', "'d\"'", '"\\""', '""', "9"])
DOT = st.sampled_from([".", " . ", "\t."])
BEFORE = st.sampled_from(
    ["", "x = 1 # it's\n", 'x = """\n\\""" a." \n"""\n', "x = '''\n\\''''\n", "[a.b]\n", 'x = ["a", 1.5]\n']
)


@given(before=BEFORE, parts=st.lists(PART, min_size=PARTS_LIMIT + 1, max_size=PARTS_LIMIT + 2), dot=DOT)
def test_a_key_of_too_many_parts_is_found_wherever_it_stands(before: str, parts: list[str], dot: str) -> None:
    line = before.count("\n") + 1
    key = dot.join(parts)
    for text in (f"{key} = 1", f"[{key}]", f"[[ {key} ]]", f"x = {{ y = 1, {key} = 2 }}"):
        assert long_key(before + text) == line
    fewer = dot.join(parts[:PARTS_LIMIT])
    for text in (f"{fewer} = 1", f"[{fewer}]", f"x = '''{key}'''", f"# {key}", "x = [" + "1.5, " * 300 + "]"):
        assert long_key(before + text) is None


@given(text=st.text("[]{}=.,\"'#\\\n a", max_size=200))
def test_what_the_library_reads_without_such_a_key_is_let_through(text: str) -> None:
    with suppress(tomllib.TOMLDecodeError):
        tomllib.loads(text)
        assert long_key(text + "\n" + "#." * PARTS_LIMIT) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users = []\nusers = []", "line 2: no TOML: Cannot overwrite a value"),
        ("a = 1\nb == 2\n", "line 2: no TOML: Invalid value"),
        ("\nusers = 1", "line 2: users is no list"),
        ("\n[users]\n", "line 2: users is no list"),
        ("\nuser = []", "line 2: there is no section 'user'"),
        ("\n\ncomplete = 3", "line 3: complete is neither true nor false"),
        ("x = " + "9" * 5000, "no TOML that can be read: Exceeds the limit"),
        ("x = " + "[" * 100_000, "no TOML that can be read: too deep"),
        ("\n" + "a." * 300_000 + "a = 1", "line 2: no key here has more than 100 parts"),
        ("[" + ".".join(["'a'"] * 300_000) + "]", "line 1: no key here has more than 100 parts"),
    ],
    ids=["twice", "syntax", "number", "table", "unknown", "complete", "digits", "deep", "parts", "heads"],
)
def test_a_refusal_names_the_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        reading.parse(text, As.toml)
    assert refused.value.message.startswith(message)
