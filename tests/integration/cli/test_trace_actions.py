"""`postmaster trace` beside the record of queue actions: who did what, why, and the way back."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from postmaster.queue.message import Message, Recipient
from postmaster.queue.store import FILE, open_store
from postmaster.settings import Settings, load_settings
from tests.tools.documented import json_keys, key_paths

from .conftest import Cli

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
ID, NEW = "8E360228131", "9F471339242"
SENDER, TO = "amy@a.test", "bob@outside.test"
WORDS = {"removed": "removed", "held": "placed on hold", "released": "released from hold",
         "requeued": "requeued", "expired": "expired"}  # fmt: skip


@dataclass
class Place:
    """A log and a record, written as Postfix and the queue's commands write them."""

    cli: Cli
    settings: Settings
    log: Path
    lines: list[str] = field(default_factory=list)

    def say(self, second: float, text: str) -> None:
        moment = (BEGIN + timedelta(seconds=second)).isoformat()
        self.lines.append(f"{moment} mail postfix/{text}\n")
        self.log.write_text("".join(self.lines))

    def arrive(self, queue_id: str = ID, second: float = 0) -> None:
        self.say(second, f"pickup[1]: {queue_id}: uid=0 from=<{SENDER}>")
        self.say(second, f"cleanup[2]: {queue_id}: message-id=<it's@a.test>")
        self.say(second, f"qmgr[3]: {queue_id}: from=<{SENDER}>, size=90, nrcpt=1 (queue active)")
        self.say(
            second + 1,
            f"smtp[4]: {queue_id}: to=<{TO}>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1,"
            " status=deferred (connect to mx.outside.test[192.0.2.1]:25: Connection refused)",
        )

    def postsuper(self, second: float, words: str, queue_id: str = ID) -> None:
        self.say(second, f"postsuper[5]: {queue_id}: {words}")

    def act(
        self,
        second: float,
        verb: str,
        outcome: str | None,
        *,
        queue_id: str = ID,
        arrived: float = 0,
        reason: str | None = None,
        copied: bool = False,
        **options: Any,
    ) -> int:
        """An action of one message that took two seconds."""
        to = [Recipient(TO), Recipient("carl@outside.test")]
        at = int(BEGIN.timestamp())
        message = Message("-", "deferred", queue_id, at + int(arrived), 90, SENDER, to)
        with open_store(self.settings.state) as store:
            number = store.begin(
                verb=verb,
                command=f"queue {verb} {queue_id}",
                who="root",
                reason=reason,
                filter_text=queue_id,
                options=options,
                messages=[message],
            )
            if copied:
                store.add_copies(number, [(message, 0, "file", 9)])
                store.set_copies("deleted", [message])
            if outcome is not None:
                store.settle(number, [(0, outcome, None)])
                store.end(number)
            store._connection.execute(
                "UPDATE action SET started = ?, ended = ? WHERE number = ?",
                (at + second, None if outcome is None else at + second + 2, number),
            )
        return number

    def trace(self, what: str = ID) -> dict[str, Any]:
        (row,) = self.cli("trace", what, "--log", str(self.log), "-o", "json").json
        assert isinstance(row, dict)
        return row

    def text(self) -> str:
        return self.cli("trace", ID, "--log", str(self.log)).out


@pytest.fixture
def place(bare: Cli, tmp_path: Path) -> Iterator[Place]:
    made = Place(bare, load_settings(bare.file), tmp_path / "mail.log")
    made.arrive()
    yield made
    row = made.trace()
    if row["actions"]:
        untried = {key for key in json_keys("trace") if "stages." in key}  # under the last of its IDs
        assert key_paths(row) | untried == json_keys("trace")


def test_a_deletion_says_by_whom_why_and_how_to_bring_it_back(place: Place) -> None:
    place.postsuper(60.2, "placed on hold")
    place.postsuper(60.4, "removed")
    before = place.trace()
    assert "Deleted from the queue by postsuper at" in before["verdict"]
    number = place.act(60, "delete", "deleted", reason="spam run", copied=True)
    row = place.trace()
    assert (row["outcome"], row["is_over"]) == ("deleted", True)
    assert "Deleted from the queue by root at" in row["verdict"]
    assert (
        f"for {TO}, carl@outside.test (action {number}, postmaster queue delete {ID}): spam run."
        in row["verdict"]
    )
    assert "A copy is in the trash until 20" in row["verdict"]
    assert row["remedy"] == "bring it back: postmaster queue trash restore 1"
    assert [one["text"] for one in row["steps"]][-2:] == [
        f"placed on hold by postsuper, for action {number}",
        f"deleted by root (action {number}, postmaster queue delete {ID}): spam run",
    ]
    assert [one["kind"] for one in row["steps"]] == [one["kind"] for one in before["steps"]]
    assert {one["recipient"]: one["status"] for one in row["recipients"]} == {
        TO: "deleted",
        "carl@outside.test": "deleted",
    }
    (action,) = row["actions"]
    assert (action["who"], action["reason"], action["outcome"], action["copy"]) == (
        *("root", "spam run", "deleted"),
        1,
    )
    assert f"deleted by root (action {number}, " in place.text()
    (line,) = csv.DictReader(io.StringIO(place.cli("trace", ID, "--log", str(place.log), "-o", "csv").out))
    assert "deleted by root" in line["actions"]


def test_a_redirected_message_does_not_look_deleted(place: Place) -> None:
    place.postsuper(60.2, "placed on hold")
    place.postsuper(61.4, "removed")
    assert place.trace()["outcome"] == "deleted"
    place.act(60, "redirect", "redirected", copied=True, address="new@b.test")
    row = place.trace()
    assert row["outcome"] == "redirected"
    assert f"Sent on to new@b.test instead of {TO}, carl@outside.test by root at" in row["verdict"]
    assert row["recipients"][0]["sent_on"] == ["new@b.test"]
    assert [one["kind"] for one in row["steps"]][-2:] == ["held", "redirected"]
    # The Message-ID is a stranger's: as a word of the shell it is one word.
    assert row["remedy"].endswith(r"postmaster trace new@b.test --message-id '<it'\''s@a.test>'")


def test_what_was_held_says_by_whom_until_it_is_released(place: Place) -> None:
    place.postsuper(60.2, "placed on hold")
    assert place.trace()["verdict"].endswith("Connection refused.")
    place.act(60, "hold", "held", reason="to look at it")
    row = place.trace()
    assert row["outcome"] == "held"
    assert f"On hold for {TO}, by root since" in row["verdict"]
    assert row["verdict"].endswith(": to look at it.")
    assert f"postmaster queue release {ID}" in row["remedy"]
    place.postsuper(80.1, "released from hold")
    number = place.act(80, "release", "released")
    row = place.trace()
    assert row["outcome"] == "deferred"
    assert (
        row["steps"][-1]["text"]
        == f"released from hold by root (action {number}, postmaster queue release {ID})"
    )
    assert [one["verb"] for one in row["actions"]] == ["hold", "release"]


def test_a_requeue_a_bounce_and_a_flush_are_told_too(place: Place) -> None:
    place.act(20, "flush", "deferred")
    place.postsuper(30.3, "requeued")
    place.act(30, "requeue", "requeued")
    place.say(31, f"pickup[1]: {NEW}: uid=0 from=<{SENDER}> orig_id={ID}")
    place.postsuper(60.2, "expired", NEW)
    place.act(60, "bounce", "bounced", queue_id=NEW, arrived=31)
    row = place.trace()
    assert row["queue_ids"] == [ID, NEW]
    assert [one["verb"] for one in row["actions"]] == ["flush", "requeue", "bounce"]
    told = [one["text"].partition(" (")[0] for one in row["steps"]]
    assert told[3:] == [
        "tried again by root",
        "requeued by root",
        f"requeued; it was {ID}",
        "told to be returned by root",
    ]


def test_what_was_not_done_is_not_told_as_done(place: Place) -> None:
    place.postsuper(60.2, "placed on hold")
    place.postsuper(60.9, "released from hold")
    number = place.act(60, "delete", "busy")
    row = place.trace()
    assert row["outcome"] == "deferred"
    assert [one["text"] for one in row["steps"]][-2:] == [
        f"placed on hold by postsuper, for action {number}",
        f"released from hold by postsuper, for action {number}",
    ]
    assert row["actions"][0]["outcome"] == "busy"


def test_the_record_tells_what_the_log_has_not_got(place: Place) -> None:
    """A log that was cut, or written late: the message is gone all the same."""
    place.act(60, "delete", "deleted")
    row = place.trace()
    assert (row["outcome"], row["is_over"], row["steps"][-1]["kind"]) == ("deleted", True, "deleted")
    assert "trash" not in row["verdict"]
    assert row["remedy"] is None


def test_a_message_out_of_the_trash_is_told_under_both_of_its_ids(place: Place) -> None:
    place.postsuper(60.4, "removed")
    place.act(60, "delete", "deleted", copied=True)
    with open_store(place.settings.state) as store:
        (copy,) = store.copies()
        store.set_copy(copy.number, "restoring", NEW)
        store.set_restored(copy.number)
        assert store.copies() == []
    place.postsuper(90, "released from hold", NEW)
    place.say(90.1, f"qmgr[3]: {NEW}: from=<{SENDER}>, size=90, nrcpt=2 (queue active)")
    row = place.trace()
    assert f", as {NEW}." in row["verdict"]
    assert row["remedy"] == f"see what became of it since: postmaster trace {NEW}"
    assert (row["actions"][0]["copy"], row["actions"][0]["restored_as"]) == (None, NEW)
    back = place.trace(NEW)
    assert back["steps"][0]["text"].startswith(
        f"restored from the trash; it was {ID}, deleted by root (action"
    )
    assert back["verdict"].endswith(f"It came out of the trash; before that it was {ID}.")


def test_a_copy_that_is_past_its_time_is_not_offered(place: Place) -> None:
    place.postsuper(60.4, "removed")
    place.act(60, "delete", "deleted", copied=True)
    with open_store(place.settings.state) as store:
        store._connection.execute("UPDATE copy SET since = ?", (int(time.time()) - 8 * 86400,))
    row = place.trace()
    assert (row["remedy"], row["actions"][0]["copy"]) == (None, None)


def test_a_short_id_that_is_used_again_is_another_message(place: Place) -> None:
    place.postsuper(60.4, "removed")
    place.act(60, "delete", "deleted", reason="the first")
    place.arrive(second=600)
    place.postsuper(660.4, "removed")
    number = place.act(660, "delete", "deleted", arrived=600, reason="the second")
    first, second = place.cli("trace", ID, "--log", str(place.log), "-o", "json").json
    assert [[one["reason"] for one in row["actions"]] for row in (first, second)] == [
        ["the first"],
        ["the second"],
    ]
    assert "the second" in second["verdict"]
    assert number == 2
    place.lines.clear()
    place.arrive()


def test_nothing_is_made_where_there_is_no_record(place: Place) -> None:
    assert place.trace()["actions"] == []
    assert not (place.settings.state.directory / FILE).exists()


@pytest.mark.parametrize("damage", ["no database", "rows", "version"])
def test_a_damaged_record_is_a_note_and_leaves_the_words_of_the_log(place: Place, damage: str) -> None:
    place.postsuper(60.4, "removed")
    place.act(60, "delete", "deleted")
    file = place.settings.state.directory / FILE
    if damage == "no database":
        file.write_bytes(b"this is no database" * 300)
    else:
        statement = {"rows": "UPDATE item SET recipients = '{'", "version": "PRAGMA user_version = 99"}
        with open_store(place.settings.state) as store:
            store._connection.execute(statement[damage])
    done = place.cli("trace", ID, "--log", str(place.log))
    assert "Deleted from the queue by postsuper" in done.out
    assert done.err.count("\n") == 1
    assert "the record of queue actions in" in done.err
