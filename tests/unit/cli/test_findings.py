"""How findings look on a terminal: whole, and with remedies that can be copied."""

from __future__ import annotations

import io

import pytest
import typer

from postmaster.cli.findings import print_findings
from postmaster.render.output import Format
from postmaster.routing.check.finding import Finding

REMEDY = "postmaster alias set postmaster@example.org ADDRESS; postmaster alias set admin@example.org ADDRESS"
FOUND = Finding(
    "control_address", "admin@example.org", "its mail reaches a stranger \x1b[31m who reads it", REMEDY
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_narrow_terminal_the_words_are_wrapped_and_the_remedy_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Terminal()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", out)
    with pytest.raises(typer.Exit) as ended:
        print_findings(Format.table, [FOUND, FOUND])
    assert ended.value.exit_code == 4
    lines = out.getvalue().splitlines()
    assert lines[:5] == [
        "admin@example.org (control_address)",
        "  its mail reaches a stranger \\x1b[31m",
        "  who reads it",
        f"  {REMEDY}",
        "",
    ]
    assert len(lines) == 10
    assert capsys.readouterr().err == "2 findings\n"


def test_into_a_pipe_a_finding_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        print_findings(Format.table, [FOUND])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["CODE", "OBJECT", "FINDING", "REMEDY"]
    assert row.endswith(REMEDY)
