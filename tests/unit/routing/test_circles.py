"""Circles in a graph, held against the plain definition: who can get back to itself."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from postmaster.routing.circles import circles

GRAPHS = st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4), max_size=10)


def reach(graph: dict[int, list[int]], start: int) -> set[int]:
    seen: set[int] = set()
    waiting = list(graph.get(start, []))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, [])
    return seen


@given(GRAPHS)
def test_every_circle_is_one_and_every_node_on_one_is_in_a_group(graph: dict[int, list[int]]) -> None:
    found = list(circles(graph))
    for way in found:
        assert all(after in graph.get(before, []) for before, after in pairwise([*way, way[0]]))
        assert len(set(way)) == len(way)
    back = {node for node in graph if node in reach(graph, node)}
    groups = {
        frozenset(other for other in back if other in reach(graph, node) and node in reach(graph, other))
        for node in back
    }
    assert len(found) == len(groups)
    assert {way[0] for way in found} == {min(group) for group in groups}


def test_a_long_chain_is_no_problem() -> None:
    size = 50_000
    graph = {node: [node + 1] for node in range(size)}
    assert list(circles(graph)) == []
    graph[size] = [0]
    (way,) = circles(graph)
    assert len(way) == size + 1
