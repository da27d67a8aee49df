"""Round trips on a lab, and what they could leave behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from postmaster.health.finding import Finding
from postmaster.health.run import choose, run
from postmaster.settings import Settings
from tests.tools.mail import Lab

ROUND_TRIP = ["round-trip"]


def tried(settings: Settings) -> dict[str, Finding]:
    return {one.object: one for one in run(settings, choose(ROUND_TRIP, []))}


def left(lab: Lab) -> dict[str, object]:
    """All that a round trip could leave behind."""
    found: dict[str, object] = {}
    for name, table in (("dovecot", "account"), ("postfix", "address"), ("postfix", "domain")):
        file = lab.root / "lookups" / f"{name}.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            rows = connection.execute(f"SELECT count(*) FROM {table} WHERE id < 0").fetchone()[0]
        found |= {f"rows of {table}": rows} if rows else {}
    folders = [path.name for path in (lab.root / "mail").glob("probe-*")]
    found |= {"folders": folders} if folders else {}
    queued = json.loads(lab.postmaster("queue", "list", "sender=probe@*", "-o", "json").stdout)
    found |= {"messages": queued} if queued else {}
    notes = list((lab.root / "state" / "health" / "trips").glob("*"))
    return found | ({"notes": notes} if notes else {})
