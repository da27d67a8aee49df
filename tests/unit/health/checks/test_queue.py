"""What the check of the queue makes of a survey."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from postmaster.errors import ProcessError
from postmaster.health.checks import queue
from postmaster.health.finding import Context, Finding, Last, Severity
from postmaster.queue import survey as module
from postmaster.queue.survey import Survey, Waiting
from postmaster.settings import Settings


def judged(
    monkeypatch: pytest.MonkeyPatch, found: Survey, last: Last | None = None, counted: Survey | None = None
) -> dict[str, Finding]:
    """What is told of a survey; names tell the same as it does, where nothing else is said."""
    counted = counted or (Survey(found.now, found.stale) if found.by_postqueue else found)
    monkeypatch.setattr(module, "count", lambda *_, **__: counted)
    monkeypatch.setattr(module, "survey", lambda *_, **__: found)
    context = Context(Settings(), time.monotonic() + 5, last)
    return {one.object: one for one in queue.run(context)}


def test_of_several_instances_each_has_objects_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Survey(1000, 3600, instances=["-", "postfix-out"])
    found.queues["postfix-out", "deferred"] = Waiting(500, 900, "ABC123", "Connection refused")
    told = judged(monkeypatch, found)
    assert told["size"].code == "ok"
    assert told["postfix-out/size"].code == "queue-long"
    assert "--instance postfix-out" in str(told["postfix-out/size"].remedy)


def test_without_time_for_a_survey_what_the_names_tell_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real queue that is counted; only its survey has no time."""
    for name in ("deferred/A/ABC123", "deferred/B/BBC123", "hold/CBC123", "corrupt/DBC123"):
        file = tmp_path / "spool" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    instance = SimpleNamespace(name="-", spool=tmp_path / "spool")
    monkeypatch.setattr(module, "chosen", lambda _: [instance])

    def late(*_: object, **__: object) -> Survey:
        raise ProcessError("python did not finish within 8 s")

    monkeypatch.setattr(module, "survey", late)
    told = {one.object: one for one in queue.run(Context(Settings(), time.monotonic() + 5))}
    assert [told[name].measures[0].value for name in ("size", "deferred", "hold", "corrupt")] == [2, 2, 1, 1]
    assert (told["spool"].code, told["corrupt"].code) == ("queue-unread", "queue-corrupt")
    assert "not known: python did not finish" in told["spool"].message


def test_what_there_was_no_time_for_is_said_and_what_was_seen_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, counted = (Survey(int(1e6), 3600, instances=["-"], is_cut=is_cut) for is_cut in (True, False))
    found.queues["-", "deferred"] = Waiting(200, int(1e6) - 50 * 3600, "ABC123", "Connection refused")
    found.expiring["-"] = 3
    counted.queues["-", "deferred"], counted.queues["-", "hold"] = Waiting(900), Waiting(5)
    told = judged(monkeypatch, found, counted=counted)
    assert told["size"].message == "900 messages wait"
    assert told["deferred"].code == "queue-old"
    assert told["deferred"].message.startswith("900 messages, the oldest seen 2.1 days old (ABC123)")
    assert told["hold"].message == "5 messages"
    assert told["expiring"].code == "queue-expiring"
    assert "logs" not in told, "what is left over was not looked for"
    assert told["spool"].severity is Severity.unknown
    assert told["spool"].message.startswith("705 messages were not looked at in time")


def test_where_not_even_the_names_can_be_counted_in_time_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = Survey(1000, 3600, instances=["-"], is_cut=True)
    counted.queues["-", "active"] = Waiting(7)
    found = Survey(1000, 3600, instances=["-"], is_cut=True)
    told = judged(monkeypatch, found, Last(900.0, {("queue", "size", "messages"): 7.0}), counted)
    assert told["size"].message == "7 messages wait, and more that were not counted in time"
    assert "growth" not in told, "there is nothing to compare"
    assert told["spool"].message.startswith("some messages were not looked at in time")


def test_an_empty_queue_has_the_measures_of_a_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A threshold is for each run, and a chart has no holes."""
    found = Survey(1000, 3600, instances=["-"])
    for name in ("maildrop", "incoming", "active", "deferred", "hold"):
        told = judged(monkeypatch, found)[name]
        assert [(one.name, one.value) for one in told.measures] == [("age", 0), ("messages", 0)]


def test_growth_is_told_from_the_run_before_and_may_be_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Survey(1000, 3600, instances=["-"])
    assert judged(monkeypatch, found)["growth"].measures == ()
    for before, severity in ((50.0, Severity.ok), (0.0, Severity.warning), (-2000.0, Severity.critical)):
        found.queues["-", "active"] = Waiting(101, 999, "ABC123")
        last = Last(400.0, {("queue", "size", "messages"): before})
        growth = judged(monkeypatch, found, last)["growth"]
        assert (growth.severity, growth.measures[0].value) == (severity, 101 - before)
        assert "in 10 minutes" in growth.message
    found.queues.clear()
    last = Last(400.0, {("queue", "size", "messages"): 5000.0})
    assert judged(monkeypatch, found, last)["growth"].severity is Severity.ok


def test_what_may_not_be_read_is_unknown_and_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Survey(1000, 3600, instances=["-"], by_postqueue=["-"], unreadable=2)
    told = judged(monkeypatch, found)
    assert {told["spool"].severity, told["files"].severity} == {Severity.unknown}
    assert not {"expiring", "logs", "half-written", "damaged"} & told.keys()


def test_every_code_it_gives_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Survey(10**9, 3600, instances=["-"])
    found.queues = {
        ("-", name): Waiting(5000, 1, "ABC123", None, 1)
        for name in ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
    }
    found.expiring["-"], found.first_to_expire["-"] = 3, 10**9 + 60
    found.counts = {("-", kind): 1 for kind in ("half_written", "damaged", "orphans")}
    last = Last(400.0, {("queue", "size", "messages"): 0.0})
    codes = {one.code for one in judged(monkeypatch, found, last).values()} - {"ok"}
    assert codes == queue.CODES.keys() - {"action-unfinished", "queue-unread"}
    problems = [one for one in judged(monkeypatch, found, last).values() if one.code != "ok"]
    assert all(one.remedy for one in problems)
