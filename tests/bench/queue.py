"""The queue beside Postfix's own tools, on a synthetic spool of a hundred thousand messages.

Postfix is not started. Before anything is timed, `postqueue -j`, `qshape`, both our sources and the
generator must agree on what is in the spool. Another size: `python -m tests.bench.queue COUNT RUNS`.
Medians are compared, each from runs in turn, so that both meet the same caches and neighbours.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from postmaster.postfix.queue import Listing
from postmaster.queue.message import Message
from postmaster.queue.read import gather, messages, select
from postmaster.settings import Settings, load_settings
from tests.bench.measuring import POSTMASTER, Figure, LeftOut
from tests.tools.machine import missing_for_servers
from tests.tools.measured import measured
from tests.tools.spool_generator import RARE_SENDER, Written, fill, make_home

COUNT = 100_000  # messages
RUNS = 5
MEMORY = 120.0  # MiB that a process of ours may take
SHARED = ("queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender")


@dataclass(frozen=True)
class Pair:
    """A command of ours, what is measured against it, and what their ratio may be."""

    what: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    limit: float


def figures(count: int = COUNT, runs: int = RUNS) -> Iterator[Figure | LeftOut]:
    why = missing_for_servers()
    if why is not None:
        yield LeftOut("the queue", why)
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIRECTORY")) as name:
        folder = Path(name)
        folder.chmod(0o755)
        home = make_home(folder / "home")
        fill(home, count)
        check_agreement(home)
        yield from measure(home, runs)


def measure(home: Written, runs: int) -> Iterator[Figure]:
    config = str(home.config_directory)
    queue = (POSTMASTER, "--config", str(home.settings_file), "queue")
    postqueue = ("postqueue", "-c", config, "-j")
    qshape = ("qshape", "-c", config, "deferred")
    size = f"{home.messages:,}"
    summary = (*queue, "summary", "--by", "recipient-domain", "--age", "-o", "json")
    for pair in (
        Pair(f"queue list -o jsonl, {size} messages", (*queue, "list", "-o", "jsonl"), postqueue, 0.9),
        Pair(f"queue list, 50 of {size}", (*queue, "list", "--limit", "50"), postqueue, 0.08),
        Pair("queue list, 1 in 100 by sender", (*queue, "list", "--sender", RARE_SENDER), postqueue, 0.5),
        Pair("queue summary by domain and age", summary, qshape, 0.33),
    ):
        times: tuple[list[float], list[float]] = ([], [])
        memory = 0.0
        for number in range(runs + 1):
            for side in (number % 2, 1 - number % 2):  # who comes first changes
                taken, used = measured(pair.theirs if side else pair.ours)
                if number:  # the first round fills caches
                    times[side].append(taken)
                if not side:
                    memory = max(memory, used)
        assert memory <= MEMORY, f"{pair.what} took {memory:.0f} MiB"
        yield Figure(
            pair.what,
            *(statistics.median(times[0]), statistics.median(times[1])),
            " ".join(Path(word).name if "/" in word else word for word in (pair.theirs[0], pair.theirs[-1])),
            f"medians of {runs} alternating runs (minima {min(times[0]):.0f}, {min(times[1]):.0f})",
            limit=pair.limit,
            note=f"peak {memory:.0f} MiB",
        )


def check_agreement(home: Written) -> None:
    """Postfix's tools, our two sources and the generator tell the same. Raises AssertionError."""
    settings = load_settings(home.settings_file, {})
    assert digest(settings, "spool") == digest(settings, "postqueue")
    config = str(home.config_directory)
    count = recipients = size = 0
    with subprocess.Popen(["postqueue", "-c", config, "-j"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            entry = json.loads(line)
            count += 1
            recipients += len(entry["recipients"])
            size += entry["message_size"]
    assert (count, recipients, size) == (home.messages, home.recipients, home.size)
    shape = subprocess.run(["qshape", "-c", config, "deferred"], capture_output=True, text=True, check=True)
    total = re.search(r"TOTAL\s+(\d+)", shape.stdout)
    assert total is not None
    assert int(total[1]) == home.recipients
    assert domains(settings) == home.domains
    rare = select(settings, Listing(), lambda m: m.sender == RARE_SENDER, test_need=frozenset(("sender",)))
    assert sum(1 for _ in rare) == home.rare


def digest(settings: Settings, source: str) -> tuple[int, int]:
    """(how many, a sum over all that both sources know): equal sums mean the same messages."""
    count = whole = 0
    for message in messages(settings, Listing(), source=source):
        count += 1
        recipients = tuple((one.address, one.delay_reason) for one in message.recipients)
        whole += hash((*(getattr(message, name) for name in SHARED), recipients))
    return count, whole


def domains(settings: Settings) -> Counter[str]:
    """How many recipients each domain has."""

    def work(found: Iterable[Message]) -> Iterator[Counter[str]]:
        yield Counter(one.address.rpartition("@")[2] for message in found for one in message.recipients)

    return sum(gather(settings, Listing(), work, need=frozenset(("recipients",))), Counter())


if __name__ == "__main__":
    from tests.bench.__main__ import line, table

    print(table([line(one) for one in figures(*map(int, sys.argv[1:3]))]))
