"""Where a queue file is, and what IDs say."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from postmaster.postfix import spool
from postmaster.postfix.instances import seconds
from postmaster.postfix.place import is_ready, locate, make_id, paths
from tests.tools.messages import instance


def test_a_file_is_found_flat_and_hashed(tmp_path: Path) -> None:
    here = instance(tmp_path, depth=2)
    file = tmp_path / "deferred" / "8" / "E" / "8E360228131"
    file.parent.mkdir(parents=True)
    assert locate(here, "8E360228131") is None
    file.write_bytes(b"")
    found = locate(here, "8E360228131")
    assert found is not None
    assert found[:2] == ("deferred", str(file))
    for old in (tmp_path / "deferred" / "8E360228132", tmp_path / "deferred" / "8" / "8E360228133"):
        old.write_bytes(b"")  # hash_queue_depth was another one
        again = locate(here, old.name)
        assert again is not None
        assert again[1] == str(old)
    assert locate(here, "8E360228131", ("hold",)) is None


def test_a_long_id_is_hashed_by_its_microseconds() -> None:
    # From Postfix's documentation of enable_long_queue_ids: the folder is of the time, not of the ID's text.
    here = instance(Path("/s"), long_ids=True)
    made = make_id(here, 12345, 1795503229.5)
    assert f"{500000:05X}"[0] == "7"
    assert next(paths(here, "deferred", made)) == f"/s/deferred/7/{made}"


@given(st.integers(1, 1 << 48), st.floats(1e9, 4e9), st.booleans())
def test_a_made_id_is_one_that_postfix_takes(inode: int, moment: float, long_ids: bool) -> None:
    made = make_id(instance(Path("/s"), long_ids=long_ids), inode, moment)
    assert spool.is_queue_id(made)
    if not long_ids:
        assert int(made[5:], 16) == inode


@given(st.text(max_size=60))
def test_any_text_has_a_folder(text: str) -> None:
    spool.hashed_folders(text, 2)


def test_group_bits_do_not_make_a_file_unready(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"")
    for mode, ready in ((0o700, True), (0o750, True), (0o744, True), (0o600, False)):
        file.chmod(mode)
        assert is_ready(file.stat()) is ready


def test_lifetimes() -> None:
    wanted = {"5d": 432000, "3": 259200, "2h": 7200, "30m": 1800, "90s": 90, "1w": 604800, "soon": None}
    assert {text: seconds(text) for text in wanted} == wanted
