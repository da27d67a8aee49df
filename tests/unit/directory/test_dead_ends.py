"""What is remembered of one address's answer changes no other's."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from postmaster.address import parse_address
from postmaster.directory.dead_ends import ALWAYS, NEVER, DeadEnds, Span, _State
from postmaster.directory.lookups import EVER

MOST = 8
NAMES = [parse_address(f"a{number}@house.example") for number in range(MOST + 2)]
OUTSIDE, NOWHERE = MOST, MOST + 1

ends = st.sampled_from([ALWAYS, ALWAYS, ALWAYS, NEVER, Span(0, 5), Span(0, 9)])
kept = st.sampled_from([NEVER, NEVER, NEVER, ALWAYS, Span(5, EVER), Span(9, EVER)])
targets = st.lists(st.sampled_from(NAMES), max_size=3).map(tuple)
states = st.lists(st.builds(_State, ends, kept, ends, targets), min_size=MOST, max_size=MOST)


def asking(known: list[_State]) -> DeadEnds:
    """Asks nobody: all is known already, circles and dates among it."""
    asked = DeadEnds(cast("Connection", None))
    asked._states = dict(enumerate(known))
    asked._leads = {name: (True, number) for number, name in enumerate(NAMES[:MOST])}
    asked._leads |= {NAMES[OUTSIDE]: (False, None), NAMES[NOWHERE]: (True, None)}
    return asked


@given(states, st.permutations(range(MOST)))
def test_in_any_order_each_answer_is_that_of_who_asks_for_it_alone(
    known: list[_State], order: list[int]
) -> None:
    together = asking(known)
    for number in order:
        alone, found = asking(known).open(number), together.open(number)
        assert found == alone or (found.is_empty and alone.is_empty)
