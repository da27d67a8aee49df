"""A large deletion beside traffic, killed again and again: nothing is lost, and nothing else is touched."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from postmaster.lab import lifecycle
from tests.server.conftest import start_lab
from tests.tools.acting import Queue, configure, until
from tests.tools.killing import Helper, worker

MATCHED = "bad@shop.test"
BYSTANDER = "good@bystander.test"
_ID = re.compile(rb"Message-I[dD]: (<[^>]+>)")  # records of a queue file have no line ends


@pytest.fixture
def queue(place: Callable[[], Path]) -> Iterator[Queue]:
    lab = start_lab(place())
    configure(lab)
    yield Queue(lab)
    lifecycle.remove(lab.root)


class Traffic:
    """Others' mail that comes in all the while: every other message stays in the queue, the rest leaves."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._stop = threading.Event()
        self.stay: set[str] = set()
        self.left = 0
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        number = 0
        while not self._stop.is_set():
            with self._queue.lab.smtp() as client:
                for _ in range(50):
                    if self._stop.is_set():
                        break
                    where = ("stay@keep.test", "go@leave.test")[number % 2]
                    name = f"<{number}@bystander.test>"
                    text = f"Subject: bystander\r\nMessage-ID: {name}\r\n\r\nHello.\r\n"
                    client.sendmail(BYSTANDER, [where], text)
                    if number % 2:
                        self.left += 1
                    else:
                        self.stay.add(name)
                    number += 1
                    time.sleep(0.005)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def fill(queue: Queue, count: int) -> None:
    """Messages that are to be deleted."""
    subprocess.run(
        [
            "smtp-source",
            "-s",
            "8",
            "-m",
            str(count),
            "-f",
            MATCHED,
            "-t",
            "x@elsewhere.test",
            "-l",
            "600",
            f"127.0.0.1:{queue.lab.port('smtp')}",
        ],
        check=True,
        timeout=600,
    )


def in_queue(queue: Queue) -> dict[str, list[tuple[str, str]]]:
    """Sender -> (Message-ID, queue) of each file, by its own content."""
    found: dict[str, list[tuple[str, str]]] = {MATCHED: [], BYSTANDER: []}
    for where, path in queue.files():
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            name = _ID.search(data)
            sender = BYSTANDER if BYSTANDER.encode() in data else MATCHED
            if name is not None:
                found[sender].append((name[1].decode(), where))
    return found


def settled(queue: Queue) -> dict[str, list[tuple[str, str]]]:
    """The same once nothing moves: no file is seen twice or missed on its way from one queue to another."""

    def still() -> dict[str, list[tuple[str, str]]] | None:
        one = in_queue(queue)
        time.sleep(0.2)
        return one if sorted(one[MATCHED]) == sorted(in_queue(queue)[MATCHED]) else None

    return until(still, 60)


def in_trash(queue: Queue) -> set[str]:
    names = set()
    for file in (queue.lab.root / "state" / "trash").iterdir():
        found = _ID.search(file.read_bytes())
        if found is not None:  # a copy that was being made when it was killed
            names.add(found[1].decode())
    return names


def delete(queue: Queue, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "postmaster",
            "--config",
            str(queue.lab.status.settings_file),
            "queue",
            "delete",
            f"sender={MATCHED}",
            "--yes",
            "--max",
            "0",
            "-o",
            "json",
            "--why",
            "a stolen account",
        ],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_files(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(1 for entry in os.scandir(folder) if entry.is_file())
    return 0


def deletion_beside_traffic(queue: Queue, count: int) -> None:
    fill(queue, count)
    until(lambda: Counter(where for _, where in in_queue(queue)[MATCHED])["deferred"] == count, 300)
    wanted = {name for name, _ in in_queue(queue)[MATCHED]}
    assert len(wanted) == count
    trash, hold = queue.lab.root / "state" / "trash", queue.place.spool / "hold"
    kills = 0
    with Traffic(queue) as traffic:
        for tenth in range(1, 10):
            running = delete(queue, subprocess.DEVNULL)  # nobody reads what it prints while it runs
            # By turns: while copies are made, while some are held, and right after some were deleted.
            gone = count_files(trash)
            while running.poll() is None:
                copies = count_files(trash)
                if copies >= count * tenth / 10 and (
                    tenth % 3 == 0 or (tenth % 3 == 1 and count_files(hold)) or copies > gone + 1
                ):
                    running.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.001)
            running.communicate()
            kills += running.returncode == -signal.SIGKILL
            there = settled(queue)
            names = [name for name, _ in there[MATCHED]]
            assert len(names) == len(set(names))
            assert set(names) | in_trash(queue) == wanted, "lost"
            assert not [name for name, where in there[BYSTANDER] if where == "hold"]
            told = queue.run("history", "-o", "json")
            if [where for _, where in there[MATCHED] if where == "hold"]:
                assert "was interrupted" in told.stderr
                assert any(
                    one["state"] == "interrupted" and one["unfinished"] for one in json.loads(told.stdout)
                )
        last = delete(queue)
        out, err = last.communicate(timeout=110)
    assert kills >= 5, "most of the kills must have met it at work"
    there = settled(queue)
    if last.returncode == 0:
        left = json.loads(out)
        assert left["counts"] == {"deleted": left["plan"]["messages"]}
    else:  # the last kill came after the last message
        assert "no message matches" in err
    assert there[MATCHED] == []
    assert in_trash(queue) == wanted
    assert {copy["sender"] for copy in queue.trash()} == {MATCHED}
    assert len(queue.trash()) == count
    # Each message was deleted once, by the record too, and every action is closed.
    told = json.loads(queue.run("history", "--limit", "0", "-o", "json").stdout)
    assert {one["state"] for one in told} == {"finished"}
    with closing(sqlite3.connect(queue.lab.root / "state" / "queue.db")) as connection:
        (deleted,) = connection.execute(
            "SELECT count(*) FROM item WHERE outcome = 'deleted'"
            " AND coalesce(detail, '') NOT LIKE 'by action%'"
        ).fetchone()
    assert deleted == count
    # The bystanders: who stays is there, whole; who leaves was delivered.
    until(
        lambda: {name for name, where in in_queue(queue)[BYSTANDER] if where == "deferred"} == traffic.stay,
        60,
    )
    until(lambda: queue.lab.log().count("to=<go@leave.test>, relay=none") == traffic.left, 60)
    assert len(traffic.stay) > 20


def test_a_deletion_killed_again_and_again_loses_nothing_and_touches_nothing_else(queue: Queue) -> None:
    deletion_beside_traffic(queue, 400)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_ten_thousand_messages_are_deleted_beside_traffic_and_kills(queue: Queue) -> None:
    deletion_beside_traffic(queue, 10_000)


def test_an_interrupted_hold_is_finished_or_put_back(queue: Queue) -> None:
    fill(queue, 400)
    until(lambda: Counter(where for _, where in in_queue(queue)[MATCHED])["deferred"] == 400, 120)
    was_held = queue.messages()[0].queue_id
    queue.hold(was_held)
    for word in ("finish", "release"):
        running = delete(queue, subprocess.DEVNULL)
        while running.poll() is None and count_files(queue.place.spool / "hold") < 20:
            time.sleep(0.001)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        settled(queue)
        number = json.loads(queue.run("history", "-o", "json").stdout)[0]["number"]
        assert f"history {word} {number}" in queue.run("history").stderr
        if word == "release":
            queue.run("history", "release", str(number))
            where = {one.queue_id: one.queue_name for one in queue.messages()}
            assert "hold" not in {where for one, where in where.items() if one != was_held}
        else:
            told = json.loads(queue.run("history", "finish", str(number), "--yes", "-o", "json").stdout)
            assert set(told["counts"]) == {"deleted"}
            assert queue.messages() == []
            fill(queue, 400)
            until(lambda: Counter(where for _, where in in_queue(queue)[MATCHED])["deferred"] == 400, 120)
            was_held = queue.messages()[0].queue_id
            queue.hold(was_held)
        assert "was interrupted" not in queue.run("history").stderr
    assert queue.where(was_held) in ("hold", None)
    assert queue.run("history", "release", "1", expect=2).stdout == ""


def test_from_the_keyboard_it_puts_back_what_it_holds(queue: Queue) -> None:
    fill(queue, 400)
    until(lambda: Counter(where for _, where in in_queue(queue)[MATCHED])["deferred"] == 400, 120)
    running = delete(queue, subprocess.DEVNULL)
    while running.poll() is None and count_files(queue.place.spool / "hold") < 20:
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130, err
    there = dict(settled(queue)[MATCHED])
    assert set(there.values()) <= {"deferred"}
    assert len(there) + len(queue.trash()) == 400
    told = queue.run("history", "-o", "json")
    assert "was interrupted" not in told.stderr
    expected = {"left": len(there), "deleted": len(queue.trash())}
    assert json.loads(told.stdout)[0]["outcomes"] == {name: n for name, n in expected.items() if n}


class OneMessage:
    """One message, and commands that are killed at their n-th write."""

    def __init__(self, queue: Queue, killer: Helper) -> None:
        self.queue = queue
        self._killer = killer
        self.id = queue.submit("a@elsewhere.test")

    def is_killed(self, n: int, *words: str) -> bool:
        status = self._killer.ask(json.dumps({"n": n, "command": ["queue", *words]}) + "\n")
        return bool(status == -signal.SIGKILL)

    def to(self, recipient: str) -> list[str]:
        """IDs of the messages to a recipient that are in the queue."""
        found = [m for m in self.queue.messages() if m.recipients and m.queue_name != "maildrop"]
        return [m.queue_id for m in found if m.recipients[0].address == recipient]

    def copies(self) -> tuple[int, int]:
        """(messages in the queue, copies that can be restored)."""
        return len(self.to("a@elsewhere.test")), len(self.queue.trash())

    def restore(self) -> None:
        """Out of the trash if it is there, and until it rests in deferred."""
        for copy in self.queue.trash():
            self.queue.run("trash", "restore", str(copy["number"]))
        until(lambda: [self.queue.where(one) for one in self.to("a@elsewhere.test")] == ["deferred"])
        (self.id,) = self.to("a@elsewhere.test")


def delete_is_killed(one: OneMessage, n: int) -> bool:
    killed = one.is_killed(n, "delete", one.id, "--yes")
    one.queue.run("history")  # settles what was done and not written down
    assert sum(one.copies()) == 1, n
    if one.copies()[0]:
        one.queue.act("delete", one.id)
        assert one.copies() == (0, 1), n
    one.restore()
    return killed


def restore_is_killed(one: OneMessage, n: int) -> bool:
    one.queue.act("delete", one.id)
    killed = one.is_killed(n, "trash", "restore", one.id)
    # (1, 1): brought back, not written down yet. On its way through the queues it may be seen in two of them.
    until(lambda: one.copies() in ((1, 0), (0, 1), (1, 1)))
    one.restore()
    assert one.copies() == (1, 0), n
    return killed


def redirect_is_killed(one: OneMessage, n: int) -> bool:
    killed = one.is_killed(n, "redirect", one.id, "new@elsewhere.test", "--yes")
    actions = json.loads(one.queue.run("history", "-o", "json").stdout)
    new, old = one.to("new@elsewhere.test"), one.to("a@elsewhere.test")
    assert old or (new and one.queue.trash()), n
    if new and old:  # sent on and not deleted: then it is told, and cannot be delivered meanwhile
        assert actions[0]["state"] == "interrupted", n
        assert one.queue.where(one.id) == "hold", n
    for action in actions:
        if action["state"] == "interrupted":
            one.queue.run("history", "finish", str(action["number"]), "--yes", expect=None)
    until(lambda: not os.listdir(one.queue.place.spool / "maildrop"))
    assert len(one.to("new@elsewhere.test")) <= 1, n
    one.queue.empty()
    one.id = one.queue.submit("a@elsewhere.test")
    return killed


COMMANDS = {"delete": delete_is_killed, "restore": restore_is_killed, "redirect": redirect_is_killed}


@pytest.fixture(scope="module")
def own(place: Callable[[], Path]) -> Iterator[Queue]:
    """A lab whose queue each test leaves empty."""
    lab = start_lab(place())
    configure(lab)
    yield Queue(lab)
    lifecycle.remove(lab.root)


@pytest.fixture
def one(own: Queue, shim: Path) -> Iterator[OneMessage]:
    killer = worker(own.lab.status.settings_file, shim)
    yield OneMessage(own, killer)
    killer.end()
    own.empty()


def killed_at_writes(one: OneMessage, what: str, step: int) -> None:
    n, kills = 1, 0
    while COMMANDS[what](one, n):
        kills += 1
        n += step
    assert kills * step > 20


@pytest.mark.parametrize("what", COMMANDS)
def test_killed_at_a_write_a_message_is_neither_lost_nor_twice(one: OneMessage, what: str) -> None:
    killed_at_writes(one, what, 11)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("what", COMMANDS)
def test_killed_at_any_write_a_message_is_neither_lost_nor_twice(one: OneMessage, what: str) -> None:
    killed_at_writes(one, what, 1)
