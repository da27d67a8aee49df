"""A full check of a healthy lab beside its own slowest check, and what `health list` takes to start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from postmaster.health.checks import NAMES, load
from postmaster.health.finding import NO_ANSWER, Check, Severity
from postmaster.health.run import run
from postmaster.lab import lifecycle
from postmaster.settings import Settings, load_settings
from tests.bench.measuring import (
    POSTMASTER,
    PYTHON,
    Figure,
    LeftOut,
    Times,
    compared,
    in_turn,
    process,
)
from tests.tools.machine import missing_for_servers
from tests.tools.measured import measured

RUNS = 7
START_RUNS = 30
SLOW = "round-trip"  # waits for a delivery
ALL = "all at once"
WHOLE, MEMORY = 3000.0, 120.0  # ms and MiB that a command may take
BARE, BARE_LIMIT = "python -c pass", 10.0


def figures() -> Iterator[Figure | LeftOut]:
    yield from _start()
    why = missing_for_servers()
    if why is not None:
        yield LeftOut("health check", why)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = lifecycle.start(folder / "lab").settings_file
        try:
            yield from _whole(load_settings(file, {}), file)
        finally:
            lifecycle.remove(folder / "lab")


def _start() -> Iterator[Figure]:
    ours = "postmaster health list"
    tasks = {ours: process([POSTMASTER, "health", "list"]), BARE: process([PYTHON, "-c", "pass"])}
    times = in_turn(tasks, START_RUNS)
    yield compared(ours, times[ours], times[BARE], BARE, BARE_LIMIT)


def _whole(settings: Settings, file: Path) -> Iterator[Figure]:
    checks = [load(name) for name in NAMES if name != SLOW]
    tasks = {one.name: partial(_run, settings, [one]) for one in checks}
    each = in_turn({ALL: partial(_run, settings, checks), **tasks}, RUNS)
    together = each.pop(ALL)
    slowest = max(each, key=lambda name: each[name].middle)
    yield Figure(
        f"{len(checks)} health checks at once",
        *(together.middle, each[slowest].middle),
        f"the slowest alone, {slowest}",
        f"medians of {RUNS} runs (minima {together.least:.0f}, {each[slowest].least:.0f})",
        limit=1.5,
        note=_all(each),
    )
    command = [POSTMASTER, "--config", str(file), "health", "check", "-o", "json"]
    if SLOW in NAMES:
        command += ["--skip", SLOW]
    took, memory = zip(*(measured(command, allowed=(0, 1)) for _ in range(RUNS)), strict=True)
    how = f"medians of {RUNS} runs"
    times = Times(took)
    yield Figure("health check of a lab", times.middle, WHOLE, "3 s", how, limit=1)
    yield Figure("its memory", max(memory), MEMORY, "120 MiB", f"most of {RUNS} runs", "MiB", limit=1)


def _run(settings: Settings, checks: Sequence[Check]) -> None:
    found = run(settings, checks)
    wrong = [one for one in found if one.severity is Severity.critical or one.code == NO_ANSWER]
    assert not wrong, wrong


def _all(each: dict[str, Times]) -> str:
    return ", ".join(f"{name} {times.middle:.0f}" for name, times in each.items())


if __name__ == "__main__":
    from tests.bench.__main__ import line, table

    print(table([line(one) for one in figures()]))
