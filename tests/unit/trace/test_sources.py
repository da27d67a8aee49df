"""Logs are found, put in order, cut to a period without reading the rest, and unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster.errors import NotFoundError, UsageError
from postmaster.postfix.stamps import Clock
from postmaster.settings import LogSettings, PostfixSettings, Settings
from postmaster.trace.blocks import blocks, placed_blocks, whole_lines
from postmaster.trace.sources import LINE_LIMIT, Notes, Period, Source, bisect, find, split, within
from tests.tools.forms import FORMS

BEGIN = datetime(2026, 5, 28, tzinfo=UTC)
NOW = BEGIN.timestamp()


def lines(begin: int, end: int) -> bytes:
    """A line for each second."""
    return b"".join(
        f"{(BEGIN + timedelta(seconds=at)).isoformat()} mail postfix/qmgr[1]: line {at}\n".encode()
        for at in range(begin, end)
    )


def read(log: list[Source], period: Period, notes: Notes | None = None) -> bytes:
    kept = notes or Notes()
    found = b"".join(block for source in within(log, period) for block in blocks(source, period, kept))
    assert notes is not None or not kept.problems
    return found


def settings_for(*files: Path) -> Settings:
    return Settings(log=LogSettings(files), postfix=PostfixSettings(Path("/nonexistent")))


def pack(path: Path, content: bytes) -> None:
    match path.suffix:
        case ".gz":
            path.write_bytes(gzip.compress(content))
        case ".xz":
            path.write_bytes(lzma.compress(content))
        case ".bz2":
            path.write_bytes(bz2.compress(content))
        case ".zst":
            done = subprocess.run(["zstd", "-q"], input=content, capture_output=True, check=True)
            path.write_bytes(done.stdout)
        case _:
            path.write_bytes(content)


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """Six files of 1,000 seconds each, as logrotate leaves them, with another log beside them."""
    names = [
        "mail.log-20260520",
        "mail.log.4.zst",
        "mail.log.3.xz",
        "mail.log.2.gz",
        "mail.log.1",
        "mail.log",
    ]
    for number, name in enumerate(names):
        path = tmp_path / name
        pack(path, lines(number * 1000, number * 1000 + 1000))
        os.utime(path, (NOW + number * 1000 + 999.0,) * 2)
    (tmp_path / "mail.log.bak").write_bytes(b"another\n")
    (tmp_path / "mail.logs").write_bytes(b"another\n")
    return tmp_path / "mail.log"


def test_a_rotated_set_is_read_in_order(rotated: Path) -> None:
    (log,) = find(settings_for(rotated))
    assert read(log, Period()) == lines(0, 6000)


@pytest.mark.parametrize(("since", "until"), [(0, 10), (995, 1005), (2500, 2501), (3999, 5001), (5990, 7000)])
def test_a_period_of_a_rotated_set(rotated: Path, since: int, until: int) -> None:
    (log,) = find(settings_for(rotated))
    assert read(log, Period(NOW + since, NOW + until)) == lines(since, min(until, 6000))


def test_what_ended_before_the_period_is_not_opened(rotated: Path) -> None:
    (log,) = find(settings_for(rotated))
    for name in ("mail.log.3.xz", "mail.log.2.gz", "mail.log-20260520"):
        (rotated.parent / name).unlink()  # opening it would be an error
    assert read(log, Period(NOW + 4500)) == lines(4500, 6000)


def test_what_lies_outside_in_a_plain_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(lines(0, 50_000))
    seen = 0
    real = os.pread

    def counted(number: int, length: int, at: int) -> bytes:
        nonlocal seen
        data = real(number, length, at)
        seen += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    (log,) = find(settings_for(), [path])
    (part,) = within(log, Period(NOW + 20_000, NOW + 20_010))
    assert part.weight == len(lines(20_000, 20_010))
    assert seen < path.stat().st_size // 10


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst", ".bz2"])
def test_a_named_file_of_any_kind(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    pack(path, lines(0, 3000))
    (log,) = find(settings_for(), [path])
    assert read(log, Period()) == lines(0, 3000)
    assert read(log, Period(NOW + 100, NOW + 200)) == lines(100, 200)


def test_a_damaged_file_gives_what_it_has_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.1.gz"
    pack(path, lines(0, 30_000))
    path.write_bytes(path.read_bytes()[:-5000])
    (log,) = find(settings_for(), [path])
    notes = Notes()
    found = read(log, Period(), notes)
    assert found == lines(0, 30_000)[: len(found)]
    assert len(found) > 1000
    assert len(notes.problems) == 1
    assert "gzip" in notes.problems[0]


def test_no_log_anywhere_is_an_error_that_names_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    with pytest.raises(NotFoundError, match=r"nothing\.log"):
        find(settings_for(tmp_path / "nothing.log"))
    with pytest.raises(NotFoundError, match="cannot be read"):
        find(settings_for(), [tmp_path / "nothing.log"])


@given(
    st.lists(st.integers(0, 50), min_size=0, max_size=60),
    st.integers(-1, 52),
    st.lists(
        st.sampled_from([b"", b"garbage without a stamp\n", b"x" * 5000 + b"\n"]), min_size=60, max_size=60
    ),
)
def test_bisection_finds_what_a_scan_finds(seconds: list[int], moment: int, junk: list[bytes]) -> None:
    data, expected = b"", None
    for second, between in zip(sorted(seconds), junk, strict=False):
        if expected is None and second >= moment:
            expected = len(data)
        data += lines(second, second + 1) + between
    clock = Clock(NOW)
    found = bisect(lambda at, length: data[at : at + length], len(data), NOW + moment, clock)
    assert found == (len(data) if expected is None else expected)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_whole_lines_are_the_same_bytes(data: bytes, length: int) -> None:
    chunks = [data[at : at + length] for at in range(0, len(data), length)]
    found = list(whole_lines(chunks))
    assert b"".join(found) == data[: data.rfind(b"\n") + 1]
    assert all(block.endswith(b"\n") for block in found)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    chunk = b"x" * LINE_LIMIT
    assert max(map(len, whole_lines(chunk for _ in range(50)))) < 4 * LINE_LIMIT


@given(st.integers(1, 5), st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_parts_of_a_log_are_the_log(parts: int, sizes: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log, at = [], 0
        for number, size in enumerate(sizes):
            path = Path(folder) / f"{number}"
            path.write_bytes(lines(at, at + size))
            at += size
            log.append(Source(path, NOW, path.stat().st_size))
        shares = split(log, parts)
        assert len(shares) == parts
        notes = Notes()
        found = b"".join(b for share in shares for source in share for b in blocks(source, Period(), notes))
    assert found == lines(0, at)


@settings(max_examples=40)  # each starts programs
@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.floats(0.1, 3)), min_size=1, max_size=3),
    st.integers(200, 5000),  # a line longer than a block is none
)
def test_compressed_files_are_cut_too_however_wrong_their_estimated_size(
    parts: int, files: list[tuple[int, bool, float]], chunk: int
) -> None:
    import tempfile
    from unittest.mock import patch

    with tempfile.TemporaryDirectory() as folder, patch("postmaster.trace.blocks.BLOCK", chunk):
        log, at = [], 0
        for number, (length, is_packed, wrong) in enumerate(files):
            path, text = Path(folder) / f"{number}", lines(at, at + length)
            path.write_bytes(gzip.compress(text) if is_packed else text)
            at += length
            size = int(len(text) * wrong) if is_packed else len(text)
            log.append(Source(path, NOW, size, "gzip" if is_packed else ""))
        shares, notes = split(log, parts), Notes()
        found = [(source, block) for share in shares for source in share
                 for block in placed_blocks(source, Period(), notes)]  # fmt: skip
        starts = [sum(one[0] for one in files[:number]) for number in range(len(files))]
        texts = {
            str(Path(folder) / f"{number}"): lines(start, start + files[number][0])
            for number, start in enumerate(starts)
        }
    assert b"".join(block.text for _, block in found) == lines(0, at)
    for source, block in found:
        assert texts[source.name][block.at : block.at + len(block.text)] == block.text
    assert not notes.problems


def test_a_compressed_file_counts_by_the_text_that_it_says_it_has(tmp_path: Path) -> None:
    path, text = tmp_path / "mail.log.1.gz", lines(0, 5000)
    pack(path, text)
    ((source,),) = find(Settings(), [path])
    assert source.weight == len(text)
    path.write_bytes(
        path.read_bytes() + gzip.compress(b"x")
    )  # of several members only the last one's is said
    ((source,),) = find(Settings(), [path])
    assert source.weight == 8 * path.stat().st_size
    # Two parts of it, of the same size, are read at once.
    one, other = split([source], 2)
    assert [source.weight for source in (*one, *other)] == [4 * path.stat().st_size] * 2


def test_what_two_parts_meet_is_noted_once(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    pack(path, lines(0, 20_000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    notes = Notes()
    for share in split(find(Settings(), [path])[0], 2):
        own = Notes()
        for source in share:
            list(blocks(source, Period(), own))
        notes.add(own.problems)
    assert len(notes.problems) == 1
    assert "could not be read to its end" in notes.problems[0]


@pytest.mark.parametrize(
    ("content", "program"),
    [(gzip.compress(b"x\n", mtime=0), "gzip"), (lzma.compress(b"x\n"), "xz")],
    ids=["gzip", "xz"],
)
def test_compressed_standard_input_is_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes, program: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    ((source,),) = find(Settings(), [Path("-")])
    with pytest.raises(UsageError, match="is compressed") as caught:
        list(blocks(source, Period(), Notes()))
    assert f"{program} -dc" in (caught.value.hint or "")


def test_a_log_that_is_not_there_asks_whether_the_name_is_right(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No such file") as caught:
        find(Settings(), [tmp_path / "none"])
    assert caught.value.hint == "is the name right?"


def written(form: str, number: int) -> list[bytes]:
    return [f"{FORMS[form](line.decode())}\n".encode() for line in lines(0, number).splitlines()]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_period_of_every_form(tmp_path: Path, form: str, suffix: str) -> None:
    path, plain_lines = tmp_path / f"x{suffix}", lines(0, 600).splitlines()
    pack(path, b"".join(written(form, 600)))
    (log,) = find(settings_for(), [path])
    for since, until in ((0, 1), (100, 201), (599, 700), (600, 601), (-5, 2)):
        text = read(log, Period(NOW + since, NOW + until)).decode().replace(".000000+00:00", "+00:00")
        assert text.splitlines() == [line.decode() for line in plain_lines[max(0, since) : until]]


@pytest.mark.parametrize("form", FORMS)
def test_a_line_has_one_place_wherever_reading_begins(tmp_path: Path, form: str) -> None:
    path, raw = tmp_path / "x", written(form, 300)
    path.write_bytes(b"".join(raw))
    (log,) = find(settings_for(), [path])
    for since in (0, 1, 150, 299):
        places = []
        for source in within(log, Period(NOW + since)):
            for block in placed_blocks(source, Period(NOW + since), Notes()):
                starts = [0, *accumulate(len(line) + 1 for line in block.text.split(b"\n"))][:-2]
                places += block.places(starts)
        assert places == [len(b"".join(raw[:at])) for at in range(since, 300)]
