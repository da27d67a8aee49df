"""`postmaster health` where no server runs: every form, the state behind it, its errors and exit statuses."""

from __future__ import annotations

import email
import json
import stat
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email import policy
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postmaster.health.alone import alone
from postmaster.health.checks import COMMON_CODES, NAMES, load
from postmaster.health.finding import OK, Check, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most
from postmaster.health.report.rows import EVENT_KEYS
from postmaster.settings import HealthSettings, load_settings
from tests.tools.documented import json_keys, key_paths

from .conftest import Cli

Set = Callable[..., None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Set:
    """What every check finds from now on: (check, object, severity) each."""
    now: list[tuple[str, str, Severity]] = []

    def made(name: str) -> Check:
        def run(_: Context) -> list[Finding]:
            return [
                Finding(
                    *(check, item, "bad" if severity else OK, severity, f"{item} measured"),
                    "do this" if severity else None,
                    (Measure("age", 50.0, "s", at_most(10)),),
                )
                for check, item, severity in now
                if check == name
            ]

        return Check(name, "", {}, run)

    def set_to(*wanted: tuple[str, str, Severity]) -> None:
        now[:] = wanted

    monkeypatch.setattr("postmaster.health.run.load", made)
    monkeypatch.setenv("POSTMASTER_HEALTH_FLAP", "1")
    return set_to


#: Settings of no check: how all are run, what is remembered, how reports leave.
GENERAL = ("deadline", "flap", "history_days", "report_", "fallback")
K, W, C, U = Severity.ok, Severity.warning, Severity.critical, Severity.unknown


def test_every_form_of_a_report(bare: Cli, found: Set) -> None:
    found(("queue", "size", C), ("machine", "disk", K))
    told = bare("health", "check", "-o", "json", expect=2).json
    assert key_paths(told) <= json_keys("health")
    assert [(one["check"], one["status"]) for one in told["findings"]] == [
        ("queue", "critical"),
        ("machine", "ok"),
    ]
    assert json.loads(bare("health", "check", "-o", "jsonl", expect=2).out)["status"] == "critical"
    csv = bare("health", "check", "-o", "csv", expect=2).out.splitlines()
    assert csv[0].startswith("check,object,code,status,message,remedy,since,acknowledged,measures")
    assert len(csv) == 3
    plugin = bare("health", "check", "-o", "nagios", expect=2).out.splitlines()
    assert plugin[0] == (
        "MAIL CRITICAL - queue/size: size measured | 'queue.size.age'=50s;10 'machine.disk.age'=50s;10"
    )
    metrics = bare("health", "check", "-o", "prometheus", expect=2).out
    assert "postmaster_health_status" in {one.name for one in text_string_to_metric_families(metrics)}
    page = bare("health", "check", "-o", "html", expect=2).out
    assert page.startswith("<!doctype html>")
    mail = email.message_from_string(
        bare("health", "check", "-o", "mail", expect=2).out, policy=policy.default
    )
    assert "critical" in str(mail["Subject"])
    assert "size measured" in bare("health", "check", expect=2).out


@pytest.mark.parametrize(("severity", "status"), [(K, 0), (W, 1), (C, 2), (U, 3)])
def test_the_exit_status_is_the_plugins(bare: Cli, found: Set, severity: Severity, status: int) -> None:
    found(("queue", "size", severity))
    for form in ("table", "json", "nagios"):
        bare("health", "check", "-o", form, expect=status)


def test_wrong_usage_is_unknown(bare: Cli, found: Set, tmp_path: Path) -> None:
    found(("queue", "size", K), ("queue", "oldest", K))
    for words, why in (
        (("nonsense",), "there is no check nonsense"),
        (("--skip", "nonsense"), "there is no check nonsense"),
        (("--skip", *" --skip ".join(NAMES).split()), "no check is left"),
        (("-o", "xml"), "xml"),
        (("--warn", "9:1"), "is not a range"),
        (("--warn", "dns.x=1", "queue"), "is no measure"),
        (("--warn", "10"), "a range alone"),
        (("--every", "soon"), "is no time"),
        (("--send",), "--send is for a mail"),
        (("--changes", "-o", "nagios"), "not what changed"),
        (("--to", str(tmp_path)), "is no file"),
        (("--to", str(tmp_path / "missing" / "x")), "does not exist"),
    ):
        told = bare("health", "check", *words, expect=3)
        assert why in told.err, words
        assert told.err.count("\n") == 1
    assert bare("health", "check", "--warn", "x", "-o", "json", expect=3).error["code"] == "usage"


def test_checks_can_be_skipped(bare: Cli, found: Set) -> None:
    found(*((name, "x", K) for name in NAMES))
    words = ("--skip", "queue", "--skip", "machine")
    told = bare("health", "check", *words, "-o", "json").json
    assert {one["check"] for one in told["findings"]} == set(NAMES) - {"queue", "machine"}


def test_other_thresholds_for_one_run(bare: Cli, found: Set) -> None:
    found(("queue", "size", K))
    assert bare("health", "check", "--warn", "queue.size.age=60:", expect=1).out
    assert bare("health", "check", "queue", "--crit", "40", "-o", "nagios", expect=2).out.startswith(
        "MAIL CRITICAL"
    )
    assert bare("health", "history", "-o", "json").json == [], "they are not kept"
    told = bare("health", "check", "--warn", "queue.size.none=1")
    assert "no measure queue.size.none" in told.err


def test_a_report_goes_to_a_file_as_a_whole(bare: Cli, found: Set, tmp_path: Path) -> None:
    found(("queue", "size", C))
    for form, mode in (("prometheus", 0o644), ("html", 0o600), ("json", 0o600), ("nagios", 0o600)):
        file = tmp_path / form
        told = bare("health", "check", "-o", form, "--to", str(file), expect=2)
        assert told.out == ""
        assert file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == mode
    (tmp_path / "html").chmod(0o640)
    bare("health", "check", "-o", "html", "--to", str(tmp_path / "html"), expect=2)
    assert stat.S_IMODE((tmp_path / "html").stat().st_mode) == 0o640, "it keeps its rights"
    assert {path.name for path in tmp_path.iterdir()} >= {"html"}
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]
    told = bare("health", "check", "--to", "/dev/null", expect=3)
    assert "is no file" in told.err


def test_changes_alone(bare: Cli, found: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTMASTER_HEALTH_FLAP", "2")
    found(("queue", "size", C))
    quiet = bare("health", "check", "--changes", expect=2)
    assert (quiet.out, quiet.err) == ("", "")
    assert bare("health", "check", "-o", "json", expect=2).json["changes"] is None
    table = bare("health", "check", "--changes", expect=2).out
    assert table.splitlines()[1].split()[:4] == ["began", "critical", "queue", "size"]
    assert bare("health", "check", "--changes", expect=2).out == ""
    found(("queue", "size", K))
    assert bare("health", "check", "--changes").out == ""
    rows = bare("health", "check", "--changes", "-o", "json").json["changes"]
    assert [(row["change"], row["status"], row["before"]) for row in rows] == [("ended", "ok", "critical")]
    assert rows[0]["remedy"] is None, "there is nothing left to do"
    csv = bare("health", "check", "--changes", "-o", "csv").out
    assert csv.strip().split(",") == list(EVENT_KEYS)
    assert bare("health", "check", "--changes", "-o", "json").json["changes"] == []


def test_what_changed(bare: Cli, found: Set) -> None:
    for severity in (W, C, W, K):
        found(("queue", "size", severity), ("machine", "disk", K))
        bare("health", "check", expect=None)
    rows = bare("health", "history", "-o", "json").json
    assert [row["change"] for row in rows] == ["began", "worse", "better", "ended"]
    assert key_paths(rows[0]) == json_keys("health history")
    assert bare("health", "history", "machine", "-o", "json").json == []
    assert bare("health", "history", "--since", "2h", "-o", "json").json == rows
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert bare("health", "history", "--since", tomorrow).out == "nothing changed\n"
    assert bare("health", "history", "-o", "csv").out.count("\n") == 5
    assert "began" in bare("health", "history", "queue").out
    assert "there is no check nonsense" in bare("health", "history", "nonsense", expect=3).err
    assert "is no time" in bare("health", "history", "--since", "soon", expect=3).err


def test_availability(bare: Cli, found: Set) -> None:
    assert bare("health", "availability").out == "nothing is known yet\n"
    found(("services", "smtp", K), ("services", "imap", C), ("machine", "disk", K))
    for _ in range(2):
        bare("health", "check", expect=2)
        time.sleep(0.01)
    rows = bare("health", "availability", "-o", "json").json
    assert [(row["object"], row["percent"]) for row in rows] == [("imap", 0.0), ("smtp", 100.0)]
    assert set(rows[0]) == json_keys("health availability")
    assert [row["object"] for row in bare("health", "availability", "machine", "-o", "json").json] == ["disk"]
    assert "100.00" in bare("health", "availability").out


def test_acknowledged_problems(bare: Cli, found: Set) -> None:
    found(("queue", "size", W), ("queue", "oldest", W), ("machine", "disk", W))
    bare("health", "check", expect=1)
    rows = bare("health", "ack", "queue", "--until", "2d", "--reason", "new disk", "-o", "json").json
    assert {row["object"] for row in rows} == {"size", "oldest"}
    assert set(rows[0]) == json_keys("health ack, unack, acks")
    told = bare("health", "check", "--changes", "-o", "json", expect=1).json
    assert [row["object"] for row in told["changes"]] == ["disk"]
    by_object = {one["object"]: one["acknowledged"] for one in told["findings"]}
    assert by_object["disk"] is None
    assert by_object["size"]["reason"] == "new disk"
    known = {f"findings[].acknowledged.{key}" for key in json_keys("health ack, unack, acks")}
    changed = {f"changes[].{key}" for key in json_keys("health history")}
    assert key_paths(told) == json_keys("health") | known | changed
    assert len(bare("health", "acks", "-o", "json").json) == 2
    bare("health", "unack", "queue/size/bad")
    assert [row["object"] for row in bare("health", "acks", "-o", "json").json] == ["oldest"]
    changes = bare("health", "check", "--changes", "-o", "json", expect=1).json["changes"]
    assert [row["object"] for row in changes] == ["size"]
    found(("queue", "oldest", C))
    changes = bare("health", "check", "--changes", "-o", "json", expect=2).json["changes"]
    assert {(row["object"], row["change"]) for row in changes} == {
        *(("oldest", "worse"), ("size", "ended"), ("disk", "ended")),
    }
    assert bare("health", "acks").out == "nothing is acknowledged\n"


def test_what_cannot_be_acknowledged(bare: Cli, found: Set) -> None:
    assert "no problem is known" in bare("health", "ack", "queue", "--until", "2d", expect=3).err
    found(("queue", "size", W))
    bare("health", "check", expect=1)
    for until in ("yesterday", "soon", "2020-01-01", "2d ago", "9999-01-01"):
        assert bare("health", "ack", "queue", "--until", until, expect=3).err.count("\n") == 1
    told = bare("health", "ack", "que", "--until", "2d", expect=3)
    assert "queue/size/bad" in told.err
    assert "nothing is acknowledged as queue" in bare("health", "unack", "queue", expect=3).err
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT12:00:00Z")
    (row,) = bare("health", "ack", "queue/size", "--until", tomorrow, "-o", "json").json
    assert row["until"] == tomorrow


def test_a_missed_run_is_told(bare: Cli, found: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    found(("queue", "size", K))
    bare("health", "check", "--every", "5m")
    real = time.time
    monkeypatch.setattr("postmaster.health.record.time.time", lambda: real() + 3600)
    told = bare("health", "check", "--changes", "--every", "5m")
    assert told.out == ""
    assert "no run from" in told.err.lower()
    monkeypatch.setattr("postmaster.health.record.time.time", lambda: real() + 9000)
    gap = bare("health", "check", "--changes", "--every", "5m", "-o", "json").json["missed"]
    assert key_paths(gap) == json_keys("health missed")
    missed = bare("health", "check", "-o", "json").json["missed"]
    assert missed is None, "not where changes were not asked for"


def test_another_run_is_under_way(bare: Cli, found: Set) -> None:
    settings = load_settings(bare.file, {})
    found(("queue", "size", W))
    with alone(settings.state):
        told = bare("health", "check", "-o", "json", expect=3)
        assert told.error["code"] == "busy"
    bare("health", "check", expect=1)
    with alone(settings.state):
        told = bare("health", "check", expect=1)
        assert "another health check is under way; mail was warning" in told.err
        assert told.err.count("\n") == 1
        assert bare("health", "check", "-o", "nagios", expect=1).out.startswith("MAIL WARNING - another")
    bare("health", "check", expect=1)


def test_what_the_checks_are(bare: Cli) -> None:
    rows = bare("health", "list", "-o", "json").json
    assert [row["name"] for row in rows] == list(NAMES)
    assert set().union(*map(key_paths, rows)) == json_keys("health list")
    for row in rows:
        codes = {one["code"]: one["meaning"] for one in row["codes"]}
        assert codes == {**load(row["name"]).codes, **COMMON_CODES}
    shown = bare("health", "list", "queue").out
    for text in (*load("queue").codes, *load("queue").codes.values(), "health.queue_warning"):
        assert text in shown
    assert set(bare("health", "list", "queue", "-o", "json").json) == set(rows[0])
    assert "there is no check nonsense" in bare("health", "list", "nonsense", expect=3).err
    assert "queue" in bare("health", "list").out


@pytest.mark.parametrize("name", NAMES)
def test_every_check_has_what_list_and_docs_need(name: str) -> None:
    check = load(name)
    assert check.meaning
    assert all(code == code.lower() and " " not in code and text for code, text in check.codes.items())
    assert not set(check.codes) & set(COMMON_CODES)


def test_every_setting_is_of_a_check_or_of_all() -> None:
    of_checks = {key for name in NAMES for key in load(name).settings}
    assert of_checks <= {one.name for one in fields(HealthSettings)}
    for one in fields(HealthSettings):
        assert one.name.startswith(GENERAL) is (one.name not in of_checks), one.name
