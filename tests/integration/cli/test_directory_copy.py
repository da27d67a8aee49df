"""directory copy: what it asks, says and refuses."""

from __future__ import annotations

from pathlib import Path

from .conftest import Cli


def test_a_copy_is_a_directory_like_the_other(house: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    planned = house("directory", "copy", ".", str(other), "--dry-run", "-o", "json").json
    assert not other.exists()
    done = house("directory", "copy", ".", str(other), "-o", "json").json
    assert done["users"] == planned["users"] == 2
    assert done["rows"] == planned["rows"]
    assert (done["to"], done["before"], planned["entry"]) == (str(other), None, None)
    assert other.stat().st_mode & 0o777 == 0o600
    moved = house.file.with_name("moved.toml")
    moved.write_text(house.file.read_text().replace(f"{tmp_path}/d/directory.db", str(other)))
    twin = Cli(moved, house.capture, house.monkeypatch)
    assert twin("history", "-o", "json").json == house("history", "-o", "json").json
    assert twin("publish").out == "the look-ups are up to date\n"


def test_what_is_there_is_replaced_only_when_told_and_the_way_back_is_told(
    house: Cli, tmp_path: Path
) -> None:
    other = str(tmp_path / "other.db")
    house("directory", "copy", ".", other)
    refused = house("directory", "copy", ".", other, expect=1)
    assert "holds a directory already" in refused.err
    assert "--replace" in refused.err
    house("domain", "add", "new.example")
    assert "--yes" in house("directory", "copy", "--replace", other, ".", expect=2).err
    done = house("directory", "copy", "--replace", "--yes", other, ".")
    assert "new.example" not in house("domain", "list").out
    (undo,) = [line for line in done.err.splitlines() if line.startswith("undo: postmaster ")]
    house(*undo.removeprefix(f"undo: postmaster --config {house.file} ").split(), "--yes")
    assert "new.example" in house("domain", "list").out


def test_what_was_replaced_long_ago_is_removed_and_named(house: Cli, tmp_path: Path) -> None:
    copy, folder = str(tmp_path / "copy.db"), tmp_path / "d" / "backups"
    house("directory", "backup", copy)
    first = house("directory", "restore", copy, "--yes", "-o", "json").json
    old = folder / "before-restore-20200101T000000000000Z.db"
    for words in (
        ("directory", "backup", str(tmp_path / "other.db")),
        ("directory", "restore", copy, "--yes"),
        ("directory", "copy", "--replace", "--yes", copy, "."),
    ):
        old.touch()
        if words[1] == "backup":
            told = house(*words)
            assert f"removed: {old}, a replaced directory of more than 90 days ago" in told.err
        else:
            assert house(*words, "-o", "json").json["removed"] == [str(old)]
        assert not old.exists()
    assert Path(first["before"]).exists()
    Path(first["before"]).rename(old)
    assert house("directory", "restore", str(old), "--yes", "-o", "json").json["removed"] == []


def test_wrong_places_are_one_clear_line(house: Cli, tmp_path: Path) -> None:
    for where, said in (
        ("postgresql://u:geheim@h/d", "can be read by everybody"),
        ("nonsense", "no database URL"),
        (".", "both are the same database"),
        (str(tmp_path / "missing" / "other.db"), "cannot be made"),
    ):
        told = house("directory", "copy", "--replace", "--yes", ".", where, expect=None)
        assert told.status in (1, 2)
        assert said in told.err
        assert told.err.count("\n") == 1
        assert "geheim" not in told.err
    assert "there is no directory" in house("directory", "copy", str(tmp_path / "no.db"), ".", expect=1).err
