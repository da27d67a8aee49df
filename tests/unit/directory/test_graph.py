"""Many addresses held to the rules in one go are refused as each by itself is, whatever leads where."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.address import Address
from postmaster.directory import graph
from postmaster.directory.graph import Checks, Node
from postmaster.errors import RuleError
from tests.tools.building import A

COUNT = 9
OUTSIDE = A("x@elsewhere.example")


@dataclass
class Given:
    """Addresses of ours by their numbers, and what each leads to; those beyond the last are not there."""

    to: list[list[int]]

    def lead(self, where: Address) -> tuple[bool, Node | None]:
        if where == OUTSIDE:
            return False, None
        number = int(where.local.text)
        return True, node(number) if number < len(self.to) else None

    def targets_of(self, source_id: int) -> tuple[Address, ...]:
        return tuple(OUTSIDE if to < 0 else node(to).address for to in self.to[source_id])


def node(number: int) -> Node:
    return Node(number, "alias", A(f"{number}@example.org"))


def one_by_one(ways: Given, number: int) -> str:
    """What `check_targets` says of it, by ways of our own."""
    source = node(number)
    try:
        graph._follow(ways, source, graph.leads_of(ways, source, ways.targets_of(number)))
    except RuleError as error:
        return error.message
    return ""


def together(ways: Given, order: list[int]) -> dict[int, str]:
    checks, found = Checks(ways), dict.fromkeys(order, "")
    for number in order:
        try:
            checks.check(node(number), ways.targets_of(number))
        except RuleError as error:
            found[number] = error.message
    return found


TARGETS = st.lists(st.integers(-1, COUNT), max_size=3, unique=True)


@given(
    to=st.lists(TARGETS, min_size=COUNT, max_size=COUNT),
    order=st.permutations(range(COUNT)),
    limit=st.integers(1, 12),
)
def test_in_any_order(to: list[list[int]], order: list[int], limit: int) -> None:
    ways = Given(to)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "EXPANSION_LIMIT", limit)
        assert together(ways, order) == {number: one_by_one(ways, number) for number in order}


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain_is_looked_at_once(backwards: bool) -> None:
    count = 5000
    asked = 0

    class Counted(Given):
        def targets_of(self, source_id: int) -> tuple[Address, ...]:
            nonlocal asked
            asked += 1
            return super().targets_of(source_id)

    ways = Counted([*([number + 1] for number in range(count - 1)), []])
    order = list(range(count))
    found = together(ways, order[::-1] if backwards else order)
    assert [number for number in order if not found[number]] == order[-graph.EXPANSION_LIMIT - 2 :]
    assert asked < 10 * count


def test_of_a_long_circle_both_ends_are_told() -> None:
    ways = Given([*([number + 1] for number in range(39)), [0]])
    said = one_by_one(ways, 3)
    assert said.startswith("mail would go in a circle: 3@example.org → 4@example.org")
    assert said.endswith("2@example.org → 3@example.org")
    assert "(29 more)" in said
