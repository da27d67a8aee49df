"""`postmaster health digest`: problems, changes and figures; what is sent is not told again."""

from __future__ import annotations

import email
import email.policy
import json
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from postmaster.health.alone import alone
from postmaster.health.finding import OK, Check, Finding, Severity
from postmaster.settings import load_settings
from tests.tools.documented import json_keys, key_paths
from tests.tools.maillog import days
from tests.tools.sink import Sink, listening

from .conftest import Cli

YESTERDAY = date.today() - timedelta(days=1)
WEEK = timedelta(weeks=1)
NAMES = ("failed_logins", "failed_clients")
Set = Callable[..., None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Set:
    """What the check `queue` finds from now on: (object, severity) each."""
    now: list[tuple[str, Severity]] = []

    def made(name: str) -> Check:
        findings = [
            Finding(name, item, "bad" if bad else OK, bad, f"{item} measured", "do this" if bad else None)
            for item, bad in now
            if name == "queue"
        ]
        return Check(name, "", {}, lambda _: findings)

    def set_to(*wanted: tuple[str, Severity]) -> None:
        now[:] = wanted

    monkeypatch.setattr("postmaster.health.run.load", made)
    monkeypatch.setenv("POSTMASTER_HEALTH_FLAP", "1")
    return set_to


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yesterday there were five messages, a week before two."""
    file = tmp_path / "mail.log"
    before = YESTERDAY - WEEK
    file.write_text(days((before - timedelta(days=1), 1), (before, 2), (YESTERDAY, 5)))
    monkeypatch.setenv("POSTMASTER_LOG_FILES", str(file))
    return file


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setenv("POSTMASTER_HEALTH_REPORT_TO", "amy@example.org")
    with listening() as sink:
        monkeypatch.setenv("POSTMASTER_HEALTH_REPORT_WAY", f"smtp://127.0.0.1:{sink.port}")
        yield sink


def read(sink: Sink) -> EmailMessage:
    return email.message_from_bytes(sink.messages[-1].content, policy=email.policy.default)


def body(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_every_form_of_a_digest(bare: Cli, found: Set, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(("size", Severity.critical), ("oldest", Severity.ok))
    told = bare("health", "digest", "-o", "json").json
    real = {key for key in key_paths(told) if not key.startswith(("changes[", "statistics.before."))}
    named = {key for key in real if key.startswith("statistics")}
    assert real <= json_keys("health") | named
    # Nobody was refused a password.
    nobody = {f"statistics.figures.{key}[].{what}" for key in NAMES for what in ("name", "count")}
    assert named <= json_keys("health digest") <= named | nobody
    assert (told["status"], told["statistics"]["figures"]["received"]) == ("critical", 5)
    assert told["statistics"]["before"]["received"] == 2
    assert [(one["change"], one["object"]) for one in told["changes"]] == [("began", "size")]
    assert json.loads(bare("health", "digest", "-o", "jsonl").out)["status"] == "critical"
    table = bare("health", "digest").out
    assert "CRITICAL queue size: size measured" in table
    assert "-> do this" in table
    assert any(line.split() == ["received", "5", "+150", "%"] for line in table.splitlines())
    page = bare("health", "digest", "-o", "html").out
    assert page.startswith("<!doctype html>")
    assert "Received each day since" in page
    mail = email.message_from_string(bare("health", "digest", "-o", "mail").out, policy=email.policy.default)
    assert str(mail["Subject"]).endswith("daily: critical: bad, size")
    assert mail["To"] is None  # nobody is named
    monkeypatch.setenv("POSTMASTER_HEALTH_REPORT_TO", "amy@example.org,bob@bücher.example")
    for words in (("health", "digest"), ("health", "check")):
        told = bare(*words, "-o", "mail", expect=None).out
        mail = email.message_from_string(told, policy=email.policy.default)
        assert mail["To"] == "amy@example.org, bob@xn--bcher-kva.example"
        assert mail["From"] == "postmaster <amy@example.org>"


def test_only_what_was_sent_is_not_told_again(bare: Cli, found: Set, log: Path, reader: Sink) -> None:
    found(("size", Severity.warning))
    for _ in range(2):  # to look is not to be told
        assert "What changed" in bare("health", "digest").out
    sent = bare("health", "digest", "--send")
    assert (sent.out, sent.err) == ("", "")  # cron would make a mail of it
    assert reader.messages[-1].recipients == ("amy@example.org",)
    assert "What changed" in body(read(reader))
    time.sleep(0.01)
    bare("health", "digest", "--send")
    again = body(read(reader))
    assert "Nothing changed" in again
    assert "WARNING queue size: size measured" in again  # it is still so
    found(("size", Severity.ok))
    bare("health", "digest", "--send")
    assert str(read(reader)["Subject"]).endswith("daily: all is well, 0 delivered")
    assert "OVER queue size" in body(read(reader))
    assert "What changed" in bare("health", "digest", "--since", "1h").out


def test_a_digest_that_reached_nobody_is_told_again(
    bare: Cli, found: Set, log: Path, reader: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(("size", Severity.warning))
    monkeypatch.setenv("POSTMASTER_HEALTH_REPORT_TO", "refused@example.org")
    failed = bare("health", "digest", "--send", expect=3)
    assert "the report reached nobody: SMTP to 127.0.0.1" in failed.err
    monkeypatch.setenv("POSTMASTER_HEALTH_REPORT_TO", "amy@example.org")
    bare("health", "digest", "--send")
    assert "What changed" in body(read(reader))


def test_what_is_acknowledged_is_named_and_no_more(bare: Cli, found: Set, log: Path, reader: Sink) -> None:
    found(("size", Severity.warning))
    bare("health", "check", expect=1)
    bare("health", "ack", "queue", "--until", "2w", "--reason", "more room is ordered")
    bare("health", "digest", "--send")
    told = body(read(reader))
    assert "queue size: acknowledged by" in told
    assert "more room is ordered" in " ".join(told.split())
    assert "WARNING" not in told
    assert "What changed" not in told
    assert ": daily: 1 acknowledged, 0 delivered" in str(read(reader)["Subject"])


def test_days_are_kept_when_the_log_is_gone(bare: Cli, found: Set, log: Path) -> None:
    bare("health", "digest")
    log.write_text("")
    told = bare("health", "digest", "-o", "json").json["statistics"]
    assert (told["figures"]["received"], told["before"]["received"]) == (5, 2)
    log.unlink()
    again = bare("health", "digest", "-o", "json").json["statistics"]
    assert again["figures"]["received"] == 5
    assert again["problems"] == []


def test_without_a_log_or_a_state_the_digest_still_comes(
    bare: Cli, found: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(("size", Severity.warning))
    monkeypatch.setenv("POSTMASTER_LOG_FILES", str(tmp_path / "gone.log"))
    told = bare("health", "digest").out
    assert "WARNING queue size" in told
    assert "no figures: there is no log" in " ".join(told.split())
    (tmp_path / "d" / "health.db").write_text("this is no database at all, as everybody can see")
    told = bare("health", "digest").out
    assert "WARNING queue size" in told
    assert "This run is not kept" in told


def test_a_digest_waits_for_another_run_of_the_checks(
    bare: Cli, found: Set, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(("size", Severity.ok))
    monkeypatch.setattr("postmaster.health.digest.PATIENCE", 0.3)
    with alone(load_settings(bare.file, {}).state):
        assert bare("health", "digest", "-o", "json", expect=None).error["code"] == "busy"
    bare("health", "digest")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--since", "soon"), "is no time"),
        (("--since", "2999-01-01"), "--since is not before now"),
        (("--send", "-o", "json"), "--send is for a mail"),
        (("-o", "nagios"), "nagios"),
    ],
)
def test_wrong_usage(bare: Cli, found: Set, words: tuple[str, ...], why: str) -> None:
    told = bare("health", "digest", *words, expect=3)
    assert why in told.err
    assert told.err.count("\n") == 1
