"""Acting on the queue of a real Postfix: effects, races, the trash, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postmaster.errors import RightsError
from postmaster.lab import lifecycle
from postmaster.postfix import control, postconf, spool
from postmaster.postfix.instances import NAMELESS, instances
from postmaster.postfix.place import locate, paths
from postmaster.queue import act as acting
from postmaster.queue.action import Options, Result, Verb
from postmaster.queue.fate import Watch
from postmaster.queue.message import Message, Recipient
from postmaster.queue.store import Item, open_store
from tests.server.conftest import start_lab
from tests.tools import as_user
from tests.tools.acting import INSIDE, STRANGER, Queue, configure, until
from tests.tools.sink import Sink, listening


@pytest.fixture(scope="module")
def own(place: Callable[[], Path]) -> Iterator[Queue]:
    """A lab whose queue is these tests' alone: who discards, who keeps trying, and no back-off."""
    lab = start_lab(place())
    configure(lab)
    yield Queue(lab)
    lifecycle.remove(lab.root)


@pytest.fixture
def queue(own: Queue) -> Iterator[Queue]:
    yield own
    own.empty()


@pytest.fixture
def elsewhere(own: Queue) -> Iterator[Sink]:
    with listening(own.lab.status.outbound_port) as sink:
        yield sink


def outcomes(told: dict[str, Any]) -> dict[str, str]:
    return {one["queue_id"]: one["outcome"] for one in told["messages"]}


# Effects


def test_hold_and_release_move_messages_and_keep_their_next_retry(queue: Queue) -> None:
    one, other = queue.submit("a@elsewhere.test"), queue.submit("b@elsewhere.test")
    retry = queue.status(one).st_mtime
    told = queue.act("hold", one, other, "--why", "to look at them")
    assert told["counts"] == {"held": 2}
    assert queue.where(one) == queue.where(other) == "hold"
    assert queue.act("hold", one)["messages"][0]["detail"] == "it was on hold already"
    assert queue.act("release", one)["counts"] == {"released": 1}
    assert (queue.where(one), queue.where(other)) == ("deferred", "hold")
    assert queue.status(one).st_mtime == retry
    left = queue.act("release", one, other, expect=3)
    assert outcomes(left) == {one: "left", other: "released"}


def test_requeue_brings_a_message_in_again_under_a_new_id(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test")
    assert queue.act("requeue", one)["counts"] == {"requeued": 1}
    assert queue.where(one) in (None, "maildrop")
    queue.submit("wake@elsewhere.test")  # pickup is woken by what comes in
    until(
        lambda: any(
            m.recipients[0].address == "a@elsewhere.test" and m.queue_name == "deferred"
            for m in queue.messages()
            if m.recipients
        )
    )
    until(lambda: f"orig_id={one}" in queue.lab.log())


def test_what_is_gone_is_told_apart_from_what_was_done(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test")
    told = queue.act("delete", one, "ABCDEF1234", expect=3)
    assert told["counts"] == {"deleted": 1, "absent": 1}
    assert told["absent"] == ["ABCDEF1234"]
    refused = queue.act("delete", one, expect=1)
    assert refused["error"]["code"] == "not_found"
    two = queue.submit("b@elsewhere.test")
    refused = queue.act("delete", two, "--sender", "nobody@inside.test", expect=1)
    assert refused["error"]["message"] == "no message matches"
    assert queue.where(two) == "deferred"


def test_nothing_is_done_without_ids_a_filter_or_all_nor_to_more_than_was_said(queue: Queue) -> None:
    ids = [queue.submit(f"r{n}@elsewhere.test") for n in range(3)]
    for verb in ("flush", "hold", "release", "requeue", "bounce", "delete"):
        assert queue.run(verb, "--yes", expect=2).stdout == ""
        assert queue.run(verb, ids[0], "--all", "--yes", expect=2).stdout == ""
    assert "add --yes" in queue.run("delete", *ids, expect=2).stderr
    refused = queue.run("delete", *ids, "--max", "2", "--yes", expect=2)
    assert "3 messages match" in refused.stderr
    plan = json.loads(queue.run("delete", *ids, "--dry-run", "-o", "json").stdout)
    assert plan["plan"]["messages"] == 3
    assert plan["plan"]["senders"] == [{"sender": "amy@inside.test", "messages": 3}]
    assert plan["plan"]["destinations"] == [{"domain": "elsewhere.test", "messages": 3}]
    assert all(queue.where(one) == "deferred" for one in ids)
    told = queue.act("delete", "--all")
    assert told["counts"] == {"deleted": 3}
    assert all(queue.where(one) is None for one in ids)


def test_what_is_corrupt_can_be_deleted_and_its_copy_is_kept(queue: Queue) -> None:
    """As the queue manager puts it there (`qmgr_active_corrupt`): moved, as it is."""
    one, other = queue.submit("a@elsewhere.test"), queue.submit("b@elsewhere.test")
    for queue_id, size in ((one, None), (other, 300)):
        (path,) = (path for _, path in queue.files() if path.name == queue_id)
        content = path.read_bytes()[:size]
        target = queue.place.spool / "corrupt" / queue_id
        path.rename(target)
        target.write_bytes(content)
    before = {path.name: path.read_bytes() for name, path in queue.files() if name == "corrupt"}
    assert set(before) == {one, other}
    listed = json.loads(queue.run("list", "--queue", "corrupt", "-o", "json").stdout)
    assert {row["queue_id"]: bool(row["damage"]) for row in listed} == {one: True, other: True}
    assert outcomes(queue.act("delete", one)) == {one: "deleted"}
    assert queue.act("delete", "queue=corrupt", "--now")["counts"] == {"deleted": 1}
    assert not [path for name, path in queue.files() if name == "corrupt"]
    (copy,) = queue.trash()
    assert copy["queue_id"] == one
    refused = queue.act("trash", "restore", one, expect=None)
    assert "it was corrupt" in json.dumps(refused)
    kept = [path for path in Path(queue.lab.root).rglob("*") if path.is_file() and path.name != "mail.log"]
    assert any(path.read_bytes() == before[one] for path in kept if path.stat().st_size == len(before[one]))


# The trash


def content_of(queue: Queue, queue_id: str) -> bytes:
    done = subprocess.run(
        ["postcat", "-c", str(queue.config), "-bhq", queue_id], capture_output=True, check=True, timeout=30
    )
    return done.stdout


BODIES = {
    "plain": b"Hello.\n",
    "dots": b".\n..\n.hidden\nFrom here\n\n\n.\n",
    "eight-bit": "Grüße, 你好\n".encode() + b"\xff\xfe raw\n",
    "long": b"x" * 900 + b"\n" + b"y" * 5000 + b"\nend without a line end",
    "large": b"0123456789abcdef\n" * 40_000,
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_deleted_message_is_restored_and_delivered_as_it_was(queue: Queue, kind: str) -> None:
    name = f"{kind}-r"
    quoted = f'"{kind} quoted"@elsewhere.test'
    sender = "" if kind == "dots" else "amy+tag@inside.test"
    one = queue.submit(f"{name}@elsewhere.test", quoted, sender=sender, body=BODIES[kind])
    content = content_of(queue, one)
    assert queue.act("delete", one)["counts"] == {"deleted": 1}
    assert queue.where(one) is None
    (copy,) = queue.trash()
    assert copy["queue_id"] == one
    assert set(copy["recipients"]) == {f"{name}@elsewhere.test", quoted}
    file = next((queue.lab.root / "state" / "trash").iterdir())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with listening(queue.lab.status.outbound_port) as sink:
        told = json.loads(queue.run("trash", "restore", one, "-o", "json").stdout)
        new = told["restored"][0]["new_id"]
        got = sink.wait_for(f"{name}@elsewhere.test")
        until(lambda: queue.where(new) is None)
    assert got.sender == sender
    assert set(got.recipients) == {f"{name}@elsewhere.test", quoted}
    sent = b"".join(
        (b"." + line if line.startswith(b".") else line) for line in content.splitlines(keepends=True)
    )
    sent = sent if sent.endswith(b"\n") else sent + b"\n"
    if kind == "long":  # smtp_line_length_limit breaks long lines, in each delivery alike
        assert got.content.replace(b"\r\n ", b"").replace(b"\r\n", b"\n") == sent
    else:
        assert got.content.replace(b"\r\n", b"\n") == sent
    assert len(sink.messages) == 1
    assert queue.trash() == []
    assert queue.run("trash", "restore", one, expect=1).stdout == ""


def test_a_restored_message_goes_only_to_who_had_not_got_it(queue: Queue) -> None:
    with listening(queue.lab.status.outbound_port) as sink:
        one = queue.submit("done@elsewhere.test", "later@elsewhere.test")
        assert sink.count("done@elsewhere.test") == 1
        queue.act("delete", one)
        assert queue.trash()[0]["recipients"] == ["later@elsewhere.test"]
        queue.run("trash", "restore", one)
        until(lambda: any(m.queue_name == "deferred" for m in queue.messages()))
        assert [m.recipients for m in queue.messages()] == [[Recipient("later@elsewhere.test")]]
        assert sink.count("done@elsewhere.test") == 1


def test_a_restored_message_outlives_a_restart_of_postfix_under_its_id(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test")
    queue.act("delete", one)
    new = json.loads(queue.run("trash", "restore", one, "-o", "json").stdout)["restored"][0]["new_id"]
    until(lambda: queue.where(new) == "deferred")
    queue.hold(new)
    done = subprocess.run(["postsuper", "-c", str(queue.config)], capture_output=True, check=True, timeout=60)
    assert b"Renamed" not in done.stderr
    assert queue.where(new) == "hold"


def test_restoring_warns_when_the_lifetime_is_over(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test")
    queue.act("delete", one)
    with queue.at_hand() as (store, _):
        connection = store._connection
        connection.execute("UPDATE copy SET arrival_time = arrival_time - 6 * 86400")
    told = queue.run("trash", "restore", one, "-o", "json")
    assert json.loads(told.stdout)["restored"][0]["outlived"] is True
    assert "outlived" in told.stderr


def test_the_trash_is_emptied_when_the_grace_is_over_and_by_hand(queue: Queue) -> None:
    one, other = queue.submit("a@elsewhere.test"), queue.submit("b@elsewhere.test")
    queue.act("delete", one, other)
    with queue.at_hand() as (store, _):
        store._connection.execute("UPDATE copy SET since = since - 8 * 86400 WHERE queue_id = ?", (one,))
    assert [copy["queue_id"] for copy in queue.trash()] == [other]
    assert len(list((queue.lab.root / "state" / "trash").iterdir())) == 1
    queue.run("trash", "purge", "--all", expect=2)
    assert json.loads(queue.run("trash", "purge", "--all", "--yes", "-o", "json").stdout) == {"purged": 1}
    assert list((queue.lab.root / "state" / "trash").iterdir()) == []


def test_now_keeps_no_copy_and_too_little_room_refuses(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    one = queue.submit("a@elsewhere.test")
    monkeypatch.setenv("POSTMASTER_QUEUE_TRASH_FREE_SPACE", str(1 << 30))
    refused = queue.act("delete", one, expect=1)
    assert refused["error"]["code"] == "space"
    assert "--now" in refused["error"]["hint"]
    assert queue.where(one) == "deferred"
    assert queue.act("delete", one, "--now")["counts"] == {"deleted": 1}
    assert queue.trash() == []


# Races


def test_a_message_delivered_between_listing_and_acting_is_told_as_delivered(queue: Queue) -> None:
    one, other = queue.submit("a@elsewhere.test"), queue.submit("b@elsewhere.test")
    listed = [queue.message(one), queue.message(other)]
    came: list[int] = []

    def deliver() -> None:
        with listening(queue.lab.status.outbound_port) as sink:
            queue.try_now(one)
            until(lambda: queue.where(one) is None)
            came.append(sink.count("a@elsewhere.test"))

    result = queue.perform(Verb.delete, listed, deliver)
    told = {done.message.queue_id: done.outcome for done in result.done}
    assert told == {one: "delivered", other: "deleted"}
    assert came == [1]
    assert [copy["queue_id"] for copy in queue.trash()] == [other]


@pytest.mark.parametrize("verb", [Verb.hold, Verb.delete, Verb.requeue, Verb.bounce, Verb.redirect])
def test_a_message_held_during_its_delivery_is_delivered_once_and_told_so(
    queue: Queue, elsewhere: Sink, verb: Verb
) -> None:
    where = f"slow-{verb}@elsewhere.test"
    one = queue.submit(where, wait=False)
    assert elsewhere.stalled.wait(20)
    listed = [queue.message(one)]
    told: list[Result] = []
    worker = threading.Thread(
        target=lambda: told.append(queue.perform(verb, listed, address="x@elsewhere.test"))
    )
    worker.start()
    until(lambda: queue.where(one) == "hold")
    time.sleep(0.5)
    assert not told, "it must wait for the delivery to end"
    elsewhere.go.set()
    worker.join(30)
    (done,) = told[0].done
    assert (done.outcome, done.message.queue_id) == ("delivered", one)
    assert elsewhere.count(where) == 1
    until(lambda: queue.where(one) is None)
    assert queue.trash() == []
    time.sleep(0.5)
    assert [message.recipients for message in elsewhere.messages] == [(where,)]


def test_a_delivery_that_does_not_end_in_time_goes_on_and_is_told_as_busy(
    queue: Queue, elsewhere: Sink
) -> None:
    one = queue.submit("slow-busy@elsewhere.test", wait=False)
    assert elsewhere.stalled.wait(20)
    result = queue.perform(Verb.delete, [queue.message(one)], lock_wait=0.5)
    assert [done.outcome for done in result.done] == ["busy"]
    assert queue.where(one) in ("deferred", "active")
    elsewhere.go.set()
    until(lambda: elsewhere.messages)
    queue.try_now(one)
    until(lambda: queue.where(one) is None)
    assert elsewhere.count("slow-busy@elsewhere.test") == 1


def test_a_message_that_lost_recipients_is_acted_on_only_if_the_filter_still_means_it(
    queue: Queue, elsewhere: Sink
) -> None:
    ids = {}
    for name in ("keep", "drop"):
        ids[name] = queue.submit(f"slow-{name}@elsewhere.test", f"later-{name}@other.test", wait=False)
        assert elsewhere.stalled.wait(20)
        elsewhere.stalled.clear()
    listed = {name: queue.message(one) for name, one in ids.items()}
    assert all(len(one.recipients) == 2 for one in listed.values())
    told: dict[str, Result] = {}

    def still(name: str) -> Callable[[Message], bool]:
        wanted = {"keep": "slow-keep@elsewhere.test", "drop": "later-drop@other.test"}[name]
        return lambda message: any(one.address == wanted for one in message.recipients)

    def work(name: str) -> None:
        told[name] = queue.perform(Verb.delete, [listed[name]], still=still(name))

    workers = [threading.Thread(target=work, args=(name,)) for name in ids]
    for worker in workers:
        worker.start()
    until(lambda: all(queue.where(one) == "hold" for one in ids.values()))
    elsewhere.go.set()
    for worker in workers:
        worker.join(30)
    assert [done.outcome for done in told["keep"].done] == ["changed"]
    assert [done.outcome for done in told["drop"].done] == ["deleted"]
    assert "1 of its recipients" in str(told["drop"].done[0].detail)
    assert queue.where(ids["keep"]) in ("deferred", "active")
    assert queue.where(ids["drop"]) is None
    assert [copy["recipients"] for copy in queue.trash()] == [["later-drop@other.test"]]


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("queue_name", ["deferred", "hold"])
def test_another_message_under_a_used_id_is_left_where_it_was(
    queue: Queue, verb: Verb, queue_name: str
) -> None:
    one = queue.submit("a@elsewhere.test")
    if queue_name == "hold":
        queue.hold(one)
    now, retry = queue.message(one), queue.status(one).st_mtime
    for before in (
        replace(now, arrival_time=now.arrival_time - 1),
        replace(now, sender="bob@inside.test"),
        replace(now, message_size=now.message_size + 1),
        replace(now, recipients=[Recipient("b@elsewhere.test")]),
    ):
        result = queue.perform(verb, [before], address="x@elsewhere.test")
        expected = "left" if verb is Verb.release and queue_name == "deferred" else "changed"
        assert [done.outcome for done in result.done] == [expected], before
        assert queue.where(one) == queue_name
        assert queue.status(one).st_mtime == retry
        assert queue.status(one).st_mode & 0o777 == 0o700
    assert queue.trash() == []


def test_a_used_id_twice_in_one_plan_touches_only_the_right_message(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test")
    now = queue.message(one)
    old = replace(now, arrival_time=now.arrival_time - 100)
    result = queue.perform(Verb.delete, [old, now])
    assert [done.outcome for done in result.done] == ["changed", "deleted"]
    assert queue.where(one) is None


def test_two_actions_at_once_do_each_message_once(queue: Queue) -> None:
    ids = [queue.submit(f"r{n}@elsewhere.test") for n in range(6)]
    listed = [queue.message(one) for one in ids]
    told: list[Result] = []
    workers = [
        threading.Thread(target=lambda: told.append(queue.perform(Verb.delete, listed, lock_wait=5)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    done = sorted(one.message.queue_id for result in told for one in result.done if one.outcome == "deleted")
    assert done == sorted(ids)
    assert sorted(copy["queue_id"] for copy in queue.trash()) == sorted(ids)


# maildrop, bounce, redirect


@pytest.fixture
def no_pickup(queue: Queue) -> Iterator[Queue]:
    """A queue whose maildrop nobody empties."""
    master = queue.config / "master.cf"
    before = master.read_text()
    master.write_text("\n".join(line for line in before.splitlines() if not line.startswith("pickup")) + "\n")
    reload = ["postfix", "-c", str(queue.config), "reload"]
    subprocess.run(reload, check=True, capture_output=True, timeout=30)
    time.sleep(1)
    yield queue
    master.write_text(before)
    subprocess.run(reload, check=True, capture_output=True, timeout=30)


def test_what_is_in_maildrop_can_be_deleted_and_restored(no_pickup: Queue) -> None:
    queue = no_pickup
    for name in ("stay", "go"):
        subprocess.run(
            ["sendmail", "-C", str(queue.config), "-f", "amy@inside.test", "--", f"{name}@elsewhere.test"],
            input=b"Subject: in maildrop\n\nHello.\n",
            check=True,
            timeout=30,
        )
    there = {m.recipients[0].address: m.queue_id for m in queue.messages() if m.queue_name == "maildrop"}
    one = there["go@elsewhere.test"]
    before = Path(str(queue.place.spool), "maildrop", one).read_bytes()
    owner = queue.status(one).st_uid
    assert outcomes(queue.act("hold", one, expect=1)) == {one: "left"}
    assert queue.where(one) == "maildrop"
    assert queue.act("delete", "recipient=go@elsewhere.test and queue=maildrop")["counts"] == {"deleted": 1}
    assert queue.where(one) is None
    assert queue.where(there["stay@elsewhere.test"]) == "maildrop"
    new = json.loads(queue.run("trash", "restore", one, "-o", "json").stdout)["restored"][0]["new_id"]
    found = locate(queue.place, new)
    assert found is not None
    assert found[0] == "maildrop"
    assert Path(found[1]).read_bytes() == before
    assert found[2].st_uid == owner
    Path(found[1]).unlink()
    queue.act("delete", there["stay@elsewhere.test"], "--now")


def test_what_pickup_has_open_is_not_told_as_deleted(no_pickup: Queue, tmp_path: Path) -> None:
    """Pickup holds a file for milliseconds, so a process of its name in its folder holds one for longer."""
    queue = no_pickup
    subprocess.run(
        ["sendmail", "-C", str(queue.config), "-f", "amy@inside.test", "--", "go@elsewhere.test"],
        input=b"Subject: in maildrop\n\nHello.\n",
        check=True,
        timeout=30,
    )
    (one,) = [m for m in queue.messages() if m.queue_name == "maildrop"]
    pickup = tmp_path / "pickup"
    pickup.symlink_to("/bin/sleep")
    with (queue.place.spool / "maildrop" / one.queue_id).open() as file:
        process = subprocess.Popen([pickup, "2"], cwd=queue.place.spool, stdin=file)
    until(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == "pickup")
    result = queue.perform(Verb.delete, [one])
    process.wait(30)
    assert [(done.outcome, done.detail) for done in result.done] == [
        ("changed", "it was just taken into the queue, under a new ID")
    ]
    assert queue.trash() == []


def test_a_bounce_is_followed_until_the_notification_is_on_its_way(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test", sender="amy@inside.test")
    queue.hold(one)
    (told,) = queue.act("bounce", one)["messages"]
    assert told["outcome"] == "bounced"
    notice = told["detail"].rpartition(" ")[2]
    found = queue.message(notice)
    assert (found.sender, found.recipients[0].address) == ("", "amy@inside.test")
    assert queue.where(one) is None
    two = queue.submit("b@elsewhere.test")
    assert outcomes(queue.act("expire", two)) == {two: "bounced"}


def test_mail_from_strangers_is_not_returned_by_accident(queue: Queue) -> None:
    queue.receive("victim@elsewhere.test", source=STRANGER)
    queue.receive("friend@elsewhere.test", source=INSIDE)
    until(lambda: [m.queue_name for m in queue.messages()] == ["deferred"] * 2)
    ids = {m.recipients[0].address: m.queue_id for m in queue.messages()}
    stranger, friend = ids["victim@elsewhere.test"], ids["friend@elsewhere.test"]
    refused = queue.act("bounce", stranger, friend, expect=2)
    assert stranger in refused["error"]["message"]
    assert friend not in refused["error"]["message"]
    assert "delete" in refused["error"]["hint"]
    assert queue.where(stranger) == queue.where(friend) == "deferred"
    assert outcomes(queue.act("bounce", friend)) == {friend: "bounced"}
    assert outcomes(queue.act("bounce", stranger, "--bounce-outsiders")) == {stranger: "bounced"}


@pytest.mark.parametrize("sender", ["amy@inside.test", "", '"amy ash"@inside.test', "-x@inside.test"])
def test_redirected_mail_goes_to_the_new_address_alone_with_its_sender(queue: Queue, sender: str) -> None:
    with listening(queue.lab.status.outbound_port) as sink:
        one = queue.submit("later@elsewhere.test", "done@elsewhere.test", sender=sender, body=BODIES["dots"])
        content = content_of(queue, one)
        told = queue.act("redirect", one, "new@elsewhere.test")
        assert told["counts"] == {"redirected": 1}
        got = sink.wait_for("new@elsewhere.test")
        assert queue.where(one) is None
        assert (got.sender, got.recipients) == (sender, ("new@elsewhere.test",))
        assert sink.count("done@elsewhere.test") == 1
        assert sink.count("later@elsewhere.test") == 0
    sent = b"".join(b"." + li if li.startswith(b".") else li for li in content.splitlines(keepends=True))
    assert got.content.replace(b"\r\n", b"\n").endswith(sent)
    added = got.content.replace(b"\r\n", b"\n").removesuffix(sent)
    assert added.startswith(b"Received:")
    assert added.count(b"Received:") == 1
    (copy,) = queue.trash()
    assert copy["recipients"] == ["later@elsewhere.test"]


def test_redirected_mail_with_addresses_beyond_ascii_stays_what_it_is(queue: Queue) -> None:
    sender, body = "grüße@inside.test", BODIES["eight-bit"]
    postconf.set_values(queue.config, {"smtputf8_enable": "yes"})
    reload = ["postfix", "-c", str(queue.config), "reload"]
    subprocess.run(reload, check=True, capture_output=True, timeout=30)
    with listening(queue.lab.status.outbound_port, smtputf8=True) as sink:
        one = queue.submit("later-я@elsewhere.test", sender=sender, body=body)
        assert queue.act("redirect", one, "new@elsewhere.test")["counts"] == {"redirected": 1}
        got = sink.wait_for("new@elsewhere.test")
    assert got.sender == sender
    assert body in got.content.replace(b"\r\n", b"\n")
    two = queue.submit("later@elsewhere.test", sender=sender, body=body)
    refused = queue.act("redirect", two, "neu-ü@elsewhere.test", expect=2)
    assert refused["error"]["code"] == "invalid_address"
    assert queue.where(two) == "deferred"


def test_mail_whose_sender_is_no_text_is_not_redirected(queue: Queue) -> None:
    one = queue.submit("later@elsewhere.test", sender="caf\udce9@inside.test")
    told = queue.act("redirect", one, "new@elsewhere.test", expect=1)
    assert outcomes(told) == {one: "failed"}
    assert "may not be all text" in told["messages"][0]["detail"]
    assert queue.where(one) == "deferred"
    assert queue.trash() == []


def test_a_redirect_that_postfix_refuses_puts_the_message_back(queue: Queue) -> None:
    one = queue.submit("a@elsewhere.test", body="x" * 20000 + "\n")
    postconf.set_values(queue.config, {"message_size_limit": "10000"})
    try:
        told = queue.act("redirect", one, "new@elsewhere.test", expect=1)
    finally:
        postconf.set_values(queue.config, {"message_size_limit": "10240000"})
    assert outcomes(told) == {one: "failed"}
    assert queue.where(one) == "deferred"
    assert queue.trash() == []


# Flushing


def test_a_flush_tells_what_became_of_each(queue: Queue) -> None:
    ids = {name: queue.submit(f"{name}@elsewhere.test") for name in ("fine", "later", "refused", "held")}
    queue.hold(ids["held"])
    with listening(queue.lab.status.outbound_port):
        told = queue.act("flush", *ids.values(), expect=3)
    assert outcomes(told) == {
        ids["fine"]: "sent",
        ids["later"]: "deferred",
        ids["refused"]: "returned",
        ids["held"]: "left",
    }
    details = {one["queue_id"]: one["detail"] for one in told["messages"]}
    assert "451 4.2.0 come back later" in details[ids["later"]]
    assert "550 5.1.1" in details[ids["refused"]]
    assert queue.where(ids["later"]) == "deferred"


def test_a_paced_flush_keeps_its_pace_and_stops_when_the_other_side_says_so(queue: Queue) -> None:
    good = [queue.submit(f"fine{n}@elsewhere.test", sender="one@inside.test") for n in range(4)]
    with listening(queue.lab.status.outbound_port) as sink:
        begun = time.monotonic()
        told = queue.act("flush", "sender=one@inside.test", "--pace", "2/s")
        assert set(outcomes(told).values()) == {"sent"}
        assert len(told["messages"]) == len(good)
        assert time.monotonic() - begun >= 1.5
        assert len(sink.messages) == 4
    names = ["fine", "busy", "late1", "late2", "late3"]
    ids = [queue.submit(f"{name}@elsewhere.test") for name in names]
    with listening(queue.lab.status.outbound_port) as sink:
        done = queue.run("flush", *ids, "--pace", "1/s", "--yes", "-o", "json", "--wait", "5", expect=3)
        found = outcomes(json.loads(done.stdout))
        assert "slow down" in done.stderr
        assert "bounds only" in done.stderr or "bounds what this command triggers" in done.stderr
    stopped = [one for one in ids if found[one] == "not tried"]
    assert ids[0] not in stopped
    assert ids[-1] in stopped
    assert all(queue.where(one) == "deferred" for one in stopped)


def test_a_flush_that_the_keyboard_ends_tells_what_it_did(queue: Queue) -> None:
    ids = [queue.submit(f"{name}@elsewhere.test") for name in ("fine", "never1", "never2")]
    from postmaster.queue import pace

    def interrupt(_settled: int) -> None:
        raise KeyboardInterrupt

    with listening(queue.lab.status.outbound_port) as sink, Watch(queue.places, []) as watch:
        messages = [queue.message(one) for one in ids]
        told = pace.flush(messages, pace.FlushOptions(interval=60), queue.places, watch, interrupt)
        assert told.is_interrupted
        assert [one.outcome for one in told.done] == ["sent", "not tried", "not tried"]
        assert len(sink.messages) == 1


def test_a_flush_without_a_log_looks_at_the_queue(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {name: queue.submit(f"{name}@elsewhere.test") for name in ("fine", "later")}
    from postmaster.queue import pace

    with listening(queue.lab.status.outbound_port):
        blind = Watch({NAMELESS: replace(queue.place, log_file=None)}, [Path("/nonexistent/log")])
        assert not blind.readable
        told = pace.flush(
            [queue.message(one) for one in ids.values()], pace.FlushOptions(wait=20), queue.places, blind
        )
    assert {one.message.queue_id: one.outcome for one in told.done} == {
        ids["fine"]: "gone",
        ids["later"]: "deferred",
    }


# Rights


def as_nobody(what: Callable[[], None]) -> str:
    """What happens when another user does it: the name of the error and its hint."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            what()
            said = "nothing"
        except BaseException as error:
            said = f"{type(error).__name__}: {error} ({getattr(error, 'hint', '')})"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_without_the_rights_the_missing_one_is_named_before_anything_is_done(queue: Queue) -> None:
    from postmaster.postfix import postsuper

    one = queue.submit("a@elsewhere.test")
    said = as_nobody(lambda: postsuper.check(queue.config))
    assert said.startswith(RightsError.__name__)
    assert "sudo" in said
    assert queue.where(one) == "deferred"


_IMPORT = """
import heapq, importlib, pickle, pkgutil, pwd, select, shutil, socket, tempfile, tomllib, zlib
import postmaster
for module in pkgutil.walk_packages(postmaster.__path__, "postmaster."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
_RUN = """
from postmaster.cli.main import run
sys.argv[0] = "postmaster"
run()
"""


def flush_as_nobody(queue: Queue, folder: Path, queue_id: str) -> subprocess.CompletedProcess[str]:
    """`queue flush` as another user, to whom a configuration of the machine's own names the lab's.

    That is only seen within the process: Postfix's tools take no other folder from who is not root
    (`mail_conf_checkdir`).
    """
    (folder / "main.cf").write_text(f"alternate_config_directories = {queue.config}\n")
    folder.chmod(0o755)
    program = as_user.command(
        *("nobody", _RUN, "--config", str(queue.lab.status.settings_file), "queue", "flush", queue_id),
        *("--yes", "-o", "json"),
        before=_IMPORT,
    )
    inside = 'mount --bind "$0" /etc/postfix && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, str(folder), *program],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_who_is_named_in_authorized_flush_users_may_flush_and_nobody_else(
    queue: Queue, place: Callable[[], Path], elsewhere: Sink
) -> None:
    folder = place()
    one = queue.submit("later@elsewhere.test")
    tried = queue.lab.log().count(f"{one}: to=<later@elsewhere.test>")
    for users, status in (("root", 1), ("nobody", 0)):
        postconf.set_values(queue.config, {"authorized_flush_users": users})
        try:
            done = flush_as_nobody(queue, folder, one)
        finally:
            postconf.set_values(queue.config, {"authorized_flush_users": "static:anyone"})
        assert done.returncode == status, done.stderr
        if status:
            error = json.loads(done.stderr.splitlines()[-1])["error"]
            assert error["code"] == "rights", error
            assert "authorized_flush_users" in error["hint"]
            assert queue.lab.log().count(f"{one}: to=<later@elsewhere.test>") == tried
        else:
            assert json.loads(done.stdout)["messages"][0]["queue_id"] == one
            until(lambda: queue.lab.log().count(f"{one}: to=<later@elsewhere.test>") > tried)


def test_long_queue_ids_are_found_deleted_and_given(queue: Queue) -> None:
    reload = ["postfix", "-c", str(queue.config), "reload"]
    postconf.set_values(queue.config, {"enable_long_queue_ids": "yes", "hash_queue_depth": "2"})
    subprocess.run(reload, check=True, capture_output=True, timeout=30)
    long = Queue(queue.lab)
    try:
        one = long.submit("a@elsewhere.test")
        assert "z" in one
        found = locate(long.place, one)
        assert found is not None
        assert found[1] == next(paths(long.place, "deferred", one))
        assert long.act("delete", one)["counts"] == {"deleted": 1}
        new = json.loads(long.run("trash", "restore", one, "-o", "json").stdout)["restored"][0]["new_id"]
        assert "z" in new
        until(lambda: long.where(new) == "deferred")
        assert spool.is_queue_id(new)
        assert long.act("hold", new)["counts"] == {"held": 1}
        done = subprocess.run(
            ["postsuper", "-c", str(long.config)], capture_output=True, check=True, timeout=60
        )
        assert b"Renamed" not in done.stderr
        assert long.where(new) == "hold"
    finally:
        postconf.set_values(queue.config, {"enable_long_queue_ids": "no", "hash_queue_depth": "1"})
        subprocess.run(reload, check=True, capture_output=True, timeout=30)


def test_each_instance_is_acted_on_by_its_own_tools(queue: Queue, place: Callable[[], Path]) -> None:
    lab = start_lab(place())
    configure(lab)
    postconf.set_values(lab.settings.postfix.config_directory, {"syslog_name": "postfix-out"})
    other = Queue(lab)
    try:
        reload = ["postfix", "-c", str(other.config), "reload"]
        subprocess.run(reload, check=True, capture_output=True, timeout=30)
        here, there = queue.submit("a@elsewhere.test"), other.submit("b@elsewhere.test")
        places = {NAMELESS: queue.place, "out": replace(instances(other.config)[0], name="out")}
        messages = [queue.message(here), replace(other.message(there), instance="out")]
        # An ID says nothing without its instance: the same one is not there in the other.
        messages += [replace(messages[0], instance="out"), replace(messages[1], instance=NAMELESS)]
        logs = [*queue.lab.settings.log.files, *lab.settings.log.files]
        with Watch(places, logs) as watch, open_store(queue.lab.settings.state) as store:
            number = store.begin(
                verb="delete",
                command="test",
                who="test",
                reason=None,
                filter_text=None,
                options={},
                messages=messages,
            )
            items = [Item(at, one, None, None, None) for at, one in enumerate(messages)]
            result = acting.act(
                items, Options(Verb.delete), store=store, number=number, places=places, watch=watch
            )
        told = {one.message.identity: one.outcome for one in result.done}
        assert [told[one.identity] for one in messages] == ["deleted", "deleted", "vanished", "vanished"]
        assert queue.where(here) is other.where(there) is None
        assert {copy["instance"] for copy in queue.trash()} == {NAMELESS, "out"}
    finally:
        lifecycle.remove(lab.root)


def test_a_message_that_somebody_else_deletes_or_requeues_meanwhile_is_told_as_vanished(queue: Queue) -> None:
    one, other = queue.submit("a@elsewhere.test"), queue.submit("b@elsewhere.test")
    listed = [queue.message(one), queue.message(other)]

    def meanwhile() -> None:
        queue.postsuper("-d", one)
        queue.postsuper("-r", other)
        queue.submit("wake@elsewhere.test")
        until(lambda: queue.where(other) is None)

    result = queue.perform(Verb.delete, listed, meanwhile)
    told = {done.message.queue_id: (done.outcome, done.detail) for done in result.done}
    assert told[one] == ("vanished", "someone deleted it")
    assert told[other][0] == "vanished"
    assert str(told[other][1]).startswith("someone requeued it as ")
    assert queue.trash() == []


def test_while_postfix_is_down_it_is_done_or_refused_before_anything_is_touched(queue: Queue) -> None:
    """Postfix 3.7's postsuper dies at its first line to a log that only a running Postfix writes."""
    one = queue.submit("a@elsewhere.test")
    subprocess.run(["postfix", "-c", str(queue.config), "stop"], check=True, capture_output=True, timeout=60)
    try:
        told = queue.act("delete", one, expect=1 if postconf.version() < (3, 8) else 0)
        if "error" in told:
            assert told["error"]["code"] == "server"
            assert "start Postfix" in told["error"]["hint"]
            assert queue.where(one) == "deferred"
        else:
            assert told["counts"] == {"deleted": 1}
            assert queue.where(one) is None
    finally:
        control.start(queue.config)
        until(lambda: queue.place.spool.joinpath("public", "qmgr").exists())
