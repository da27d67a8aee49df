"""What postsuper says is what it did."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import NotFoundError, ServerError
from postmaster.postfix import postsuper
from postmaster.postfix.postsuper import Answer, parse


def test_ids_totals_and_complaints_are_read() -> None:
    said = (
        "postsuper: 8E360228131: placed on hold\npostsuper: 4B7Z2K5NHbz8gQ: placed on hold\n"
        "postsuper: 8E360228132: released from hold\npostsuper: Placed on hold: 2 messages\n"
    )
    assert parse(said, "placed on hold", "Placed on hold") == Answer(
        frozenset({"8E360228131", "4B7Z2K5NHbz8gQ"}), 2
    )
    assert parse("postsuper: Deleted: 1 message\n", "removed", "Deleted") == Answer(frozenset(), 1)
    assert parse("postsuper: Deleted: 0 messages\n", "removed", "Deleted") == Answer(frozenset(), 0)
    failed = parse("postsuper: 8E1: removed\npostsuper: fatal: open logfile: denied\n", "removed", "Deleted")
    assert failed == Answer(frozenset({"8E1"}), 0, "fatal: open logfile: denied")


@given(st.text())
def test_any_output_is_read(text: str) -> None:
    parse(text, "removed", "Deleted")


@pytest.mark.parametrize("bad", ["ALL\n", "-d", "../x", "", "A B", "x" * 65, "8E36\n0228131"])
def test_only_queue_ids_are_passed_on(bad: str) -> None:
    with pytest.raises(NotFoundError):
        postsuper.delete(Path("/nonexistent"), [bad])


def test_the_word_all_is_no_queue_id() -> None:
    with pytest.raises(NotFoundError):
        postsuper.delete(Path("/nonexistent"), ["ALL"])


def test_it_knows_no_corrupt() -> None:
    with pytest.raises(ServerError):
        postsuper.delete(Path("/nonexistent"), ["8E360228131"], ["corrupt"])
