"""Names of queue files and the walk through their folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postmaster.postfix import spool
from postmaster.postfix.spool import hashed_folders


@pytest.mark.parametrize(
    ("queue_id", "depth", "folders"),
    [
        ("AFEC5228A0C", 1, "A/"),
        ("AFEC5228A0C", 3, "A/F/E/"),
        ("ab", 3, "a/b/_/"),
        ("4B7Z2K5NHbz8gQ", 1, "B/"),
    ],
)
def test_hashed_folders(queue_id: str, depth: int, folders: str) -> None:
    assert hashed_folders(queue_id, depth) == folders


@pytest.mark.parametrize("good", ["AFEC5228A0C", "012345", "4B7Z2K5NHbz8gQ", "3SvTZ21KFMz1Xcd"])
def test_queue_ids(good: str) -> None:
    assert spool.is_queue_id(good)


@pytest.mark.parametrize(
    "bad", ["", "ABC", "afec5228a0c", "AFEC5228A0C\n", "../active/A", "4B7Z2K5NHbz", "-f"]
)
def test_what_is_no_queue_id(bad: str) -> None:
    assert not spool.is_queue_id(bad)


def test_the_walk_finds_both_forms_and_passes_over_what_is_no_queue_file(tmp_path: Path) -> None:
    deferred = tmp_path / "deferred"
    for name in ("A/AFEC5228A0C", "AFEC5228A0D", "B/C/4B7Z2K5NHbz8gQ", "A/123.456", "A/.hidden", "F/x"):
        (deferred / name).parent.mkdir(parents=True, exist_ok=True)
        (deferred / name).write_bytes(b"")
    (deferred / "A" / "BCDEF12345").symlink_to("/etc/passwd")
    os.mkfifo(deferred / "A" / "BCDEF12346")
    (tmp_path / "hold").write_text("not a folder")
    found = sorted(spool.walk(str(tmp_path)))
    assert [queue_id for _, queue_id, _ in found] == ["4B7Z2K5NHbz8gQ", "AFEC5228A0C", "AFEC5228A0D"]
    assert all(Path(path).name == queue_id for _, queue_id, path in found)
    assert spool.count(str(tmp_path)) == len(found) + 2, "links and pipes have names too"
    parts = [sorted(spool.walk(str(tmp_path), share=(k, 3))) for k in range(3)]
    assert sorted(part for some in parts for part in some) == found


def test_folders_within_each_other_without_end(tmp_path: Path) -> None:
    deep = tmp_path / "deferred" / "/".join("A" * 100)
    deep.mkdir(parents=True)
    (deep / "AFEC5228A0C").write_bytes(b"")
    assert list(spool.walk(str(tmp_path))) == []
    assert spool.count(str(tmp_path)) == 0


def test_neither_a_link_nor_a_pipe_is_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        spool.open_file(str(tmp_path / "link"))
    os.mkfifo(tmp_path / "pipe")
    os.close(spool.open_file(str(tmp_path / "pipe")))  # it does not wait for a writer


def test_shares_of_a_count_are_the_whole(tmp_path: Path) -> None:
    for number, name in enumerate(("deferred", "deferred/A", "deferred/B", "deferred/B/C", "hold", "hold/0")):
        (tmp_path / name).mkdir()
        for one in range(number + 1):
            (tmp_path / name / f"ABCDEF{one}").touch()
    for parts in (1, 2, 3):
        counts = [spool.count(str(tmp_path), share=(part, parts)) for part in range(parts)]
        assert sum(counts) == 21
