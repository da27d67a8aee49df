"""alias(5) files: any bytes are read, printed as they were, and changed in one place alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import PostmasterError, UsageError
from postmaster.routing import alias_file
from postmaster.routing.alias_file import assign, entries, find, parse, remove, to_bytes

FILE = b"""\
# See man 5 aliases for format
postmaster:    root

root: amy,
# amy is on holiday
   bob@example.org
"list one": :include:/etc/mail/list
ticket: "|/usr/bin/rt --queue 'a b'"
archive: /var/mail/archive
owner-list: amy
Root: second
not an entry
a@b: c
two, names: c
empty:
   \t
# the end
"""

LINES = st.lists(
    st.sampled_from(
        [
            b"root: amy",
            b"  bob",
            b"\tx, y",
            b"# note",
            b"",
            b"   ",
            b"junk",
            b"a: b",
            b'"q q": c',
            b"x:\xff\xfe",
        ]
    )
    | st.binary(max_size=30),
    max_size=12,
).map(b"\n".join)
NAMES = st.text(st.sampled_from("abcXYZ019 .-_+é'\""), min_size=1, max_size=10).filter(
    lambda name: name == name.strip()
)
TARGETS = st.lists(
    st.sampled_from(
        [
            "amy",
            "bob@example.org",
            "|/bin/cat >> x",
            "/var/mail/a b",
            ":include:/etc/list",
            ":include:/etc/a list",
            '"odd name"@example.org',
            "~/Mail",
            '|sh -c "a \\\\ b"',
        ]
    ),
    min_size=1,
    max_size=4,
)


def test_entries_have_name_and_targets_as_postalias_sees_them() -> None:
    assert [(part.line, part.name, part.targets) for part in entries(parse(FILE)) if part.fault is None] == [
        (2, "postmaster", ("root",)),
        (4, "root", ("amy", "bob@example.org")),
        (7, "list one", (":include:/etc/mail/list",)),
        (8, "ticket", ("|/usr/bin/rt --queue 'a b'",)),
        (9, "archive", ("/var/mail/archive",)),
        (10, "owner-list", ("amy",)),
        (11, "root", ("second",)),
    ]


def test_what_postalias_skips_has_a_fault() -> None:
    faults = {part.line: part.fault for part in entries(parse(FILE)) if part.fault is not None}
    assert faults == {
        12: "it is not name: target",
        13: "the name must be local, without @ and %",
        14: "it has more than one name",
        15: "it is not name: target",
    }


@given(LINES | st.binary(max_size=300))
def test_printing_gives_back_any_bytes(data: bytes) -> None:
    assert to_bytes(parse(data)) == data


@given(LINES, NAMES, TARGETS)
def test_what_was_set_is_found_and_nothing_else_is_touched(
    data: bytes, name: str, targets: list[str]
) -> None:
    before = parse(data)
    after = assign(before, name, targets)
    assert [part.targets for part in find(after, name)] == [
        tuple(alias_file.read_target(target) for target in targets)
    ]
    others = [part for part in entries(before) if part.name != name.lower() or part.fault is not None]
    kept = [part for part in entries(after) if part.name != name.lower() or part.fault is not None]
    assert [(p.name, p.targets) for p in kept] == [(p.name, p.targets) for p in others]
    assert comments(to_bytes(after)) == comments(data)


@given(LINES, NAMES, TARGETS)
def test_setting_again_changes_nothing(data: bytes, name: str, targets: list[str]) -> None:
    once = assign(parse(data), name, targets)
    assert to_bytes(assign(once, name, targets)) == to_bytes(once)


@given(LINES, NAMES)
def test_what_was_removed_is_gone_and_nothing_else(data: bytes, name: str) -> None:
    before = parse(data)
    after = remove(before, name)
    assert find(after, name) == []
    if not find(before, name):
        assert to_bytes(after) == data
    assert comments(to_bytes(after)) == comments(data)


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=3))
def test_a_line_that_cannot_be_written_is_refused_in_plain_words(name: str, targets: list[str]) -> None:
    try:
        text = alias_file.entry_text(name, targets)
    except PostmasterError:
        return
    (part,) = parse(text)
    assert part.fault is None
    assert part.name == name.lower()
    assert text.count(b"\n") == 1


@pytest.mark.parametrize("target", ["", "a, b", "a b", ":include:list", "x\ny", "|", "<>"])
def test_what_is_not_one_target_is_refused(target: str) -> None:
    with pytest.raises(UsageError):
        alias_file.entry_text("root", [target])


def comments(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip(b" \t\r\v\f").startswith(b"#")]
