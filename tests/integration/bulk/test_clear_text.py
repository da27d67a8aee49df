"""Passwords in clear text in a file are hashed, and are found nowhere afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmaster.directory import passwords
from tests.integration.cli.conftest import Cli, Result

SECRET, OTHER = "correct horse battery", "another horse entirely"


def table(folder: Path, *rows: str) -> str:
    file = folder / "users.csv"
    file.write_text("\n".join(("address,password", *rows)) + "\n")
    return str(file)


def stored(house: Cli, where: str) -> str:
    users = house("directory", "export", "--with-hashes").json["users"]
    return str(next(one["password"] for one in users if one["address"] == where))


def is_nowhere(folder: Path, *said: Result) -> bool:
    """Whether no file of the directory and nothing that was printed has the secrets."""
    files = [one.read_bytes() for one in (folder / "d").rglob("*") if one.is_file()]
    shown = [(one.out + one.err).encode() for one in said]
    return not any(secret.encode() in text for secret in (SECRET, OTHER) for text in (*files, *shown))


def test_they_are_hashed_and_the_same_file_again_changes_nothing(house: Cli, tmp_path: Path) -> None:
    file = table(
        tmp_path,
        f"amy@example.org,{{plain}}{SECRET}",
        f"carl@example.org,{{CLEARTEXT}}{SECRET}",
        "dora@example.org,",
    )
    looked = house("directory", "import", file, "--update", "--dry-run", "-o", "json")
    assert (looked.json["created"], looked.json["changed"], looked.json["hashed"]) == (2, 1, 0)
    done = house("directory", "import", file, "--update", "-o", "json")
    assert (done.json["created"], done.json["changed"], done.json["hashed"]) == (2, 1, 2)
    assert done.json["without_password"] == ["dora@example.org"]
    both = [stored(house, name) for name in ("amy@example.org", "carl@example.org")]
    assert both[0] != both[1]
    assert all(passwords.verify(SECRET, one) for one in both)
    again = house("directory", "import", file)
    assert "note: 2 passwords stand in the file in clear text" in again.err
    assert house("directory", "import", file, "-o", "json").json["entry"] is None
    assert [stored(house, name) for name in ("amy@example.org", "carl@example.org")] == both
    shown = house("history", "-o", "json")
    assert is_nowhere(tmp_path, looked, done, again, shown)


def test_another_password_is_a_difference_that_needs_update(house: Cli, tmp_path: Path) -> None:
    refused = house("directory", "import", table(tmp_path, f"amy@example.org,{{PLAIN}}{SECRET}"), expect=1)
    assert "line 2: user amy@example.org: is there already with other values: password" in refused.err
    house("directory", "import", table(tmp_path, f"amy@example.org,{{PLAIN}}{SECRET}"), "--update")
    first = stored(house, "amy@example.org")
    house("directory", "import", table(tmp_path, f"amy@example.org,{{PLAIN}}{OTHER}"), "--update")
    assert passwords.verify(OTHER, stored(house, "amy@example.org"))
    house("undo", "--restore-password", "--yes")
    assert stored(house, "amy@example.org") == first


@pytest.mark.parametrize("password", ["short", "", "with\ttab and more"])
def test_what_is_no_password_is_a_bad_row(house: Cli, tmp_path: Path, password: str) -> None:
    file = table(tmp_path, f"carl@example.org,{{PLAIN}}{password}")
    refused = house("directory", "import", file, expect=1)
    assert "line 2: user carl@example.org: the password" in refused.err
    assert "tab and" not in refused.err


def test_who_is_listed_twice_has_to_have_one_password(house: Cli, tmp_path: Path) -> None:
    line = f"carl@example.org,{{PLAIN}}{SECRET}"
    refused = house("directory", "import", table(tmp_path, line, line, line.replace(SECRET, OTHER)), expect=1)
    assert "line 4: user carl@example.org: is listed at line 2 with other values" in refused.err
    assert refused.err.count("line ") == 2
    house("directory", "import", table(tmp_path, line, line))
    assert passwords.verify(SECRET, stored(house, "carl@example.org"))


def test_a_description_may_have_them_and_is_then_no_difference(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(f"users:\n- address: carl@example.org\n  password: '{{PLAIN}}{SECRET}'\n")
    words = (str(file), "--max-deletes", "9", "--yes")
    shown = house("directory", "diff", str(file), "-o", "json", expect=4)
    looked = house("directory", "apply", *words, "--dry-run", "-o", "json").json
    done = house("directory", "apply", *words, "-o", "json")
    assert (looked["hashed"], done.json["hashed"]) == (0, 1)
    assert house("directory", "diff", str(file), "-o", "json").json == []
    said = house("directory", "apply", *words)
    assert "note: 1 passwords stand in the file in clear text" in said.err
    assert passwords.verify(SECRET, stored(house, "carl@example.org"))
    assert is_nowhere(tmp_path, shown, done, said)
