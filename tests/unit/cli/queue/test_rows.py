"""Messages as rows: the JSON contract, columns, widths, order."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.cli.queue.rows import (
    COLUMNS,
    DEFAULT_COLUMNS,
    GAP,
    column,
    fitted,
    json_line,
    needs,
    picked_row,
    row,
    sort_key,
    table_row,
)
from postmaster.errors import UsageError
from postmaster.queue.message import ALL, Message, Recipient
from postmaster.queue.packed import pack, unpack
from postmaster.render.escape import printable
from postmaster.render.output import duration, plain

TEXT = st.text(max_size=12)
MAYBE = st.none() | TEXT
TIMES = st.integers(0, (1 << 36) - 1)
RECIPIENTS = st.builds(Recipient, TEXT, MAYBE, MAYBE, MAYBE, st.none() | st.integers(0, 1 << 40))
MESSAGES = st.builds(
    Message,
    instance=TEXT,
    queue_name=st.sampled_from(["deferred", "hold", "corrupt"]),
    queue_id=st.sampled_from(["AFEC5228A0C", "4B7Z2K5NHbz8gQ"]),
    arrival_time=TIMES,
    message_size=st.integers(0, 1 << 50),
    sender=TEXT,
    recipients=st.lists(RECIPIENTS, max_size=3),
    forced_expire=st.none() | st.booleans(),
    next_retry=st.none() | TIMES,
    expires=st.none() | TIMES,
    recipients_done=st.none() | st.integers(0, 10**6),
    client_name=MAYBE,
    client_address=MAYBE,
    helo_name=MAYBE,
    sasl_username=MAYBE,
    damage=MAYBE,
    path=MAYBE,
)


def test_the_keys_are_a_contract() -> None:
    message = Message("-", "deferred", "AFEC5228A0C", 1780000000, 5, "", [Recipient("x@a.test")])
    assert list(row(message)) == [
        *("instance", "queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender"),
        *("recipients", "next_retry", "expires", "recipients_done", "client_name", "client_address"),
        *("helo_name", "sasl_username", "damage"),
    ]
    assert list(row(message)["recipients"][0]) == ["address", "delay_reason", "dsn", "original"]
    assert json.loads(json_line(message))["arrival_time"] == "2026-05-28T20:26:40Z"
    assert {*COLUMNS} - {"age", "reason", "dsn"} == {*row(message)}


@given(MESSAGES)
def test_the_quick_line_says_what_the_row_says(message: Message) -> None:
    line = json_line(message)
    assert printable(line) == line  # nothing that a terminal would act on
    assert "\n" not in line
    assert json.loads(line) == plain(row(message))
    assert list(json.loads(line)) == list(row(message))


@given(MESSAGES)
def test_packing_loses_nothing(message: Message) -> None:
    assert unpack(pack(message)) == message


@given(MESSAGES, st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
def test_every_column_of_every_message(message: Message, keys: list[str]) -> None:
    assert list(picked_row(message, keys)) == keys
    cells = table_row(message, keys)
    assert all(cell and printable(cell) == cell for cell in cells.values())
    assert needs(keys) <= ALL


@given(st.lists(MESSAGES, min_size=1, max_size=5), st.integers(40, 200))
def test_a_line_fits_the_terminal(messages: list[Message], width: int) -> None:
    keys = list(DEFAULT_COLUMNS)
    rows = [table_row(one, keys) for one in messages]
    shown = list(fitted(iter(rows), keys, width))
    widths = [max(len(COLUMNS[key].heading), *(len(one[key]) for one in shown)) for key in keys]
    least = sum(
        max(len(COLUMNS[key].heading), *(min(12, len(one[key])) for one in rows))
        if key in ("sender", "recipients", "reason")
        else max(len(COLUMNS[key].heading), *(len(one[key]) for one in rows))
        for key in keys
    )
    gaps = GAP * (len(keys) - 1)
    assert sum(widths) + gaps <= max(width, least + gaps)


def test_the_reason_is_shortened_last() -> None:
    keys = ["sender", "reason"]
    rows = [{"sender": "s" * 50, "reason": "r" * 50}]
    (wide,) = fitted(iter(rows), keys, 102)
    assert wide == rows[0]
    (middle,) = fitted(iter(rows), keys, 80)
    assert (len(middle["sender"]), middle["reason"]) == (28, "r" * 50)
    (narrow,) = fitted(iter(rows), keys, 40)
    assert (len(narrow["sender"]), len(narrow["reason"])) == (12, 26)
    assert narrow["reason"].endswith("…")


def test_columns_have_the_names_of_the_filter_too() -> None:
    assert column("id", "--columns") == "queue_id"
    assert column(" Retry ", "--sort") == "next_retry"
    assert column("recipients", "--sort") == "recipients"
    with pytest.raises(UsageError, match="there is no column nonsense"):
        column("nonsense", "--columns")


@given(st.lists(MESSAGES, max_size=6), st.sampled_from(sorted(COLUMNS)), st.booleans())
def test_any_messages_can_be_sorted_by_any_column(messages: list[Message], key: str, reverse: bool) -> None:
    order = sort_key(key, reverse=reverse)
    ordered = sorted(messages, key=order, reverse=reverse)
    values = [COLUMNS[key].value(one) for one in ordered]
    unknown = [value is None for value in values]
    assert unknown == sorted(unknown), "unknown values come last"


def test_the_directions_of_an_order() -> None:
    def message(age: int, size: int, count: int) -> Message:
        return Message("-", "hold", "X", age, size, "", [Recipient("x")] * count)

    some = [message(3, 10, 2), message(1, 30, 1), message(2, 20, 3)]
    assert [one.arrival_time for one in sorted(some, key=sort_key("age"))] == [1, 2, 3]
    assert [one.message_size for one in sorted(some, key=sort_key("message_size"))] == [30, 20, 10]
    assert [len(one.recipients) for one in sorted(some, key=sort_key("recipients"))] == [3, 2, 1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (7500, "2h 5m"),
        (86400, "1d"),
        (90061, "1d 1h"),
        (86460, "1d 1m"),
        (-120, "-2m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_dates_far_away() -> None:
    message = Message("-", "hold", "X", (1 << 36) - 1, 0, "", [])
    assert json.loads(json_line(message))["arrival_time"] == (
        datetime.fromtimestamp((1 << 36) - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
