"""Defer logs: the last word about each recipient counts, and any bytes at all are survived."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix.defer_log import parse_defer_log
from tests.tools.spool_generator import log_entry


def test_the_last_entry_of_a_defer_log_counts() -> None:
    log = log_entry("x@a.test", 100, "4.4.1", "first") + log_entry("y@a.test", 200, "4.7.1", "other")
    log += log_entry("x@a.test", 100, "4.2.2", "last = one")
    assert parse_defer_log(log.encode()) == (
        {100: ("last = one", "4.2.2"), 200: ("other", "4.7.1")},
        {},
    )


def test_old_and_strange_entries_of_a_defer_log() -> None:
    old = b"\n<x@a.test>: it was so = in 2003\n\n"
    without_offset = b"\nrecipient=y@a.test\nstatus=4.0.0\nreason=why\n\n"
    empty = b"\nrecipient=z@a.test\noffset=5\nstatus=\naction=delayed\nreason=\n\n"
    strange = b"\nrecipient=\xff\noffset=-1\nreason=\x1b[0m\n\nrubbish\n\n=\n\n"
    unfinished = b"\nrecipient=q@a.test\noffset=7\nreason=half a sent"
    by_offset, by_address = parse_defer_log(old + without_offset + empty + strange + unfinished)
    assert by_offset == {5: ("(description unavailable)", None)}
    assert by_address == {
        "x@a.test": ("it was so = in 2003", None),
        "y@a.test": ("why", "4.0.0"),
        "?": ("?[0m", None),
    }


@given(st.binary(max_size=500))
def test_any_defer_log(data: bytes) -> None:
    parse_defer_log(data)
    parse_defer_log(log_entry("x@a.test", 100, "4.4.1", "why").encode() + data)


ENTRY = st.builds(
    log_entry,
    st.from_regex(r"[a-z]{1,5}@[a-z]{1,5}\.test", fullmatch=True),
    st.integers(1, 10**6),
    st.sampled_from(["4.4.1", "4.7.1", ""]),
    st.text(st.characters(exclude_characters="\n\x00", exclude_categories=["Cs"]), max_size=30),
)


@given(st.lists(ENTRY, max_size=5))
def test_the_quick_and_the_patient_reading_of_a_defer_log_agree(entries: list[str]) -> None:
    data = "".join(entries).encode()
    # An entry of another form in front of it makes the whole log be read the patient way.
    patient, _ = parse_defer_log(b"\nrecipient=other@x.test\nreason=r\n\n" + data)
    assert parse_defer_log(data)[0] == patient
