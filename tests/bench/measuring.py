"""Running things in turn with their floors, and what came out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

POSTMASTER = str(Path(sys.executable).with_name("postmaster"))
PYTHON = sys.executable


@dataclass(frozen=True)
class Figure:
    """One line of the table. `ours` and `floor` are in the unit; a limit is for their ratio."""

    what: str
    ours: float
    floor: float
    floor_is: str
    how: str
    unit: str = "ms"
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.floor

    @property
    def is_ok(self) -> bool:
        return self.limit is None or self.ratio <= self.limit


@dataclass(frozen=True)
class LeftOut:
    """What could not be measured here, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Times:
    """Milliseconds of several runs."""

    each: tuple[float, ...]

    @property
    def least(self) -> float:
        return min(self.each)

    @property
    def middle(self) -> float:
        return median(self.each)


def in_turn(tasks: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Times]:
    """Run every task once, then every task again, `runs` times: all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(runs + 1):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            if number:  # the first round fills caches
                times[name].append(1000 * (time.perf_counter() - begun))
    return {name: Times(tuple(each)) for name, each in times.items()}


def process(
    arguments: Sequence[str], *, settings: Path | None = None, stdin: str = ""
) -> Callable[[], object]:
    """A task: run a program to its end. It must succeed."""
    environment = dict(os.environ)
    if settings is not None:
        environment["POSTMASTER_CONFIG"] = str(settings)

    def run() -> object:
        return subprocess.run(
            arguments, check=True, input=stdin, text=True, stdout=subprocess.PIPE, env=environment
        )

    return run


def compared(
    what: str,
    ours: Times,
    floor: Times,
    floor_is: str,
    limit: float | None = None,
    note: str = "",
) -> Figure:
    how = f"minima of {len(ours.each)} alternating runs (medians {ours.middle:.1f}, {floor.middle:.1f})"
    return Figure(what, ours.least, floor.least, floor_is, how, limit=limit, note=note)
