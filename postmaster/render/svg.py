"""Curves and columns as inline SVG: no script, no text inside, so they stretch to any width.

Colours come from the page's style by class: `area`, `band`, `line`, `now`, `column`, and those of the limits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape

from postmaster.render.escape import printable

WIDTH, HEIGHT = 600, 100  # in the drawing's own units, which the page stretches
BUCKETS = 40  # of each the smallest and the largest value are drawn: a spike stays one
GAP = 6.0  # times the usual distance between two points, after which a line is not drawn on
HEAD = 6  # units that stay free at the top and at the bottom, for the stroke
MOST = 1e100  # what is larger, or no number, is not drawn
NEAR = 2.0  # times the largest value up to which a limit is still drawn

Point = tuple[float, float, float, float]  # seconds since 1970; value, the lowest and the highest of the time
Limit = tuple[float, str]  # value, class


def curve(points: Sequence[Point], label: str, limits: Sequence[Limit] = ()) -> str:
    """A value over time, from zero up; empty where there are not two points to connect.

    Where points stand for many values, the room between the lowest and the highest is shaded, else what is
    under the curve. `limits` are drawn as lines where the values come near them.
    """
    known = thinned(sorted(point for point in points if all(abs(number) < MOST for number in point)))
    if len(known) < 2 or known[0][0] == known[-1][0]:
        return ""
    lowest, highest = min(0.0, *(min(point[1:]) for point in known)), max(max(point[1:]) for point in known)
    shown = [(value, name) for value, name in limits if lowest <= value <= max(highest, 0.0) * NEAR]
    highest = max([highest, lowest, *(value for value, _ in shown)])
    begin, length, span = known[0][0], known[-1][0] - known[0][0], (highest - lowest) or 1.0

    def x(when: float) -> int:
        return round((when - begin) / length * WIDTH)

    def y(value: float) -> int:
        return round(HEIGHT - HEAD - (value - lowest) / span * (HEIGHT - 2 * HEAD))

    def path(points: Sequence[Point], which: int) -> str:
        return "L".join(f"{x(point[0])} {y(point[which])}" for point in points)

    lines, areas, bands = [], [], []
    for run in _runs(known):
        lines.append(f"M{path(run, 1)}" + ("h0" if len(run) == 1 else ""))
        if any(point[2] != point[3] for point in run):
            bands.append(f"M{path(run, 3)}L{path(run[::-1], 2)}Z")
        else:
            areas.append(f"M{x(run[0][0])} {y(lowest)}L{path(run, 1)}V{y(lowest)}Z")
    drawn = [("area", areas), ("band", bands)]
    drawn += [(name, [f"M0 {y(value)}H{WIDTH}"]) for value, name in shown]
    drawn += [("line", lines), ("now", [f"M{x(known[-1][0])} {y(known[-1][1])}h0"])]
    return _drawing(
        label, "".join(f'<path class="{escape(name)}" d="{"".join(d)}"/>' for name, d in drawn if d)
    )


def columns(values: Sequence[float | None], label: str) -> str:
    """A column for each value, from zero up; None leaves a gap. Empty without anything to draw."""
    known = [value for value in values if value is not None]
    if not known or max(known) <= 0:
        return ""
    step, most = WIDTH / len(values), max(known)
    drawn = []
    for at, value in enumerate(values):
        if value is None or value <= 0:
            continue
        height = max(1, round(value / most * (HEIGHT - HEAD)))  # something is not nothing
        drawn.append(f"M{at * step + step * 0.1:.1f} {HEIGHT}v-{height}h{step * 0.8:.1f}v{height}z")
    return _drawing(label, f'<path class="column" d="{"".join(drawn)}"/>')


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most two points for each part of the time, its lowest and highest; the first and the last one."""
    if len(points) <= 2 * BUCKETS:
        return list(points)
    begin, length = points[0][0], (points[-1][0] - points[0][0]) or 1.0
    extremes: dict[int, tuple[Point, Point]] = {}
    for point in points:
        bucket = min(BUCKETS - 1, int((point[0] - begin) / length * BUCKETS))
        low, high = extremes.get(bucket, (point, point))
        extremes[bucket] = (point if point[2] < low[2] else low, point if point[3] > high[3] else high)
    kept = {point for pair in extremes.values() for point in pair}
    return sorted(kept | {points[0], points[-1]})


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points, cut where nothing was measured for long: a line there would say what nobody knows."""
    steps = sorted(after[0] - before[0] for before, after in itertools.pairwise(points))
    usual = steps[len(steps) // 2]
    runs = [[points[0]]]
    for before, after in itertools.pairwise(points):
        if after[0] - before[0] > GAP * usual > 0:
            runs.append([])
        runs[-1].append(after)
    return runs


def _drawing(label: str, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(printable(label))}">{content}</svg>'
    )
