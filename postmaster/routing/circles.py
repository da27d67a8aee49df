"""Circles in a graph: every group of nodes that lead to one another, shown as one way round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

Node = TypeVar("Node", int, str)


def circles(edges: Mapping[Node, Sequence[Node]]) -> Iterator[list[Node]]:
    """A shortest way round from the first node of each group (Tarjan's strongly connected components).

    Without recursion, as a chain may be long. A node that leads to itself is a circle of one.
    """
    numbers: dict[Node, int] = {}
    lowest: dict[Node, int] = {}
    stack: list[Node] = []
    stacked: set[Node] = set()
    for root in edges:
        if root in numbers:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            targets = edges.get(node, ())
            if at == 0:
                numbers[node] = lowest[node] = len(numbers)
                stack.append(node)
                stacked.add(node)
            else:
                lowest[node] = min(lowest[node], lowest[targets[at - 1]])
            for number in range(at, len(targets)):
                one = targets[number]
                if one not in numbers:
                    work += [(node, number + 1), (one, 0)]
                    break
                if one in stacked:
                    lowest[node] = min(lowest[node], numbers[one])
            else:
                if lowest[node] == numbers[node]:
                    group: set[Node] = set()
                    while node not in group:
                        group.add(stack.pop())
                    stacked -= group
                    if len(group) > 1 or node in targets:
                        yield _way_round(min(group), group, edges)


def _way_round(first: Node, group: set[Node], edges: Mapping[Node, Sequence[Node]]) -> list[Node]:
    came_from: dict[Node, Node] = {}
    waiting = [first]
    for node in waiting:
        for one in edges.get(node, ()):
            if one == first:
                way = [node]
                while way[-1] != first:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if one in group and one not in came_from:
                came_from[one] = node
                waiting.append(one)
    raise AssertionError("a node of a circle leads back to itself")
