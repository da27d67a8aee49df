"""Curves and columns are well-formed, stay inside their drawing, and keep a spike a spike."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.render.svg import BUCKETS, HEIGHT, WIDTH, Point, columns, curve, thinned

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
POINTS = st.lists(st.tuples(st.floats(0, 4e9), NUMBERS, NUMBERS, NUMBERS), max_size=200)


def flat(*values: float) -> list[Point]:
    return [(60.0 * at, value, value, value) for at, value in enumerate(values)]


def inside(drawing: str) -> None:
    """It parses, and every place it names is in the drawing."""
    root = ElementTree.fromstring(drawing)
    for path in root:
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT


@given(POINTS, st.text(), st.lists(st.tuples(NUMBERS, st.sampled_from(("warning", "critical"))), max_size=4))
def test_any_curve_is_well_formed(points: list[Point], label: str, limits: list[tuple[float, str]]) -> None:
    if drawing := curve(points, label, limits):
        inside(drawing)


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=60), st.text())
def test_any_columns_are_well_formed(values: list[float | None], label: str) -> None:
    if drawing := columns(values, label):
        inside(drawing)


@given(st.lists(st.floats(0, 1e9), min_size=2 * BUCKETS + 1, max_size=2000))
def test_what_is_thinned_keeps_the_extremes_and_is_small(values: list[float]) -> None:
    points = flat(*values)
    kept = thinned(points)
    assert len(kept) <= 2 * BUCKETS + 2
    assert set(kept) <= set(points)
    assert max(point[3] for point in kept) == max(values)
    assert min(point[2] for point in kept) == min(values)
    assert (kept[0], kept[-1]) == (points[0], points[-1])


@pytest.mark.parametrize("values", [(), (3,), (float("nan"), 3)])
def test_without_two_points_there_is_nothing_to_draw(values: tuple[float, ...]) -> None:
    assert curve(flat(*values), "x") == ""


def test_a_curve_is_drawn_from_zero_up() -> None:
    assert 'class="line" d="M0 94L300 6L600 50"' in curve(flat(0, 100, 50), "x")
    assert 'class="line" d="M0 6L600 6"' in curve(flat(5, 5), "x")


def test_a_limit_is_drawn_where_values_come_near_it() -> None:
    drawing = curve(flat(10, 80), "x", [(100, "warning"), (1000, "critical")])
    assert 'class="warning" d="M0 6H600"' in drawing
    assert "critical" not in drawing


def test_where_nothing_was_measured_for_long_there_is_no_line() -> None:
    points = [*flat(1, 2, 3), *((at + 9000, *rest) for at, *rest in flat(1, 2, 3))]
    drawing = curve(points, "x")  # type: ignore[arg-type]
    (line,) = re.findall(r'class="line" d="([^"]+)"', drawing)
    assert line.count("M") == 2


def test_the_room_between_lowest_and_highest_is_shaded() -> None:
    assert 'class="band"' not in curve(flat(1, 2), "x")
    assert 'class="band" d="M0 50L600 6L600 94L0 50Z"' in curve([(0, 5, 5, 5), (60, 5, 0, 10)], "x")


def test_columns_show_what_is_small_and_leave_gaps() -> None:
    drawing = columns([1000, None, 1], "x")
    assert drawing.count("M") == 2
    assert "v-94" in drawing
    assert "v-1h" in drawing
    assert columns([0, None], "x") == ""
