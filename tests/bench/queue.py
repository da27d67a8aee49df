"""The queue beside Postfix's own tools: `python -m tests.bench.queue [COUNT]`, as root.

A synthetic spool is written, Postfix is not started. Before anything is timed, `postqueue -j`, `qshape`
and we must agree on what is in it. Each command runs as a process of its own, ours and theirs in turn,
so that both meet the same caches and the same neighbours.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postmaster.postfix.queue import Listing
from postmaster.queue.message import Message
from postmaster.queue.read import aggregate, messages
from postmaster.settings import Settings, load_settings
from tests.tools.spool_generator import RARE_SENDER, Written, fill, make_home

COUNT = 100_000  # messages
ROUNDS = 5
MEMORY = 120  # MiB that each of our processes may take
SHARED = ("queue_name", "queue_id", "arrival_time", "message_size", "forced_expire", "sender")


@dataclass(frozen=True)
class Row:
    """Medians in seconds, their ratio and what it may be at most; the most memory of a process of ours."""

    name: str
    ours: float
    theirs: float
    ratio: float
    target: float
    memory: float  # MiB

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.target and self.memory <= MEMORY


def run(count: int = COUNT, rounds: int = ROUNDS, tell: Callable[[str], Any] = lambda _: None) -> list[Row]:
    """Write a spool, check that all agree about it, measure. Raises AssertionError where they do not."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIRECTORY")) as folder:
        home = make_home(Path(folder))
        home.config_directory.parent.chmod(0o755)
        fill(home, count, tell=lambda done: tell(f"{done} messages written") if done % 20_000 == 0 else None)
        check_agreement(home)
        tell("postqueue, qshape and we agree")
        return measure(home, rounds, tell)


def measure(home: Written, rounds: int, tell: Callable[[str], Any]) -> list[Row]:
    config, file = str(home.config_directory), str(home.settings_file)
    ours = [sys.executable, "-m", "postmaster", "--config", file, "queue"]
    own = [sys.executable, "-m", "tests.bench.queue"]
    postqueue = ["postqueue", "-c", config, "-j"]
    qshape = ["qshape", "-c", config, "deferred"]
    pairs: list[tuple[str, list[str], list[str], float]] = [
        ("everything, with all reasons, as jsonl", [*ours, "list", "-o", "jsonl"], postqueue, 0.9),
        ("the first 50", [*ours, "list", "--limit", "50"], postqueue, 0.08),
        ("1 in 100 by its sender", [*own, "--filter", file], postqueue, 0.5),
        ("recipient domains by age", [*own, "--summary", file], qshape, 0.33),
    ]
    rows = []
    for name, mine, theirs, target in pairs:
        times: tuple[list[float], list[float]] = ([], [])
        memory = 0.0
        for number in range(rounds + 1):
            first, used = timed(mine)
            second, _ = timed(theirs)
            if number:  # the first round warms the caches
                times[0].append(first)
                times[1].append(second)
            memory = max(memory, used)
        medians = statistics.median(times[0]), statistics.median(times[1])
        rows.append(Row(name, *medians, medians[0] / medians[1], target, memory))
        tell(f"{name}: {rows[-1].ratio:.2f} (at most {target})")
    return rows


def timed(command: Sequence[str]) -> tuple[float, float]:
    """(seconds, MiB of its largest process). Raises AssertionError when it fails."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{command} ended with {child.returncode}"
    return seconds, usage.ru_maxrss / 1024


def check_agreement(home: Written) -> None:
    """Postfix's tools, our two sources and the generator tell the same of the spool."""
    settings = load_settings(home.settings_file, {})
    assert digest(settings, "spool") == digest(settings, "postqueue")
    listed = subprocess.run(
        ["postqueue", "-c", str(home.config_directory), "-j"], capture_output=True, check=True
    ).stdout
    entries = [json.loads(line) for line in listed.splitlines()]
    shape = subprocess.run(
        ["qshape", "-c", str(home.config_directory), "deferred"], capture_output=True, text=True, check=True
    ).stdout
    total = re.search(r"TOTAL\s+(\d+)", shape)
    assert total is not None
    domains = summary(settings)
    assert len(entries) == home.messages
    assert sum(len(entry["recipients"]) for entry in entries) == home.recipients
    assert sum(entry["message_size"] for entry in entries) == home.size
    assert int(total[1]) == home.recipients == sum(domains.values())
    by_domain: Counter[str] = Counter()
    for (domain, _), number in domains.items():
        by_domain[domain] += number
    assert by_domain == home.domains
    assert chosen(settings) == home.rare


def digest(settings: Settings, source: str) -> tuple[int, int]:
    """(how many, a sum over all that both sources know): equal sums mean the same messages."""
    count = whole = 0
    for message in messages(settings, Listing(), source=source):
        count += 1
        recipients = tuple((one.address, one.delay_reason) for one in message.recipients)
        whole += hash((*(getattr(message, name) for name in SHARED), recipients))
    return count, whole


def summary(settings: Settings) -> Counter[tuple[str, int]]:
    """Recipients by domain and age, in buckets that double, as qshape has them."""
    now = time.time()

    def fold(found: Iterable[Message]) -> Counter[tuple[str, int]]:
        counted: Counter[tuple[str, int]] = Counter()
        for message in found:
            minutes = max(0, int((now - message.arrival_time) / 300))
            bucket = min(9, minutes.bit_length())
            for recipient in message.recipients:
                counted[recipient.address.rpartition("@")[2].lower(), bucket] += 1
        return counted

    def merge(one: Counter[tuple[str, int]], other: Counter[tuple[str, int]]) -> Counter[tuple[str, int]]:
        one.update(other)
        return one

    return aggregate(settings, Listing(), fold, merge, need=frozenset({"arrival_time", "recipients"}))


def chosen(settings: Settings, write: Callable[[str], Any] = str) -> int:
    """How many messages of the rare sender there are, each handed to `write` as a line."""
    from postmaster.cli.queue.rows import json_line
    from postmaster.queue.read import transform

    lines = transform(
        settings,
        Listing(),
        json_line,
        lambda message: message.sender == RARE_SENDER,
        test_need=frozenset({"sender"}),
    )
    count = 0
    for line in lines:
        write(line)
        count += 1
    return count


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--summary"]:
        for (domain, bucket), number in sorted(summary(load_settings(Path(arguments[1]), {})).items()):
            print(domain, bucket, number)
    elif arguments[:1] == ["--filter"]:
        chosen(load_settings(Path(arguments[1]), {}), print)
    else:
        count = int(arguments[0]) if arguments else COUNT
        rows = run(count, tell=lambda text: print(f"… {text}", file=sys.stderr))
        for row in rows:
            print(json.dumps({**asdict(row), "messages": count}))
        sys.exit(0 if all(row.is_met for row in rows) else 4)


if __name__ == "__main__":
    main(sys.argv[1:])
