"""A survey counts every message once, however the queue is shared out, and in another process too."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster import process
from postmaster.postfix import spool
from postmaster.queue import summary
from postmaster.queue import survey as module
from postmaster.queue.message import Message
from postmaster.queue.read import SMALL
from postmaster.queue.survey import Survey, _merge, look, survey
from postmaster.settings import Settings, load_settings
from tests.tools.messages import NOW, messages
from tests.tools.spool_generator import Written, fill, make_home


def fold(found: list[Message]) -> Survey:
    part = Survey(NOW, 3600, reasons=summary.start("reason", NOW))
    for message in found:
        part.take(message)
    return part


@given(st.lists(messages, max_size=12), st.integers(0, 12))
def test_shares_merged_are_the_whole(found: list[Message], cut: int) -> None:
    whole, merged = fold(found), _merge(fold(found[:cut]), fold(found[cut:]))
    for key, one in whole.queues.items():
        other = merged.queues[key]
        assert (one.messages, one.oldest, one.since) == (other.messages, other.oldest, other.since)
    assert whole.queues.keys() == merged.queues.keys()
    assert (whole.expiring, whole.first_to_expire) == (merged.expiring, merged.first_to_expire)
    assert whole.counts == merged.counts
    assert whole.reasons.messages == merged.reasons.messages


@given(st.lists(messages, max_size=12))
def test_every_message_is_in_one_queue(found: list[Message]) -> None:
    whole = fold(found)
    assert sum(one.messages for one in whole.queues.values()) == len(found)
    waiting = sum(whole.waiting(name) for name in ("-", "postfix-out"))
    assert waiting == sum(one.queue_name in module.WAITING for one in found)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return fill(make_home(tmp_path_factory.mktemp("home")), SMALL + 300)


def known(written: Written) -> Settings:
    return load_settings(written.settings_file, {})


@pytest.mark.server
def test_another_process_surveys_a_large_queue_where_threads_run(
    large: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    here = look(known(large), now=now, stale=3600)
    asked: list[str] = []
    real = process.run

    def run(argv: list[str], **given: object) -> object:
        asked.append(argv[-1])
        return real(argv, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run", run)
    gate = threading.Event()
    other = threading.Thread(target=gate.wait, daemon=True)
    other.start()
    try:
        there = survey(known(large), now=now, stale=3600)
    finally:
        gate.set()
        other.join()
    assert asked == ["postmaster.queue.survey"]
    assert there.queues["-", "deferred"].messages == large.messages
    assert there.top is not None
    assert here.top is not None
    # The example is that of whichever process came first.
    assert replace(there.top, example=None) == replace(here.top, example=None)
    assert (there.incidents, there.put_off) == (here.incidents, here.put_off)
    assert there.put_off == large.recipients
    assert there.queues["-", "deferred"].oldest == here.queues["-", "deferred"].oldest
    assert (there.expiring, there.counts) == (here.expiring, here.counts)
    assert there.counts == {}


@pytest.mark.server
def test_where_time_is_up_what_was_seen_is_told_and_the_rest_counted(large: Written) -> None:
    now = int(time.time())
    counted = module.count(known(large), now=now, stale=3600)
    assert (counted.messages, counted.is_cut) == (large.messages, False)
    found = survey(known(large), now=now, stale=3600, ends=0.0, files=counted.messages)
    seen = found.messages
    assert found.is_cut
    assert 0 < seen < large.messages
    assert found.queue("-", "deferred").oldest is not None
    assert found.complete(counted) == {"-": large.messages - seen}
    assert found.queue("-", "deferred").messages == large.messages


@pytest.mark.server
def test_names_that_cannot_be_counted_in_time_are_said_to_be_missing(large: Written) -> None:
    found = module.count(known(large), now=0, stale=3600, ends=0.0)
    assert found.is_cut
    assert found.instances == ["-"]
    assert found.messages < large.messages


@pytest.mark.server
def test_each_instance_is_surveyed_and_named(tmp_path: Path) -> None:
    first, second = fill(make_home(tmp_path / "a"), 3), fill(make_home(tmp_path / "b"), 2)
    with (second.config_directory / "main.cf").open("a") as file:
        file.write("multi_instance_name = postfix-out\n")
    with (first.config_directory / "main.cf").open("a") as file:
        file.write(f"multi_instance_directories = {second.config_directory}\n")
    log = next(path for _, _, path in spool.walk(str(second.spool), ["defer"]))
    next((second.spool / "deferred").rglob(Path(log).name)).unlink()
    found = survey(known(first), now=int(time.time()) + 7200, stale=3600)
    assert found.instances == ["-", "postfix-out"]
    assert (found.waiting("-"), found.waiting("postfix-out")) == (3, 1)
    assert found.orphans == {"postfix-out": [log]}
    assert replace(found, queues={}).counts == {("postfix-out", "orphans"): 1}
