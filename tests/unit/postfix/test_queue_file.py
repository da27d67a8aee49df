"""Queue files: what Postfix writes is read, and any bytes at all are survived."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postmaster.postfix import queue_file as reader
from tests.tools.spool_generator import queue_file, record, size_record

CONTENT = record(b"N", b"Subject: hi") + record(b"N") + record(b"L", b"a long ") + record(b"N", b"line")


@contextmanager
def opened(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("queue-file")
    os.write(descriptor, data)
    yield descriptor
    os.close(descriptor)


def read(data: bytes, **how: Any) -> reader.Envelope:
    with opened(data) as descriptor:
        envelope = reader.read_envelope(descriptor, **how)
    assert len(envelope.recipients) == len(envelope.todo) + len(envelope.done)
    assert envelope.head is not None or len(envelope.attributes) <= len(envelope.raw)
    return envelope


def content(data: bytes) -> tuple[bytes, str | None]:
    with opened(data) as descriptor:
        envelope = reader.read_envelope(descriptor)
        return b"".join(reader.read_content(descriptor, envelope)), envelope.damage


def pointer(target: int) -> bytes:
    return record(b"p", f"{target:15d}".encode())


def test_an_ordinary_message() -> None:
    data, offsets = queue_file(
        b"amy@example.org",
        [(b"R", b"x@example.net"), (b"D", b"y@example.net"), (b"/", b"gone@example.net")],
        CONTENT,
        arrival=1_780_000_000,
        attributes={"client_name": "mx.example.org", "sasl_username": "amy=1"},
        extracted=[(b"R", b"behind@example.net")],
    )
    envelope = read(data)
    assert envelope.damage is None
    assert envelope.sender == "amy@example.org"
    assert envelope.arrival_time == 1_780_000_000
    assert envelope.message_size == len(CONTENT)
    assert [one[1] for one in envelope.todo] == ["x@example.net", "behind@example.net"]
    assert envelope.done == [(offsets[1], "y@example.net", "y@example.net")]
    assert [(one.address, one.done) for one in envelope.recipients] == [
        ("x@example.net", False),
        ("y@example.net", True),
        ("behind@example.net", False),
    ]
    assert envelope.attributes["client_name"] == "mx.example.org"
    assert envelope.attributes["sasl_username"] == "amy=1"
    assert data[offsets[0]] == ord("R")
    assert content(data) == (b"Subject: hi\n\na long line\n", None)


def test_less_is_read_where_less_is_asked_for() -> None:
    data, _ = queue_file(b"amy@example.org", [(b"R", b"x@example.net")], attributes={"helo_name": "h"})
    short = read(data, recipients=False, attributes=False)
    assert (short.sender, short.todo, short.attributes) == (
        "amy@example.org",
        [],
        {},
    )
    middle = read(data, recipients=False)
    assert (middle.attributes["helo_name"], middle.todo) == ("h", [])
    assert read(data, attributes=False).todo == read(data).todo


def test_the_original_address_belongs_to_the_next_recipient_alone() -> None:
    head = record(b"S", b"s@x.test")
    rest = record(b"O", b"list@x.test") + record(b"R", b"a@x.test") + record(b"R", b"b@x.test")
    envelope = read(head + rest + record(b"M") + CONTENT + record(b"X") + record(b"E"))
    assert [one[2] for one in envelope.todo] == ["list@x.test", None]


def test_a_maildrop_file_has_neither_size_nor_time() -> None:
    data = record(b"S", b"amy") + record(b"A", b"rewrite_context=local") + record(b"M") + CONTENT
    data += record(b"X") + record(b"R", b"x@example.net") + record(b"E")
    envelope = read(data)
    assert envelope.damage is None
    assert (envelope.sender, envelope.message_size, envelope.arrival_time) == ("amy", None, None)
    assert [one[1] for one in envelope.todo] == ["x@example.net"]
    assert content(data)[0] == b"Subject: hi\n\na long line\n"


def test_what_milters_edited_is_found_by_its_pointers() -> None:
    """The sender replaced, a recipient added, a header line replaced: all in a heap behind the end."""
    blank = size_record(0, 0, 0)
    time_record = record(b"T", b"1780000000 1")
    recipients = record(b"R", b"x@example.net")
    body = pointer(0) + record(b"N", b"") + record(b"N", b"Hello.")
    at = len(blank) + len(time_record)
    behind_sender = at + len(pointer(0))
    behind_recipients = behind_sender + len(recipients) + len(pointer(0))
    offset = behind_recipients + len(record(b"M"))
    end = offset + len(body) + len(record(b"X") + record(b"E"))
    new_sender = record(b"S", b"new@example.org") + pointer(behind_sender)
    added = record(b"O", b"added@example.net") + record(b"R", b"added@example.net")
    added += pointer(behind_recipients)
    header = record(b"N", b"Subject: replaced") + record(b"w", b"0  ") + pointer(offset + len(pointer(0)))
    first, second = end + len(new_sender), end + len(new_sender) + len(added)
    data = b"".join(
        (
            size_record(len(body), offset, 2),
            time_record,
            pointer(end),
            recipients,
            pointer(first),
            record(b"M"),
            pointer(second),
            body[len(pointer(0)) :],
            record(b"X"),
            record(b"E"),
            new_sender,
            added,
            header,
        )
    )
    envelope = read(data)
    assert envelope.damage is None
    assert envelope.sender == "new@example.org"
    assert [one[1] for one in envelope.todo] == ["x@example.net", "added@example.net"]
    assert content(data) == (b"Subject: replaced\n\nHello.\n", None)


@pytest.mark.parametrize("recipients", [100, 1000, 30_000])
def test_many_recipients_go_over_the_first_read(recipients: int) -> None:
    wanted = [f"r{number}@example.net" for number in range(recipients)]
    data, offsets = queue_file(b"s@x.test", [(b"R", one.encode()) for one in wanted], CONTENT * 3000)
    envelope = read(data)
    assert envelope.damage is None
    assert [one[1] for one in envelope.todo] == wanted
    assert [one[0] for one in envelope.todo] == offsets
    assert content(data)[0].count(b"a long line\n") == 3000


@pytest.mark.parametrize(
    ("data", "damage"),
    [
        (b"", "the end of the file is missing"),
        (b"C", "a record is cut off"),
        (record(b"C", b"rubbish") + record(b"S") + record(b"E"), "its size record makes no sense"),
        (record(b"C", b" " * 94 + b"1") + record(b"S") + record(b"E"), "its size record makes no sense"),
        (record(b"C", b"-1 5 1") + record(b"S") + record(b"E"), "its size record makes no sense"),
        (record(b"C", b"") + record(b"S") + record(b"E"), "its size record makes no sense"),
        (record(b"S", b"a") + record(b"S", b"b") + record(b"E"), "it has two senders"),
        (record(b"T", b"1") + record(b"E"), "it has no sender"),
        (record(b"S", b"a"), "the end of the file is missing"),
        (record(b"S", b"a") + record(b"\x01") + record(b"E"), "it has a record of unknown type 1"),
        (record(b"S", b"a") + b"R\xff\xff\xff\xff\xff\x01", "a record is cut off"),
        (record(b"S", b"a") + pointer(10**6), "the end of the file is missing"),
        (record(b"S", b"a") + record(b"p", b"-5"), "a pointer leads astray"),
        (record(b"S", b"a") + pointer(3), "a pointer leads astray"),
    ],
)
def test_damage_is_named(data: bytes, damage: str) -> None:
    assert read(data).damage == damage


def test_an_endless_circle_and_a_bomb_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end at limits on what is walked through; lower ones here, as only that they hold matters."""
    monkeypatch.setattr(reader._Records.__init__, "__defaults__", (1 << 20,))
    monkeypatch.setattr(reader, "RECIPIENT_LIMIT", 5000)
    circle = record(b"S", b"a") + record(b"A", b"b=c") * 1000 + pointer(3)
    bomb = record(b"S", b"a") + record(b"M") + CONTENT * 10 + pointer(5)
    recipients = record(b"S", b"a") + record(b"R", b"b") * 5010 + record(b"E")
    many = record(b"S", b"a") + record(b"A", b"") * (1 << 20)
    for data in (circle, bomb, recipients, many):
        assert read(data).damage is not None
    assert content(bomb)[1] is not None


REAL = queue_file(
    b"amy@example.org",
    [(b"R", b"x@example.net"), (b"D", b'"b b"@example.net'), (b"R", b"z@example.net")],
    CONTENT * 20,
    attributes={"client_name": "mx.example.org", "client_address": "192.0.2.1"},
    extracted=[(b"R", b"behind@example.net")],
)[0]


@given(st.binary(max_size=2000))
@example(b"p\x0f" + b"1" * 15)
@example(b"M\x00" * 500)
def test_any_bytes(data: bytes) -> None:
    read(data)
    content(data)


@given(st.lists(st.tuples(st.sampled_from(list(b"CTSORDAMXEpwLN>/W")), st.binary(max_size=20)), max_size=40))
def test_any_records(records: list[tuple[int, bytes]]) -> None:
    data = b"".join(record(bytes((kind,)), value) for kind, value in records)
    read(data)
    content(data)


@given(
    st.lists(st.sampled_from([record(b"O", b"o"), record(b"R", b"r"), pointer(0), pointer(2)]), max_size=9)
)
@example([record(b"R", b"r"), record(b"O", b"o"), pointer(2)])
def test_a_recipient_that_is_met_twice(records: list[bytes]) -> None:
    read(record(b"S") + b"".join(records))


@given(st.integers(0, len(REAL) - 1))
def test_a_truncated_file_is_reported(size: int) -> None:
    assert read(REAL[:size]).damage is not None


@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
def test_flipped_bits_are_survived(at: int, bits: int) -> None:
    data = REAL[:at] + bytes((REAL[at] ^ bits,)) + REAL[at + 1 :]
    envelope = read(data)
    content(data)
    if envelope.damage is None and envelope.sender is not None:
        assert len(envelope.todo) + len(envelope.done) <= 5


WANTED = reader.Wanted("log_client_name client_name", "log_helo_name helo_name", "sasl_username")
NAMES = [b"create_time", b"log_client_name", b"client_name", b"helo_name", b"sasl_username", b"x", b"log"]
ATTRIBUTES = st.builds(
    lambda name, value: record(b"A", name + value),
    st.sampled_from(NAMES),
    st.sampled_from(
        [b"=", b"=1780000000", b"=17800000001", b"=a", b"=b\0sasl_username=c", b"=" + b"v" * 130, b""]
    )
    | st.binary(max_size=40),
)
ADDRESSES = st.sampled_from(
    [b"a@x.test", b"b@x.test", b"c d@x.test", b"", b"@", "ä@x.test".encode(), b"\xff"]
)
RECORDS = st.one_of(
    ATTRIBUTES,
    st.builds(record, st.sampled_from([b"S", b"O", b"R", b"R", b"D", b"/", b"M"]), ADDRESSES),
    st.builds(
        record, st.just(b"T"), st.sampled_from([b"1780000000 1", b"0000000000 1", b"1780000000", b"x"])
    ),
    st.builds(record, st.sampled_from(list(map(bytes, zip(range(256))))), st.binary(max_size=30)),
    st.builds(size_record, st.integers(0, 200), st.integers(0, 900), st.integers(0, 4)),
    st.just(record(b"C", b" " * 95)),
    st.just(record(b"M") + CONTENT + record(b"X") + record(b"E")),
    st.just(pointer(0)),
    st.binary(max_size=6),
)


def check_that_both_ways_agree(data: bytes) -> None:
    """What the pattern reads at once is what the loop reads record by record."""
    with opened(data) as descriptor:
        for utf8, size in ((True, None), (False, len(data))):
            slow = reader.read_envelope(descriptor, utf8=utf8, size=size)
            fast = reader.read_envelope(descriptor, utf8=utf8, size=size, wanted=WANTED)
            for name in ("sender", "arrival_time", "message_size", "content", "todo", "done", "damage"):
                assert getattr(fast, name) == getattr(slow, name), name
            assert slow.head is None
            assert list(fast.attributes.items()) == list(slow.attributes.items())
            assert (fast.content_filter, fast.redirect) == (slow.content_filter, slow.redirect)
            assert reader.created(fast) == reader.created(slow)
            for each in (fast, slow):
                found = reader.attributes_of(each, WANTED, utf8=utf8)
                assert found == reader.attributes_of(slow, WANTED, utf8=utf8)


@given(st.lists(RECORDS, max_size=14).map(b"".join), st.integers(0, 3))
@example(record(b"A", b"log") + b"_client_name=x" + record(b"M"), 0)
@example(record(b"S", b"s@x.test") + record(b"O", b"o@x.test") + record(b"D", b"d@x.test"), 0)
@example(record(b"A", b"log_client_name=a") + record(b"A", b"log_client_name=b")[:-1], 0)
def test_the_pattern_reads_what_the_loop_reads(data: bytes, cut: int) -> None:
    check_that_both_ways_agree(data)
    check_that_both_ways_agree(data[: len(data) - cut])


@given(st.data())
def test_the_pattern_reads_what_the_loop_reads_of_files_with_mistakes(data: st.DataObject) -> None:
    written = bytearray(
        queue_file(
            b"amy@example.org",
            [(b"R", b"x@example.net"), (b"R", b"a b@example.net"), (b"D", b"y@example.net")],
            attributes={"log_client_name": "mx.example.org", "client_name": "other", "sasl_username": "amy"},
        )[0]
    )
    check_that_both_ways_agree(bytes(written))
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(
            st.sampled_from(b"ARSTOMDCEXp\0\1\x16\x7f\x80= 0") | st.integers(0, 255)
        )
    check_that_both_ways_agree(bytes(written))


def test_more_recipients_than_the_pattern_takes() -> None:
    for number in range(7):
        data, offsets = queue_file(b"s@x.test", [(b"R", b"u%d@x.test" % one) for one in range(number)])
        check_that_both_ways_agree(data)
        assert [one[0] for one in read(data, wanted=WANTED).todo] == offsets


def test_the_first_value_of_the_best_name_counts() -> None:
    pairs = [("client_name", "a"), ("log_client_name", "b"), ("log_client_name", "c"), ("helo_name", "d")]
    head = record(b"S", b"s@x.test") + b"".join(record(b"A", f"{n}={v}".encode()) for n, v in pairs)
    late = record(b"R", b"x@x.test") * 4 + record(b"A", b"sasl_username=late")
    for data in (head + late + record(b"M") + record(b"X") + record(b"E"), head + pointer(0) + late):
        for wanted in (None, WANTED):
            envelope = read(data, wanted=wanted)
            assert reader.attributes_of(envelope, WANTED) == ["b", "d", "late"]
