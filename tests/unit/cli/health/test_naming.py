"""What completion offers to health commands, with a state and without."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import typer

from postmaster.cli.health import naming
from postmaster.cli.state import State
from postmaster.health.changes import Acknowledgement
from postmaster.health.finding import Finding, Severity
from postmaster.health.state import open_state
from postmaster.settings import StateSettings
from tests.tools.building import settings_under


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Context:
    monkeypatch.setattr(State, "settings", settings_under(tmp_path))
    made = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    made.obj = State(None, False)
    return made


def test_names_of_checks() -> None:
    assert naming.check_names("q") == ["queue"]


def test_nothing_is_offered_without_a_state(context: typer.Context, tmp_path: Path) -> None:
    (tmp_path / "health.db").mkdir()
    assert naming.problem_names(context, "") == naming.acknowledged_names(context, "") == []


def test_problems_and_acknowledgements(context: typer.Context, tmp_path: Path) -> None:
    now = time.time()
    finding = Finding("queue", "size", "queue-long", Severity.warning, "long")
    with open_state(StateSettings(tmp_path)) as state:
        state.keep([finding], ["queue"], at=now, took=0, status=Severity.warning, every=None, flap=2, days=1)
        state.acknowledge([Acknowledgement(*finding.problem, Severity.warning, now + 99, "", "amy", now)])
    for names in (naming.problem_names, naming.acknowledged_names):
        assert names(context, "queue/") == ["queue/size/queue-long"]
        assert names(context, "dns") == []
