"""A directory that is copied into another database and killed at any write leaves what was there, or all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.directory import transfer
from postmaster.directory.database import open_directory
from postmaster.directory.migrate import initialise
from postmaster.directory.publish import is_behind
from postmaster.settings import DirectorySettings, DovecotSettings, PostfixSettings, Settings, as_toml
from tests.conftest import MARK
from tests.tools import killing
from tests.tools.building import open_builder, settings_under
from tests.tools.moving import content, house
from tests.tools.postgresql import Cluster, missing_for_postgresql, running_cluster

#: Hundreds of writes: some of them each time, all of them where there is time.
STEPS = [pytest.param(37, id="every thirty-seventh"), pytest.param(1, id="every one", marks=pytest.mark.full)]


@pytest.fixture(scope="module")
def cluster(no_process_left_over: None) -> Iterator[Cluster]:
    if (why := missing_for_postgresql()) is not None:
        pytest.skip(why)
    with running_cluster(MARK) as made:
        yield made


@dataclass
class Move:
    """From a directory in one kind of database to one in the other, which is the settings' own."""

    source: Settings
    target: Settings
    worker: killing.Helper
    whole: dict[str, list[Any]]
    empty: Callable[[], None]
    kills: int = 0

    def attempt(self, n: int, *options: str) -> int:
        file = self.source.directory.file
        words = ["directory", "copy", *options, str(file or self.source.directory.url), "."]
        status = int(self.worker.ask(json.dumps({"n": n, "command": words}) + "\n"))
        self.kills += status < 0
        return status

    def there(self) -> dict[str, list[Any]] | None:
        """Everything that the target has; None where it has no row."""
        counts = transfer.look(self.target)
        return content(self.target) if counts and any(counts.values()) else None

    def publish(self) -> None:
        """What the next command does: it brings the look-ups to where the target is."""
        assert self.worker.ask(json.dumps({"n": 0, "command": ["publish"]}) + "\n") == 0
        with open_directory(self.target, publish=False) as directory:
            assert not is_behind(self.target.lookups, directory.read, directory.engine)

    def kept(self) -> list[Path]:
        """What was kept of directories that were replaced."""
        return sorted((self.target.state.directory / "backups").glob("before-copy-*.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
def move(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path, shim: Path) -> Iterator[Move]:
    """Into the database of this kind, from one of the other."""
    cluster.create("moved")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    served = replace(
        settings_under(tmp_path / "here"),
        directory=DirectorySettings(cluster.url("moved")),
        postfix=PostfixSettings(tmp_path / "none"),
        dovecot=DovecotSettings(tmp_path / "none" / "dovecot.conf"),
    )
    filed = replace(served, directory=DirectorySettings(f"sqlite:///{tmp_path}/there/directory.db"))
    source, target = (filed, served) if request.param == "postgresql" else (served, filed)

    def empty() -> None:
        if target is served:
            cluster.drop("moved")
            cluster.create("moved")
        elif target.directory.file is not None:
            target.directory.file.unlink(missing_ok=True)

    transfer.copy(house(source), target)
    whole = content(target)
    empty()
    file = tmp_path / "postmaster.toml"
    file.write_text(as_toml(target))
    worker = killing.worker(file, shim)
    made = Move(source, target, worker, whole, empty)
    yield made
    worker.end()
    cluster.drop("moved")
    print(f"killed {made.kills} times")


def until_done(move: Move, step: int, after: Callable[[int], None], *options: str) -> None:
    """Kill the copy at the first write, and at every so many more, until it completes."""
    for n in range(1, 5000, step):
        status = move.attempt(n, *options)
        assert status in (-9, 0)
        after(status)
        if status == 0:
            assert move.kills >= 5
            return
    raise AssertionError("it never completed")


@pytest.mark.timeout(2400)  # every write: a busy machine takes its time
@pytest.mark.parametrize("step", STEPS)
def test_a_new_place_has_nothing_or_all_and_the_same_command_finishes(move: Move, step: int) -> None:
    def after(status: int) -> None:
        there = move.there()
        assert there in (None, move.whole)
        assert status != 0 or there
        # What is there is not replaced without being told.
        assert move.attempt(0) == (0 if there is None else 1)
        assert move.there() == move.whole
        move.publish()
        move.empty()

    until_done(move, step, after)


@pytest.mark.timeout(2400)  # every write: a busy machine takes its time
@pytest.mark.parametrize("step", STEPS)
def test_what_is_replaced_is_there_or_kept_and_the_same_command_finishes(move: Move, step: int) -> None:
    initialise(move.target)
    with open_builder(move.target) as make:
        make.domain("old.example")
        make.user("zoe@old.example")
    old = content(move.target)

    def after(status: int) -> None:
        there = move.there()
        assert there in (old, move.whole)
        assert status != 0 or there == move.whole
        if there == old:
            assert move.attempt(0, "--replace", "--yes") == 0
        assert move.there() == move.whole
        move.publish()
        for file in move.kept():  # none of them half written
            transfer.copy(transfer.in_file(move.target, file), move.target, replace_rows=True)
            file.unlink()
            assert content(move.target) == old
        for file in move.kept():  # what that has kept
            file.unlink()

    until_done(move, step, after, "--replace", "--yes")
