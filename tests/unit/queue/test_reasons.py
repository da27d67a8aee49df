"""Reasons of delay, grouped by incident: the labelled examples, the score, hostile texts."""

from __future__ import annotations

import re
from collections import defaultdict

from tests.tools.reasons import labelled_reasons

ROWS = labelled_reasons()


def test_the_labelled_reasons_are_enough_and_well_formed() -> None:
    assert len(ROWS) >= 200
    assert len({row.reason for row in ROWS}) == len(ROWS)
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for row in ROWS:
        assert row.label.strip() == row.label != ""
        assert row.reason.strip() == row.reason != ""
        assert re.fullmatch(r"4\.\d{1,3}\.\d{1,3}", row.dsn), row
        codes[row.label].add(row.dsn)
    assert {label for label, found in codes.items() if len(found) > 1} == set()
    several = [label for label in codes if sum(row.label == label for row in ROWS) > 1]
    assert len(several) >= 100
