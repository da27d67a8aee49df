"""Where the log is: the settings' word first, then the usual places; no Postfix is needed to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from postmaster.postfix import logfiles, postconf
from postmaster.postfix.logfiles import log_files
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
