"""Where the log is: the settings' word first, then the usual places; no Postfix is needed to ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postmaster.postfix import logfiles, postconf
from postmaster.postfix.logfiles import latest_lines, log_files
from postmaster.settings import LogSettings, PostfixSettings

NONE = PostfixSettings(Path("/nonexistent"))


def test_the_settings_come_first() -> None:
    assert log_files(LogSettings((Path("/a"), Path("/b"))), NONE) == [Path("/a"), Path("/b")]


def test_then_what_postfix_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postconf, "value", lambda directory, name: {"maillog_file": "/x/mail.log"}[name])
    assert log_files(LogSettings(), NONE) == [Path("/x/mail.log")]


def test_then_the_usual_place_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = tmp_path / "maillog"
    there.touch()
    monkeypatch.setattr(logfiles, "USUAL", (tmp_path / "mail.log", there))
    assert log_files(LogSettings(), NONE) == [there]
    there.unlink()
    assert log_files(LogSettings(), NONE) == [tmp_path / "mail.log"]


def test_named_files_are_each_read_once() -> None:
    a, b = Path("/a"), Path("/b")
    assert logfiles.named_or_usual([a, None, b, a]) == [a, b]


def test_the_journal_comes_in_the_usual_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever looks for `ID: to=<` at a line's text finds it in an entry of the journal too."""
    entry = {
        "__REALTIME_TIMESTAMP": "1748464000000000",
        "_HOSTNAME": "mail",
        "SYSLOG_IDENTIFIER": "postfix/smtp",
        "SYSLOG_PID": "7",
        "MESSAGE": "3F2A1B: to=<amy@example.org>, relay=none, delay=1, status=deferred (lost)",
    }
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(entry)}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("postmaster.postfix.journal._FOLDER", tmp_path)
    log = LogSettings(files=(tmp_path / "none",))
    (text,) = latest_lines(log, PostfixSettings(), 1 << 20)
    assert "postfix/smtp[7]: 3F2A1B: to=<amy@example.org>" in text
