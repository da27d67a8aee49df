"""directory export, import, diff and apply, and user chpasswd, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postmaster.directory import passwords, publish
from tests.integration.cli.conftest import Cli
from tests.tools.documented import json_keys, key_paths

BLF = "{BLF-CRYPT}$2y$05$" + "b" * 53


def test_export_to_a_file_is_for_its_owner_alone_and_never_overwrites(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    assert f"7 entries in {file}" in house("directory", "export", str(file)).err
    assert file.stat().st_mode & 0o777 == 0o600
    assert "BLF" not in file.read_text()
    assert "is there already" in house("directory", "export", str(file), expect=1).err
    house("directory", "export", "--force", "--with-hashes", str(file))
    assert "{BLF-CRYPT}$2y$05$" in file.read_text()
    assert not list(tmp_path.glob(".d.json*"))


@pytest.mark.parametrize("suffix", ["csv", "json", "yaml", "toml"])
def test_what_is_exported_is_imported_elsewhere_and_twice_changes_nothing(
    house: Cli, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"d.{suffix}"
    house("sender", "grant", "amy@example.org", "team@example.org")
    house("directory", "export", "--with-hashes", str(file))
    whole = house("directory", "export", "--with-hashes").out
    again = house("directory", "import", str(file), "-o", "json").json
    assert (again["created"], again["changed"], again["refused"], again["entry"]) == (0, 0, 0, None)
    for words in (
        ("sender", "revoke", "amy@example.org", "team@example.org"),
        ("alias", "remove", "team@example.org"),
        ("alias", "remove", "@example.org"),
        ("user", "remove", "amy@example.org", "--mail", "delete"),
        ("forward", "remove", "bob@example.org"),
        ("domain", "remove", "bücher.example"),
    ):
        house(*words, "--yes")
    done = house("directory", "import", str(file), "--dry-run", "-o", "json").json
    assert (done["imported"], done["created"]) == (False, 6)
    house("directory", "import", str(file))
    assert house("directory", "export", "--with-hashes").out == whole


def test_a_bad_row_stops_the_import_or_is_left_out(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("address,name\ncarl@example.org,Carl\nnobody,x\ndora@nowhere.test,\n")
    before = house("directory", "export", "--with-hashes").out
    refused = house("directory", "import", str(file), expect=1)
    assert "line 3: user nobody: address has no @" in refused.err
    assert "line 4: user dora@nowhere.test: domain nowhere.test is not hosted here" in refused.err
    assert house("directory", "export", "--with-hashes").out == before
    done = house("directory", "import", str(file), "--keep-going", "-o", "json", expect=3)
    documented = json_keys("directory import")
    assert key_paths(done.json) == {key for key in documented if not key.startswith("moves[]")}
    assert done.json["created"] == 1
    assert done.json["without_password"] == ["carl@example.org"]
    house("undo", "--yes")
    assert house("directory", "export", "--with-hashes").out == before


def test_other_values_are_refused_without_update(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("address,name,quota\namy@example.org,Amy,2G\n")
    assert (
        "is there already with other values: name, quota_bytes"
        in house("directory", "import", str(file), expect=1).err
    )
    assert house("directory", "import", str(file), "--update", "-o", "json").json["changed"] == 1
    assert house("user", "show", "amy@example.org", "-o", "json").json["quota_bytes"] == 2 << 30


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json"])
def test_the_difference_of_a_directory_with_itself_is_empty(house: Cli, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"d.{suffix}"
    house("directory", "export", str(file))
    assert house("directory", "diff", str(file), "-o", "json").json == []
    house("directory", "apply", str(file), "--yes")


def test_apply_does_what_diff_shows_and_then_there_is_no_difference(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(
        "domains:\n- domain: example.org\nusers:\n- address: amy@example.org\n  quota: 1G\n"
        f"- address: carl@example.org\n  password: '{BLF}'\n"
        "aliases:\n- address: team@example.org\n  targets: [amy@example.org]\nforwards: []\n"
    )
    shown = house("directory", "diff", str(file), "-o", "json", expect=4).json
    documented = json_keys("directory diff")
    for row in shown:
        assert all(set(pair) == {"before", "after"} for pair in row["values"].values())
        assert set(row) == documented
    assert [(row["action"], row["kind"], row["object"]) for row in shown] == [
        ("delete", "user", "bob@example.org"),
        ("delete", "alias", "@example.org"),
        ("delete", "forward", "bob@example.org"),
        ("change", "user", "amy@example.org"),
        ("create", "user", "carl@example.org"),
        ("change", "alias", "team@example.org"),
    ]
    assert "b" * 53 not in json.dumps(shown)
    asked = house("directory", "apply", str(file), expect=2)
    assert (
        "not done without being told: Bring this about: 1 to create, 2 to change, 3 to delete?" in asked.err
    )
    assert (
        "3 entries would be deleted"
        in house("directory", "apply", str(file), "--max-deletes", "2", "--yes", expect=2).err
    )
    assert house("directory", "apply", str(file), "--dry-run", "-o", "json").json["differences"] == shown
    done = house("directory", "apply", str(file), "--yes", "-o", "json").json
    assert {key.partition(".values")[0] for key in key_paths(done)} == {
        key.partition(".values")[0] for key in json_keys("directory apply")
    }
    assert done["differences"] == shown
    assert house("directory", "diff", str(file), "-o", "json").json == []
    house("undo", "--yes")
    assert house("directory", "diff", str(file), "-o", "json", expect=4).json != []


def test_a_description_with_a_mistake_is_refused_with_its_line(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(
        "domains:\n- domain: example.org\naliases:\n- address: team@example.org\n  targets: [x@example.org]\n"
    )
    file.write_text(file.read_text() + "\n- address: catch\n  targets: [amy@example.org]\n")
    refused = house("directory", "apply", str(file), "--yes", "-o", "json", expect=1)
    assert "line 7: alias catch: address has no @" in refused.error["detail"]
    missing = tmp_path / "none.yaml"
    assert f"there is no file {missing}" in house("directory", "diff", str(missing), expect=1).err
    assert "is in YAML, TOML or JSON" in house("directory", "diff", "x.csv", expect=2).err


def test_chpasswd_takes_all_lines_or_none_and_never_shows_a_secret(house: Cli) -> None:
    lines = "\namy@example.org:correct horse: battery\r\nbob@example.org:short\n"
    before = house("directory", "export", "--with-hashes").out
    refused = house("user", "chpasswd", stdin=lines, expect=1)
    assert "line 3: bob@example.org: the password is shorter" in refused.err
    assert "horse" not in refused.err
    assert house("directory", "export", "--with-hashes").out == before
    done = house("user", "chpasswd", "--keep-going", "-o", "json", stdin=lines, expect=3)
    assert key_paths(done.json) == json_keys("user chpasswd")
    assert done.json["changed"] == 1
    assert house("user", "show", "amy@example.org", "-o", "json").json["scheme"] == "ARGON2ID"
    hashes = f"bob@example.org:{BLF}\nbob@bücher.example:{BLF}\n"
    again = house("user", "chpasswd", "--hashes", stdin=hashes, expect=1)
    assert "line 2: bob@bücher.example: is named at line 1 already" in again.err
    house("user", "chpasswd", "--hashes", stdin=hashes.splitlines()[0])
    assert BLF in house("directory", "export", "--with-hashes").out


def test_passwords_are_hashed_only_when_every_line_can_be_taken_and_they_are_written(
    house: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes its time, and thousands are made for nothing otherwise."""
    made: list[str] = []

    def hashed(text: str) -> str:
        made.append(text)
        return BLF

    monkeypatch.setattr(passwords, "hash_password", hashed)
    good, bad = "amy@example.org:correct horse\n", "bob@example.org:short\n"
    house("user", "chpasswd", stdin=good + bad, expect=1)
    house("user", "chpasswd", "--dry-run", stdin=good)
    assert made == []
    house("user", "chpasswd", stdin=good)
    assert made == ["correct horse"]


def test_a_file_comes_from_standard_input_where_its_format_is_said(house: Cli) -> None:
    text = house("directory", "export", "--as", "yaml").out
    assert house("directory", "diff", "-", "--as", "yaml", "-o", "json", stdin=text).json == []
    assert house("directory", "import", "-", "--as", "yaml", "-o", "json", stdin=text).json["unchanged"] == 7
    refused = house("directory", "import", "-", stdin=text, expect=2)
    assert "standard input does not say which format it is in" in refused.err


def test_a_domain_that_is_not_here_is_not_exported_as_an_empty_one(house: Cli, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    refused = house("directory", "export", "--domain", "exmaple.org", str(file), expect=1)
    assert "exmaple.org is not hosted here" in refused.err
    assert not file.exists()
    assert len(house("directory", "export", "--domain", "example.org").json["users"]) == 2


def test_who_interrupts_the_publishing_is_told_that_the_change_is_kept(
    house: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object, **_given: object) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "users.csv"
    file.write_text("address\ncarl@example.org\n")
    with monkeypatch.context() as patched:
        patched.setattr(publish, "publish", interrupted)
        said = house("directory", "import", str(file), expect=3).err
    assert "the change is kept, but the servers do not see it yet: interrupted" in said
    assert house("user", "show", "carl@example.org", "-o", "json").json["login"] is True
