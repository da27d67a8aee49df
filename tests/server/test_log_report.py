"""Totals equal pflogsumm's, on a lab's log and on generated ones; each difference is one that is meant."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postmaster.process import run
from postmaster.settings import Settings
from postmaster.trace.filter import Filter
from postmaster.trace.report import count
from postmaster.trace.sources import Notes, Period, find
from tests.conftest import IN_CI
from tests.tools.machine import missing_for_servers
from tests.tools.mail import Lab, password_hash
from tests.tools.maillog import Traffic
from tests.tools.sink import Sink

KEYS = (
    "received",
    "delivered",
    "forwarded",
    "deferred",
    "deferrals",
    "bounced",
    "rejected",
    "held",
    "discarded",
)


@pytest.fixture(autouse=True)
def pflogsumm_is_here() -> None:
    reason = missing_for_servers("pflogsumm")
    if reason is not None and IN_CI:
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


def theirs(text: str) -> dict[str, int]:
    """pflogsumm's totals. It rounds above a number of digits, so bytes are compared as it prints them."""
    done = subprocess.run(
        ["pflogsumm", "--detail", "0"], input=text, capture_output=True, text=True, check=True, timeout=100
    )
    found = {key: int(number) for number, key in re.findall(r"^ +(\d+)  +(\w+)", done.stdout, re.MULTILINE)}
    deferrals = re.search(r"\((\d+) +deferrals\)", done.stdout)
    found["deferrals"] = int(deferrals[1]) if deferrals else 0
    for key in ("received", "delivered"):
        size = re.search(rf"^ +(\d+)([km]?) +bytes {key}", done.stdout, re.MULTILINE)
        assert size is not None
        found[f"bytes_{key}"] = int(size[1]) * {"": 1, "k": 1024, "m": 1 << 20}[size[2]]
    return {key: found.get(key, 0) for key in (*KEYS, "bytes_received", "bytes_delivered")}


def as_printed(number: int) -> int:
    """Bytes as pflogsumm rounds them (`adj_int_units`)."""
    if number > 536870912:
        return int(number / (1 << 20)) << 20
    if number > 524288:
        return int(number / 1024) * 1024
    return number


def ours(path: Path) -> dict[str, int]:
    notes = Notes()
    totals = count(find(Settings(), [path]), Period(), Filter(), notes).totals
    assert not notes.problems
    found = {key: totals[key] for key in KEYS}
    return found | {key: as_printed(totals[key]) for key in ("bytes_received", "bytes_delivered")}


@pytest.mark.parametrize("iso", [True, False])
@pytest.mark.parametrize("long_ids", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_on_generated_logs(tmp_path: Path, iso: bool, long_ids: bool, seed: int) -> None:
    path = tmp_path / "mail.log"
    traffic = Traffic(60_000, seed=seed, iso=iso, long_ids=long_ids)
    traffic.begin = datetime(datetime.now().year - 1, 3, 1, tzinfo=UTC)
    traffic.write(path)
    found = ours(path)
    assert found == theirs(path.read_text())
    assert min(found[key] for key in ("received", "delivered", "deferrals", "bounced", "rejected")) > 50


def test_on_a_labs_log(lab: Lab, domain: str, outside: Sink, tmp_path: Path) -> None:
    amy, bob = f"amy@{domain}", f"bob@{domain}"
    directory = lab.settings.postfix.config_directory
    with lab.change() as make:
        make.user(amy, password_hash=password_hash())
        make.user(bob, password_hash=password_hash())
        make.alias(f"team@{domain}", amy, bob)
    for number in range(3):
        lab.send(f"team@{domain}", f"figures {number}")
    for name in ("submission", "submissions"):
        with lab.submission(amy, name=name) as client:
            client.sendmail(amy, ["kept@elsewhere.test"], f"From: {amy}\r\nSubject: out\r\n\r\nHello.\r\n")
            client.sendmail(amy, ["refused@elsewhere.test"], f"From: {amy}\r\nSubject: no\r\n\r\nHello.\r\n")
    run(["sendmail", "-C", str(directory), "-f", amy, bob], stdin="Subject: local\n\nHello.\n")
    assert lab.rcpt(f"nobody@{domain}")[0] == 550
    lab.wait_for(bob, "local")
    lab.wait_for(amy, "figures 2")
    lab.wait_for(amy, "Undelivered", count=2)
    path = tmp_path / "mail.log"
    path.write_text(lab.log())
    # Meant: pflogsumm knows the log names of smtps and submission only, not of submissions.
    text = path.read_text().replace("postfix/submissions/", "postfix/smtps/")
    found = ours(path)
    assert found == theirs(text)
    assert found != theirs(path.read_text())
    for key, least in (
        ("received", 8),
        ("delivered", 11),
        ("bounced", 2),
        ("rejected", 1),
        ("bytes_received", 1),
    ):
        assert found[key] >= least


# What differs on purpose, each with the reason in docs/trace.md: (line, ours, theirs).
HEAD = "2026-05-11T00:00:00Z mail postfix/"
ID = "4B7Z2K5NHbz8gQ"
WAY = "relay=x[192.0.2.1]:25, delay=1, delays=0/0/0/1"
DIFFERENCES = {
    "a TLS level in a delivery (3.11)": (
        [f"smtp[1]: {ID}: to=<a@b>, {WAY}, tls=secure, dsn=2.0.0, status=sent (250 ok)"],
        {"delivered": 1},
        {"delivered": 0},
    ),
    "a reply that only speaks of forwarding": (
        [f"smtp[1]: {ID}: to=<a@b>, {WAY}, dsn=2.0.0, status=sent (250 forwarded as told)"],
        {"delivered": 1, "forwarded": 0},
        {"delivered": 0, "forwarded": 1},
    ),
    "a milter that refuses before there is a queue ID": (
        ["smtpd[1]: NOQUEUE: milter-reject: CONNECT from c[192.0.2.1]: 554 5.7.1 no; proto=SMTP"],
        {"rejected": 1},
        {"rejected": 0},
    ),
    "a soft bounce": (
        [f"smtp[1]: {ID}: to=<a@b>, {WAY}, dsn=5.0.0, status=SOFTBOUNCE (no)"],
        {"deferred": 1, "deferrals": 1},
        {"deferred": 0, "deferrals": 0},
    ),
    "a short queue ID that is used again": (
        [
            line
            for size in (100, 200)
            for line in (
                "smtpd[1]: AB12CD34EF: client=c[192.0.2.1]",
                f"qmgr[1]: AB12CD34EF: from=<a@b>, size={size}, nrcpt=1 (queue active)",
                "qmgr[1]: AB12CD34EF: removed",
            )
        ],
        {"received": 2, "bytes_received": 300},
        {"received": 2, "bytes_received": 100},
    ),
    "a quoted local part with a bracket": (
        [f'smtp[1]: {ID}: to=<"a>b"@c>, {WAY}, dsn=2.0.0, status=sent (250 ok)'],
        {"delivered": 1},
        {"delivered": 0},
    ),
    "another name for the log": (
        [f"submissions/smtpd[1]: {ID}: client=c[192.0.2.1], sasl_method=PLAIN, sasl_username=a"],
        {"received": 1},
        {"received": 0},
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_meant(tmp_path: Path, name: str) -> None:
    lines, mine, other = DIFFERENCES[name]
    path = tmp_path / "mail.log"
    path.write_text("".join(f"{HEAD}{line}\n" for line in lines))
    found, their = ours(path), theirs(path.read_text())
    assert {key: found[key] for key in mine} == mine
    assert {key: their[key] for key in other} == other


def test_what_milters_did_is_counted_as_by_pflogsumm(tmp_path: Path) -> None:
    peer, envelope = "from c[192.0.2.1]", "from=<a@b> to=<c@d> proto=ESMTP helo=<h>"
    texts = {
        "hold": "milter triggers HOLD action",
        "discard": "milter triggers DISCARD action",
        "reject": "5.7.1 no",
    }
    path = tmp_path / "mail.log"
    path.write_text("".join(
        f"{HEAD}cleanup[1]: {ID}: milter-{action}: END-OF-MESSAGE {peer}: {text}; {envelope}\n"
        for action, text in texts.items()
    ))  # fmt: skip
    found = ours(path)
    assert found == theirs(path.read_text())
    assert (found["held"], found["discarded"], found["rejected"]) == (1, 1, 1)
