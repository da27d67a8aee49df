"""`queue summary` on real deferred mail, beside an independent count of `postqueue -j` and beside qshape."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postmaster.queue.summary import AGES
from tests.tools.mail import PATIENCE, Lab, password_hash

from .conftest import start_lab

DESTINATIONS = ("one.test", "two.test", "Three.test", "xn--bcher-kva.test")


@pytest.fixture(scope="module")
def deferred(place: Callable[[], Path]) -> Lab:
    """A lab of its own whose outgoing mail is refused: nobody listens on the outbound port."""
    lab = start_lab(place())
    with lab.change() as make:
        make.domain("shop.test")
        for name in ("news", "amy"):
            make.user(f"{name}@shop.test", password_hash=password_hash())
    number = 0
    for login in ("news@shop.test", "amy@shop.test"):
        with lab.submission(login) as client:
            for count in range(1, 6):
                to = [f"u{count}.{n}@{DESTINATIONS[(count + n) % len(DESTINATIONS)]}" for n in range(count)]
                client.sendmail(
                    login, to, f"From: {login}\r\nSubject: {count}\r\n\r\n{'x' * 100 * count}\r\n"
                )
                number += 1
    ends = time.monotonic() + PATIENCE
    while True:
        waiting = [one for one in listing(lab) if one["queue_name"] == "deferred"]
        if len(waiting) >= number and all("delay_reason" in r for one in waiting for r in one["recipients"]):
            break
        assert time.monotonic() < ends, waiting
        time.sleep(0.2)
    # One on hold, so that there is more than one queue.
    lab_command(lab, "postsuper", "-h", waiting[0]["queue_id"])
    return lab


def lab_command(lab: Lab, *words: str) -> str:
    config = str(lab.settings.postfix.config_directory)
    done = subprocess.run(
        [words[0], "-c", config, *words[1:]], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def listing(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab_command(lab, "postqueue", "-j").splitlines()]


def summary(lab: Lab, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.postmaster("queue", "summary", *words, "-o", "json").stdout)
    return found


def by(found: dict[str, Any], what: str) -> dict[str, int]:
    return {group["group"]: group[what] for group in found["groups"]}


def test_each_key_agrees_with_a_count_of_postqueue(deferred: Lab) -> None:
    messages = listing(deferred)
    recipients = [(one, each) for one in messages for each in one["recipients"]]
    domains = Counter(each["address"].rpartition("@")[2].lower() for _, each in recipients)
    assert len(domains) == 4
    found = summary(deferred)
    assert by(found, "recipients") == domains
    assert by(found, "messages") == Counter(
        domain
        for one in messages
        for domain in {each["address"].rpartition("@")[2].lower() for each in one["recipients"]}
    )
    total = found["total"]
    assert total["messages"] == len(messages) == 10
    assert total["recipients"] == len(recipients) == 30
    assert total["bytes"] == sum(one["message_size"] for one in messages)
    oldest = min(one["arrival_time"] for one in messages)
    assert total["oldest"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(oldest))
    assert by(summary(deferred, "--by", "sender"), "messages") == Counter(one["sender"] for one in messages)
    assert by(summary(deferred, "--by", "sender-domain"), "bytes") == {"shop.test": total["bytes"]}
    assert by(summary(deferred, "--by", "queue"), "messages") == Counter(
        one["queue_name"] for one in messages
    )
    assert by(summary(deferred, "--by", "queue"), "messages") == {"deferred": 9, "hold": 1}
    assert list(by(summary(deferred, "--by", "instance"), "messages").values()) == [10]


def test_one_incident_is_one_line(deferred: Lab) -> None:
    port = deferred.status.outbound_port
    (group,) = summary(deferred, "--by", "reason")["groups"]
    assert group["group"] == f"connect to HOST:{port}: Connection refused"
    assert group["recipients"] == 30
    assert group["example"].removeprefix("delivery temporarily suspended: ") == (
        f"connect to 127.0.0.1[127.0.0.1]:{port}: Connection refused"
    )


def test_qshape_counts_the_same(deferred: Lab) -> None:
    """qshape reads the spool itself; its columns are total, then recipients by age."""
    shape: dict[str, list[int]] = {}
    for line in lab_command(deferred, "qshape", "-w", "200", "deferred").splitlines()[1:]:
        name, *numbers = line.split()
        shape[name] = [int(number) for number in numbers]
    found = summary(deferred, "queue=deferred")
    ours = {group["group"]: group for group in [*found["groups"], {"group": "TOTAL", **found["total"]}]}
    assert ours.keys() == shape.keys()
    for name, (total, *ages) in shape.items():
        assert ours[name]["recipients"] == total
        assert sum(ours[name]["ages"].values()) == total
        assert len(ages) == len(AGES)
        assert ages == list(ours[name]["ages"].values())  # all are younger than five minutes
    senders = lab_command(deferred, "qshape", "-s", "-w", "200", "deferred").splitlines()[1:]
    by_sender = by(summary(deferred, "queue=deferred", "--by", "sender-domain"), "messages")
    assert {line.split()[0]: int(line.split()[1]) for line in senders} == {"TOTAL": 9, **by_sender}


def test_filters_choose_what_postqueue_says_they_should(deferred: Lab) -> None:
    messages = listing(deferred)

    def count(*words: str) -> int:
        number: int = summary(deferred, *words)["total"]["messages"]
        return number

    assert count("sender=amy@shop.test") == sum(one["sender"] == "amy@shop.test" for one in messages)
    assert count("recipient=*@three.test") == sum(
        any(each["address"].lower().endswith("@three.test") for each in one["recipients"]) for one in messages
    )
    assert count("recipient-domain=bücher.test") == count("recipient-domain=xn--bcher-kva.test") > 0
    assert count("recipients>3") == 4
    assert count("not queue=hold") == 9
    assert count(*(one["queue_id"] for one in messages[:3])) == 3
    assert count("age>1h") == 0
    assert count('reason~"refused$" and size>0') == 10
    named = messages[0]["queue_id"]
    assert count(f"id={named} and not (age>1h or size<1)") == 1


def test_what_only_the_spool_knows(deferred: Lab) -> None:
    def count(*words: str) -> int:
        number: int = summary(deferred, *words)["total"]["messages"]
        return number

    assert by(summary(deferred, "--by", "sasl"), "messages") == {"news@shop.test": 5, "amy@shop.test": 5}
    clients = by(summary(deferred, "--by", "client"), "messages")
    assert clients  # each session came from an address of its own
    for client, number in clients.items():
        assert client.endswith("]")
        assert count(f"client={client.rpartition('[')[2].removesuffix(']')}") == number == 5
    assert count("helo=client.test") == count("client=*") == 10
    assert count("sasl=amy@shop.test") == count("not sasl=news@*") == 5
    assert count("dsn=4.4.1") == count("dsn=4.*") == 10
    assert count("queue=deferred and retry>0") == 9
    assert count("retry>0") == 9  # what is on hold is not tried again
    assert count("expires>1d") == 10
    assert count("subject=3") == 2
    assert count("from~^amy@ and not subject~[12]") == 3
    (group,) = summary(deferred, "--by", "reason", "queue=deferred")["groups"]
    assert group["dsn"] == "4.4.1"
    assert group["next_retry"] is not None


def test_both_sources_count_the_same_and_one_refuses_what_it_cannot_know(deferred: Lab) -> None:
    for key in ("recipient-domain", "sender", "sender-domain", "queue", "instance"):
        one, other = (summary(deferred, "--by", key, "--source", source) for source in ("spool", "postqueue"))
        for found in (one, other):
            for group in (found["total"], *found["groups"]):
                del group["next_retry"]
        assert one == other
    for field in ("sasl=amy@shop.test", "retry>1h", "subject=3", "dsn=4.*"):
        told = deferred.postmaster(
            "queue", "summary", "--source", "postqueue", f"not {field}", expect=2
        ).stderr
        assert "cannot be told from postqueue" in told
        assert "--source spool" in told


def test_a_frame_of_the_watch(deferred: Lab) -> None:
    frame = json.loads(deferred.postmaster("queue", "watch", "--once", "-o", "json").stdout)
    assert frame["queues"] == {"deferred": 9, "hold": 1}
    assert len(frame["oldest_messages"]) == 9
    shown = deferred.postmaster("queue", "watch", "--once").stdout
    assert "10 messages  30 recipients" in shown
    assert re.search(r"30 +\S+ +(4\.4\.1 )?connect to HOST:\d+: Connection refused", shown)
