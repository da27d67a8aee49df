"""Files and folders get the mode that was asked for, whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postmaster import files


@pytest.fixture(params=[0o077, 0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_and_their_parents(umask: None, tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b" / "c"
    assert files.make_folder(wanted, 0o711)
    assert [mode(p) for p in (tmp_path / "a", tmp_path / "a" / "b", wanted)] == [0o755, 0o755, 0o711]
    wanted.chmod(0o700)
    assert not files.make_folder(wanted, 0o711)
    assert mode(wanted) == 0o700


def test_a_file_is_replaced_at_once(umask: None, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    files.replace(target, b"one", 0o640, os.getuid(), os.getgid())
    before = target.stat().st_ino
    files.replace(target, b"two", 0o644, os.getuid(), os.getgid())
    assert target.read_bytes() == b"two"
    assert mode(target) == 0o644
    assert mode(target.parent) == 0o755
    assert target.stat().st_ino != before
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")  # a fault that cannot be made for real here

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(target, b"new", 0o644, os.getuid(), os.getgid())
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_regular_files_are_read_and_never_more_than_asked(tmp_path: Path) -> None:
    file, pipe, link = tmp_path / "file", tmp_path / "pipe", tmp_path / "link"
    file.write_bytes(b"abcdef")
    os.mkfifo(pipe)
    link.symlink_to(file)
    assert files.read_regular(file, 4)[0] == b"abcd"
    assert files.read_regular(link, 10)[0] == b"abcdef"
    for path in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "none", Path("a\0b")):
        with pytest.raises(OSError, match=r"not a|No such|Is a"):
            files.read_regular(path, 4)
    with pytest.raises(OSError, match="symbolic links"):
        files.read_regular(link, 4, follow=False)
