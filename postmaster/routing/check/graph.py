"""Faults of the graph: circles, targets that do not exist, addresses that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.directory.snapshot import NOWHERE, Snapshot
from postmaster.routing.check.finding import Finding

SHOWN = 10  # addresses of a circle that a message names


def check(snapshot: Snapshot) -> Iterator[Finding]:
    faulty: set[int] = set()
    for circle in sorted(circles(snapshot), key=lambda one: snapshot.text(one[0])):
        faulty.update(circle)
        way = [snapshot.shown(one) for one in circle[:SHOWN]]
        more = f" and {len(circle) - SHOWN} more" if len(circle) > SHOWN else ""
        yield Finding(
            "loop",
            way[0],
            f"mail goes in a circle: {' → '.join([*way, way[0]])}{more}",
            f"take one of these targets out: postmaster {_command(snapshot, circle[0], 'show')}",
        )
    for source in sorted(snapshot.edges, key=snapshot.text):
        dead = [edge for edge in snapshot.edges[source] if edge.to == NOWHERE]
        for edge in dead:
            faulty.add(source)
            yield Finding(
                "dead_target",
                snapshot.shown(source),
                f"it leads to {edge.local}@{edge.domain}, which does not exist",
                f"postmaster user add {edge.local.partition('+')[0]}@{edge.domain}, "
                f"or take it out: postmaster {_command(snapshot, source, 'show')}",
            )
    for source in sorted(snapshot.edges, key=snapshot.text):
        mailbox = snapshot.mailboxes.get(source)
        is_meant = source in snapshot.ended or (mailbox is not None and not mailbox.takes)
        if source not in snapshot.open and source not in faulty and not is_meant:
            yield Finding(
                "dead_end",
                snapshot.shown(source),
                "every target is switched off, has ended, or leads nowhere itself: mail for it is refused",
                f"give it another target: postmaster {_command(snapshot, source, 'show')}",
            )


def circles(snapshot: Snapshot) -> Iterator[list[int]]:
    """Every group of addresses that lead to one another, as a shortest way round from its first address.

    Tarjan's algorithm without recursion, as a chain may be long.
    """
    numbers: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    stacked: set[int] = set()
    edges = {source: [e.to for e in found if e.to >= 0] for source, found in snapshot.edges.items()}
    for root in edges:
        if root in numbers:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                numbers[node] = lowest[node] = len(numbers)
                stack.append(node)
                stacked.add(node)
            targets = edges.get(node, [])
            if at:
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
                    group: set[int] = set()
                    while not group or node not in group:
                        group.add(stack.pop())
                    stacked -= group
                    if len(group) > 1 or node in edges.get(node, []):
                        yield _way_round(min(group, key=snapshot.text), group, edges)


def _way_round(first: int, group: set[int], edges: dict[int, list[int]]) -> list[int]:
    came_from: dict[int, int] = {}
    waiting = [first]
    for node in waiting:
        for one in edges.get(node, []):
            if one == first:
                way = [node]
                while way[-1] != first:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if one in group and one not in came_from:
                came_from[one] = node
                waiting.append(one)
    raise AssertionError("an address of a circle leads back to itself")


def _command(snapshot: Snapshot, address_id: int, verb: str) -> str:
    noun = "alias" if snapshot.addresses[address_id][2] == "alias" else "forward"
    return f"{noun} {verb} {snapshot.shown(address_id)}"
