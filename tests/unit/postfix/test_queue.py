"""Lines of `postqueue -j`: checked, bounded, never fatal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.errors import NotFoundError
from postmaster.postfix import queue
from postmaster.postfix.queue import parse_entry
from postmaster.queue.listed import from_entry

GOOD: dict[str, Any] = {
    "queue_name": "deferred",
    "queue_id": "4B7Z2K5NHbz8gQ",
    "arrival_time": 1780000000,
    "message_size": 311,
    "forced_expire": False,
    "sender": "amy@example.org",
    "recipients": [
        {"address": "x@example.net", "delay_reason": "connect refused"},
        {"address": "y@example.net"},
    ],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_a_good_line() -> None:
    entry = parse_entry(json.dumps({**GOOD, "new_in_some_version": [1]}).encode())
    assert entry is not None
    message = from_entry(entry)
    assert message is not None
    assert message.sender == "amy@example.org"
    assert [r.delay_reason for r in message.recipients] == ["connect refused", None]
    assert message.arrival_time == 1780000000


def test_a_bounce_has_an_empty_sender_and_an_old_postfix_says_nothing_of_expiry() -> None:
    entry = {**GOOD, "sender": "MAILER-DAEMON"}
    del entry["forced_expire"]
    message = from_entry(entry)
    assert message is not None
    assert message.sender == ""
    assert message.forced_expire is None


@given(st.binary(max_size=300))
def test_any_bytes(line: bytes) -> None:
    parse_entry(line)


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_any_value_in_any_place(key: str, value: Any) -> None:
    entry = parse_entry(json.dumps({**GOOD, key: value}).encode())
    if entry is not None:
        from_entry(entry)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"queue_name": "deferred"}',
        json.dumps({**GOOD, "arrival_time": "now"}).encode(),
        json.dumps({**GOOD, "arrival_time": True}).encode(),
        json.dumps({**GOOD, "recipients": ["x"]}).encode(),
        json.dumps({**GOOD, "recipients": {}}).encode(),
    ],
)
def test_what_is_no_entry(line: bytes) -> None:
    assert parse_entry(line) is None


def test_an_impossible_time_is_no_message() -> None:
    assert from_entry({**GOOD, "arrival_time": 10**20}) is None


@pytest.mark.parametrize("bad", ["", "-f", "../active/X", "A B", "Ä", "A" * 65, "ALL\n"])
def test_only_a_queue_id_is_handed_to_postfix(bad: str, tmp_path: Any) -> None:
    def read() -> None:
        with queue.content(tmp_path, bad):
            pass

    for act in (read, lambda: queue.flush_messages(tmp_path, [bad])):
        with pytest.raises(NotFoundError, match="is no queue ID"):
            act()


def test_recipients_that_showq_lists_twice_come_once() -> None:
    """Its filter of duplicates is full after 1,000: the rest comes again, without a reason."""
    recipients = [
        {"address": "a@x.test", "delay_reason": "why"},
        {"address": "a@x.test", "delay_reason": "why"},  # two aliases for one address are two recipients
        {"address": "b@x.test"},
        {"address": "b@x.test"},
        {"address": "a@x.test"},
        {"address": "c@x.test", "delay_reason": 5, "orig_address": "alias@x.test"},
    ]
    message = from_entry({**GOOD, "recipients": recipients}, "postfix-out", "NOBODY")
    assert message is not None
    assert message.instance == "postfix-out"
    assert [(r.address, r.delay_reason, r.original) for r in message.recipients] == [
        ("a@x.test", "why", None),
        ("a@x.test", "why", None),
        ("b@x.test", None, None),
        ("b@x.test", None, None),
        ("c@x.test", None, "alias@x.test"),
    ]


def test_the_null_sender_is_printed_as_the_configuration_says() -> None:
    message = from_entry({**GOOD, "sender": "NOBODY"}, null_sender="NOBODY")
    assert message is not None
    assert message.sender == ""
