"""The record of queue actions on a real SQLite file."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postmaster.errors import NotFoundError
from postmaster.queue.message import Message, Recipient
from postmaster.queue.store import Store, StoreError, open_store
from postmaster.settings import StateSettings

ONE = Message("-", "deferred", "8E360228131", 1780000000, 100, "a@x.test", [Recipient("b@y.test")])


def begin(store: Store, *messages: Message) -> int:
    return store.begin(
        verb="delete",
        command="queue delete x",
        who="amy",
        reason="why",
        filter_text="x",
        options={"keep_copy": True},
        messages=messages,
    )


def test_an_action_its_messages_and_outcomes_come_back(tmp_path: Path) -> None:
    with open_store(StateSettings(tmp_path)) as store:
        number = begin(store, ONE, ONE)
        assert store.action(number).open == 2
        store.settle(number, [(0, "deleted", None)])
        store.end(number)
    with open_store(StateSettings(tmp_path)) as store:
        action = store.action(number)
        assert (action.verb, action.who, action.reason, action.options) == (
            "delete",
            "amy",
            "why",
            {"keep_copy": True},
        )
        assert (action.messages, action.bytes, action.open, action.outcomes) == (2, 200, 1, {"deleted": 1})
        assert [item.message for item in store.items(number)] == [ONE, ONE]
        assert [item.number for item in store.items(number, only_open=True)] == [1]
        assert store.unfinished() == []
        with pytest.raises(NotFoundError):
            store.action(number + 1)
        store.prune(1 << 40)
        assert list(store.actions()) == []


def test_it_is_roots_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_store(StateSettings(tmp_path / "new")) as store:
            begin(store, ONE)
    finally:
        os.umask(before)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "new").iterdir()}
    assert modes == {"queue.db": 0o600, "queue.lock": 0o600, "trash": 0o700}


def test_who_is_killed_leaves_an_interrupted_action_and_who_works_a_running_one(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open_store(StateSettings(tmp_path)) as store:
            begin(store, ONE)
            os.write(writing, b".")
            signal.pause()
    os.read(reading, 1)
    with open_store(StateSettings(tmp_path)) as store:
        assert store.is_running(1)
        assert store.unfinished() == []
        with pytest.raises(StoreError):
            store.run(1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert [one.number for one in store.unfinished()] == [1]
        store.run(1)
        assert store.unfinished() == []
    os.close(reading)
    os.close(writing)


def test_a_damaged_or_newer_record_is_refused_in_one_line(tmp_path: Path) -> None:
    with open_store(StateSettings(tmp_path)) as store:
        store._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"), open_store(StateSettings(tmp_path)):
        pass
    (tmp_path / "queue.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="failed"), open_store(StateSettings(tmp_path)):
        pass


ADDRESS = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(ADDRESS, st.lists(ADDRESS, max_size=4))
def test_any_address_comes_back(tmp_path: Path, sender: str, recipients: list[str]) -> None:
    message = Message("-", "hold", "8E360228131", 1, 1, sender, [Recipient(one) for one in recipients])
    with open_store(StateSettings(tmp_path)) as store:
        number = begin(store, message)
        assert [item.message for item in store.items(number)] == [message]
        store.add_copies(number, [(message, 0, "x", 1)])
        copy = store.copy_of(message)
        assert copy is not None
        assert copy.message == message
        store.end(number)
