"""The table of figures says what is over its limit, and the exit status with it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tests.bench import __main__ as bench
from tests.bench.measuring import Figure, LeftOut, in_turn


def run(monkeypatch: pytest.MonkeyPatch, *figures: Figure | LeftOut) -> int:
    monkeypatch.setattr(bench, "parts", lambda: {"some-part": "tests.bench.some_part"})
    monkeypatch.setitem(sys.modules, "tests.bench.some_part", SimpleNamespace(figures=lambda: iter(figures)))
    return bench.main(["some-part"])


@pytest.mark.parametrize(("ours", "status", "word"), [(20.0, 0, "yes"), (20.1, 1, "NO")])
def test_a_limit_that_is_exceeded_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ours: float, status: int, word: str
) -> None:
    good = Figure("another", 5.0, 1.0, "its floor", "by hand")
    assert run(monkeypatch, Figure("a thing", ours, 10.0, "a floor", "by hand", limit=2), good) == status
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "a thing" in line)
    assert [cell.strip() for cell in line.split("|")][5:7] == ["2", word]


def test_what_cannot_be_measured_is_named_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, LeftOut("a thing", "there is no such server")) == 0
    assert "left out" in capsys.readouterr().out


def test_an_unknown_part_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["start"]) == 2
    told = capsys.readouterr().err
    assert all(part in told for part in ("directory", "queue", "start-up"))


def test_tasks_are_run_in_turn_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(one.each) for name, one in times.items()} == {"a": 2, "b": 2}
