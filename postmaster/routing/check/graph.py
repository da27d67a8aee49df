"""Faults of the graph: circles, targets that do not exist, addresses that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from postmaster.directory.snapshot import NOWHERE, Snapshot
from postmaster.routing.check import remedies
from postmaster.routing.check.finding import Finding
from postmaster.routing.circles import circles

SHOWN = 10  # addresses of a circle that a message names


def check(snapshot: Snapshot) -> Iterator[Finding]:
    faulty: set[int] = set()
    edges = {source: [e.to for e in found if e.to >= 0] for source, found in snapshot.edges.items()}
    for circle in sorted(circles(edges), key=lambda one: snapshot.text(one[0])):
        faulty.update(circle)
        way = [snapshot.shown(one) for one in circle[:SHOWN]]
        more = f" and {len(circle) - SHOWN} more" if len(circle) > SHOWN else ""
        yield Finding(
            "loop",
            way[0],
            f"mail goes in a circle: {' → '.join([*way, way[0]])}{more}",
            remedies.taken_out(snapshot, circle[0]),
        )
    for source in sorted(snapshot.edges, key=snapshot.text):
        dead = [edge for edge in snapshot.edges[source] if edge.to == NOWHERE]
        for edge in dead:
            faulty.add(source)
            ways = (remedies.made(snapshot, edge), remedies.taken_out(snapshot, source))
            yield Finding(
                "dead_target",
                snapshot.shown(source),
                f"it leads to {edge.local}@{edge.domain}, which does not exist",
                "; or take it out: ".join(filter(None, ways)),
            )
    for source in sorted(snapshot.edges, key=snapshot.text):
        mailbox = snapshot.mailboxes.get(source)
        is_meant = source in snapshot.ended or (mailbox is not None and not mailbox.takes)
        if source not in snapshot.open and source not in faulty and not is_meant:
            yield Finding(
                "dead_end",
                snapshot.shown(source),
                "every target is switched off, has ended, or leads nowhere itself: mail for it is refused",
                remedies.opened(snapshot, source),
            )
