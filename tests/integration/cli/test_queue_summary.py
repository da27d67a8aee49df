"""`queue summary` on what a stand-in for postqueue prints: formats, filters, mistakes."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from postmaster.queue.summary import AGES
from tests.tools import stand_in

from .conftest import Cli
from .test_main import on_a_terminal


def entry(
    queue_id: str, age: int, sender: str, *recipients: tuple[str, str | None], **given: Any
) -> dict[str, Any]:
    made = [{"address": a, **({"delay_reason": why} if why else {})} for a, why in recipients]
    return {
        "queue_name": "deferred",
        "queue_id": queue_id,
        "arrival_time": int(time.time()) - age,
        "message_size": 1000,
        "sender": sender,
        "recipients": made,
        **given,
    }


def refused(number: int) -> str:
    return f"connect to mx{number}.example.com[192.0.2.{number}]:25: Connection refused"


QUEUE = [
    entry("3FA9C01", 60, "news@shop.example", ("a@x.example", refused(1)), ("b@y.example", refused(2))),
    entry("3FA9C02", 4000, "news@shop.example", ("c@x.example", refused(3))),
    entry(
        "3FA9C03", 90_000, "MAILER-DAEMON", ("d@y.example", None), queue_name="hold", message_size=5_000_000
    ),
    entry(
        "3FA9C04",
        700,
        "=cmd@evil.example",
        ("\x1b[31me@z.example", "host z[192.0.2.9] said: 450 4.2.0 later"),
    ),
]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return stand_in.postqueue(tmp_path, monkeypatch, (json.dumps(one).encode() for one in QUEUE))


def test_by_recipient_domain(bare: Cli, queue: Path) -> None:
    found = bare("queue", "summary", "-o", "json").json
    assert found["by"] == "recipient-domain"
    assert found["total"]["messages"] == 4
    assert found["total"]["recipients"] == 5
    assert found["total"]["bytes"] == 5_003_000
    assert [(g["group"], g["messages"], g["recipients"]) for g in found["groups"]] == [
        ("x.example", 2, 2),
        ("y.example", 2, 2),
        ("z.example", 1, 1),
    ]
    assert set(found["groups"][0]) == {
        *("by", "group", "dsn", "messages", "recipients", "bytes", "oldest", "next_retry", "ages", "example"),
    }
    assert found["groups"][1]["ages"]["1280+"] == 1
    assert found["groups"][1]["oldest"].endswith("Z")


def test_by_reason_one_line_is_one_incident(bare: Cli, queue: Path) -> None:
    groups = [
        json.loads(line)
        for line in bare("queue", "summary", "--by", "reason", "-o", "jsonl").out.splitlines()
    ]
    assert [(g["group"], g["dsn"], g["recipients"]) for g in groups] == [
        ("connect to HOST:25: Connection refused", None, 3),
        ("host HOST said: 450 4.2.0 later", "4.2.0", 1),
        (None, None, 1),
    ]
    assert groups[0]["example"] in (refused(1), refused(2), refused(3))


def test_table_and_csv_are_safe_and_plain(bare: Cli, queue: Path) -> None:
    table = bare("queue", "summary").out
    assert "\x1b" not in table
    lines = table.splitlines()
    assert lines[0].split() == [
        "MESSAGES",
        "RECIPIENTS",
        "SIZE",
        "OLDEST",
        "NEXT",
        "RETRY",
        "RECIPIENT",
        "DOMAIN",
    ]
    assert lines[1].split()[:2] == ["4", "5"]
    assert lines[1].endswith("TOTAL")
    aged = bare("queue", "summary", "--age", "--by", "sender").out.splitlines()
    assert aged[0].split() == ["MESSAGES", *AGES, "SENDER"]
    assert "<> (bounces)" in bare("queue", "summary", "--by", "sender").out
    assert "(no reason yet)" in bare("queue", "summary", "--by", "reason").out
    rows = list(csv.DictReader(io.StringIO(bare("queue", "summary", "--by", "sender", "-o", "csv").out)))
    assert {row["group"] for row in rows} == {"", "news@shop.example", "'=cmd@evil.example"}
    assert [row["age_1280+"] for row in rows if row["group"] == ""] == ["1"]


def test_a_filter_and_options_narrow_it(bare: Cli, queue: Path) -> None:
    def messages(*words: str) -> int:
        found: int = bare("queue", "summary", *words, "-o", "json").json["total"]["messages"]
        return found

    assert messages("sender=*@shop.example") == 2
    assert messages("sender=*@shop.example", "and", "age>1h") == 1
    assert messages("--sender", "@shop.example", "--older", "1h") == 1
    assert messages("--queue", "hold") == 1
    assert messages("--larger", "1M") == 1
    assert messages("--reason", "CONNECTION refused") == 2
    assert messages("3FA9C01", "3FA9C03") == 2
    assert messages("recipient-domain=nowhere.example") == 0


def test_a_limit_says_how_many_more(bare: Cli, queue: Path) -> None:
    done = bare("queue", "summary", "--limit", "1")
    assert len(done.out.splitlines()) == 3
    assert "2 more groups" in done.err


def test_a_mistake_is_shown_with_a_caret(bare: Cli, queue: Path) -> None:
    told = bare("queue", "summary", "sender=x and age>2", expect=2).err.splitlines()
    assert told[0].startswith("postmaster: age wants a duration such as 30m")
    assert told[1] == "  sender=x and age>2"
    assert told[2] == "                   ^"
    assert told[3].startswith("fields: queue, id, sender,")
    error = bare("queue", "summary", "age", "-o", "json", expect=2).error
    assert error["code"] == "invalid_filter"
    assert set(error) == {"code", "message", "hint", "detail"}
    assert "\n" not in error["message"]
    assert bare("queue", "summary", "not sasl=amy", expect=2).err.startswith(
        "postmaster: sasl cannot be told from postqueue"
    )


def test_an_empty_queue(bare: Cli, queue: Path) -> None:
    queue.write_text("")
    done = bare("queue", "summary")
    assert done.out == ""
    assert "no messages" in done.err
    assert bare("queue", "summary", "-o", "json").json["groups"] == []


def test_what_cannot_be_read_is_told(bare: Cli, queue: Path) -> None:
    queue.write_text(json.dumps(QUEUE[0]) + "\nrubbish\n")
    done = bare("queue", "summary", "-o", "json", expect=3)
    assert done.json["total"]["messages"] == 1
    assert "1 entries" in done.error["message"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_on_a_terminal_ages_are_a_picture(bare: Cli, queue: Path) -> None:
    status, screen = on_a_terminal(["--config", str(bare.file), "queue", "summary"])
    assert status == 0
    assert "recipients by age, in minutes" in screen
    assert "1280+" in screen
    assert "\x1b[31m" not in screen
