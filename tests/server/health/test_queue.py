"""The queue: each fault is made in a lab's spool, found, and gone when it ends."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.health.finding import Severity
from postmaster.health.run import choose, run
from postmaster.settings import Settings, load_settings
from tests.tools.acting import Queue, until
from tests.tools.mail import Lab
from tests.tools.spool_generator import fill, log_entry, make_home, queue_file

from .conftest import faulty

HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module")
def queue(sick: Lab) -> Queue:
    return Queue(sick)


def settings(queue: Queue, **given: Any) -> Settings:
    own = queue.lab.settings
    return replace(own, health=replace(own.health, **given))


def write(
    queue: Queue, where: str, data: bytes, *, mode: int = 0o700, age: float = 0.0, name: str = "5F5E1ABC0"
) -> Path:
    """A file in the spool as Postfix's own: it lies there under its queue ID."""
    folder = queue.place.spool / where
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = pwd.getpwnam("postfix").pw_uid
    for one in (folder, folder.parent):
        if one != queue.place.spool:
            os.chown(one, owner, -1)
    path = folder / name
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, data)
    os.fchown(descriptor, owner, -1)
    os.fchmod(descriptor, mode)
    os.close(descriptor)
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


@contextmanager
def file(queue: Queue, where: str, data: bytes, **given: Any) -> Iterator[Path]:
    path = write(queue, where, data, **given)
    yield path
    path.unlink(missing_ok=True)


def old_message(age: float) -> bytes:
    data, _ = queue_file(b"a@b.test", [(b"R", b"c@d.test")], arrival=int(time.time() - age))
    return data


@contextmanager
def waiting(queue: Queue, number: int) -> Iterator[list[str]]:
    """Messages that nobody takes."""
    made = [queue.submit(f"r{at}@elsewhere.test", wait=False) for at in range(number)]
    for one in made:
        until(lambda one=one: queue.where(one) == "deferred")  # type: ignore[misc]
    yield made
    queue.postsuper("-d", *made)


@contextmanager
def held(queue: Queue) -> Iterator[str]:
    with waiting(queue, 1) as (one,):
        queue.hold(one)
        yield one


@contextmanager
def corrupt(queue: Queue) -> Iterator[None]:
    """A file that the queue manager itself cannot read and puts aside."""
    data = old_message(60)
    write(queue, "incoming", data[: len(data) // 2], name="5F5E1ABD0")
    subprocess.run(["postqueue", "-c", str(queue.config), "-f"], check=True)
    until(lambda: queue.where("5F5E1ABD0") == "corrupt")
    yield
    (queue.place.spool / "corrupt" / "5F5E1ABD0").unlink()


def test_many_messages_wait(queue: Queue) -> None:
    few = settings(queue, queue_warning=2, queue_critical=50, queue_growth_warning=2)
    with (
        faulty(few, ["queue"], "queue-long", "size", waiting(queue, 3), severity=Severity.warning) as found,
    ):
        assert found.message == "3 messages wait"
        (measure,) = found.measures
        assert (measure.value, str(measure.warning), str(measure.critical)) == (3, "2", "50")


def test_the_queue_grows(queue: Queue) -> None:
    few = settings(queue, queue_growth_warning=1)
    fault = waiting(queue, 2)
    with faulty(few, ["queue"], "queue-growing", "growth", fault, severity=Severity.warning) as found:
        assert found.message == "+2 messages in 0 minutes"


def test_a_message_has_waited_for_days_and_says_why(queue: Queue) -> None:
    data, (offset,) = queue_file(b"a@b.test", [(b"R", b"c@d.test")], arrival=int(time.time() - 3 * DAY))
    log = log_entry("c@d.test", offset, "4.4.1", "connect to mx.d.test[192.0.2.1]:25: Connection refused")
    with (
        file(queue, "defer/5", log.encode(), mode=0o600),
        faulty(
            *(queue.lab.settings, ["queue"], "queue-old", "deferred"),
            file(queue, "deferred/5", data, age=-4000),
        ) as found,
    ):
        assert "3.0 days old (5F5E1ABC0): connect to mx.d.test[192.0.2.1]:25: Connection ref" in found.message
        assert found.remedy == "postmaster queue show 5F5E1ABC0"


def test_a_message_expires_within_a_day(queue: Queue) -> None:
    fault = file(queue, "deferred/5", old_message(4.5 * DAY), age=-4000)
    with faulty(
        *(queue.lab.settings, ["queue"], "queue-expiring", "expiring", fault),
        severity=Severity.warning,
        allowed=["queue/deferred/queue-old"],
    ) as found:
        assert found.message.startswith("1 messages are returned to their senders within a day, the first in")
        assert "12.0 h" in found.message or "11.9 h" in found.message


def test_a_message_was_held_and_forgotten(queue: Queue) -> None:
    soon = settings(queue, queue_hold_warning=1 / HOUR)
    with faulty(soon, ["queue"], "hold-forgotten", "hold", held(queue), severity=Severity.warning) as found:
        assert "queue=hold" in str(found.remedy)


def test_what_was_held_just_now_is_not_forgotten_however_old_it_is(queue: Queue) -> None:
    from postmaster.queue.survey import survey

    path = write(queue, "deferred/5", old_message(4 * DAY), age=-4000)
    queue.hold(path.name)
    try:
        found = survey(queue.lab.settings, now=int(time.time()), stale=HOUR).queue("-", "hold")
    finally:
        queue.postsuper("-d", path.name)
    assert found.since is not None
    assert found.since > time.time() - 60
    assert found.oldest is not None
    assert found.oldest < time.time() - 3 * DAY


def test_postfix_put_a_message_aside(queue: Queue) -> None:
    with faulty(
        *(queue.lab.settings, ["queue"], "queue-corrupt", "corrupt", corrupt(queue)),
        severity=Severity.warning,
    ) as found:
        assert "5F5E1ABD0" in found.message


CUT = old_message(60)[:200]


@pytest.mark.parametrize(
    ("code", "object", "fault"),
    [
        ("half-written", "half-written", lambda q: file(q, "incoming", CUT, mode=0o600, age=2 * HOUR)),
        ("half-written", "half-written", lambda q: file(q, "maildrop", CUT, mode=0o600, age=2 * HOUR)),
        ("queue-damaged", "damaged", lambda q: file(q, "deferred/5", old_message(60), mode=0o600, age=-4000)),
        ("orphan-logs", "logs", lambda q: file(q, "defer/5", b"\n", mode=0o600, age=2 * HOUR)),
        ("orphan-logs", "logs", lambda q: file(q, "bounce", b"\n", mode=0o600, age=2 * HOUR)),
    ],
    ids=["incoming", "maildrop", "damaged", "defer log", "bounce log"],
)
def test_a_file_is_left_over(
    queue: Queue, code: str, object: str, fault: Callable[[Queue], AbstractContextManager[Path]]
) -> None:
    own = queue.lab.settings
    with faulty(own, ["queue"], code, object, fault(queue), severity=Severity.warning) as found:
        assert "5F5E1ABC0" in found.message


def test_a_file_that_is_being_written_and_a_fresh_log_are_no_fault(queue: Queue) -> None:
    from postmaster.queue.survey import survey

    with file(queue, "incoming", CUT, mode=0o600), file(queue, "defer/5", b"\n", mode=0o600, name="5AAAA"):
        found = survey(queue.lab.settings, now=int(time.time()), stale=HOUR)
    assert found.counts == {}


_INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from postmaster.queue.message import Message, Recipient
from postmaster.queue.store import open_store
from postmaster.settings import load_settings
with open_store(load_settings(Path(sys.argv[1]), {}).state) as store:
    store.begin(verb="delete", command="test", who="test", reason=None, filter_text=None, options={},
                messages=[eval(sys.argv[2])])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def interrupted(queue: Queue) -> Iterator[None]:
    """A deletion that was killed before it touched its message."""
    with waiting(queue, 1) as (one,):
        argv = [sys.executable, "-c", _INTERRUPTED, str(queue.lab.status.settings_file)]
        killed = subprocess.run([*argv, repr(queue.message(one))], check=False, timeout=30)
        assert killed.returncode == -9
        yield
        (number,) = [done["number"] for done in queue_history(queue) if done["state"] == "interrupted"]
        queue.run("history", "release", str(number))


def queue_history(queue: Queue) -> list[dict[str, Any]]:
    import json

    found: list[dict[str, Any]] = json.loads(queue.run("history", "-o", "json").stdout)
    return found


def test_an_action_was_interrupted(queue: Queue) -> None:
    with faulty(
        *(queue.lab.settings, ["queue"], "action-unfinished", "actions", interrupted(queue)),
        severity=Severity.warning,
    ) as found:
        assert "postmaster queue history show" in str(found.remedy)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_hundred_thousand_messages_on_a_busy_machine(tmp_path: Path) -> None:
    """The deadline is kept, the messages are counted, and what there was no time for is said."""
    home = fill(make_home(tmp_path), 100_000)
    own = load_settings(home.settings_file, {})
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for deadline in (10.0, 3.0):
            begun = time.monotonic()
            found = run(replace(own, health=replace(own.health, deadline=deadline)), choose(["queue"], []))
            took = time.monotonic() - begun
            print(f"{deadline:g} s: {took:.2f} s; " + "; ".join(f"{f.object}: {f.message}" for f in found))
            assert took < deadline + 1
            told = {one.object: one for one in found}
            if not told["size"].message.endswith("not counted in time"):
                assert told["size"].message == "100000 messages wait"
                assert told["deferred"].message.startswith("100000 messages")
            is_whole = told["deferred"].code == "queue-old" and "oldest seen" not in told["deferred"].message
            assert is_whole or told["spool"].code == "queue-unread"
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    survey = b"postmaster.queue.survey"
    until(lambda: not any(survey in one for one in _command_lines()), 30)


def _command_lines() -> Iterator[bytes]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_bytes()
