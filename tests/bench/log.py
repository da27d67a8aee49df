"""A log of a million lines, counted and searched, beside pflogsumm. Totals are compared before times."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.measuring import POSTMASTER, Figure, LeftOut, compared, in_turn, process
from tests.tools.maillog import Traffic

LINES, RUNS = 1_000_000, 3
REPORT_LIMIT, MEMORY_LIMIT, PACKED_LIMIT = 0.25, 1.0, 1.0
TRACE_LIMIT, GROWTH_LIMIT = 0.12, 1.1
POLL = 0.02  # seconds between two looks at a process's memory


def figures() -> Iterator[Figure | LeftOut]:
    if shutil.which("pflogsumm") is None:
        yield LeftOut("a log counted", "pflogsumm is not installed")
        return
    with tempfile.TemporaryDirectory() as name:
        log, packed = Path(name, "mail.log"), Path(name, "mail.log.gz")
        Traffic(LINES).write(log)
        with log.open("rb") as file, gzip.open(packed, "wb", compresslevel=6) as out:
            shutil.copyfileobj(file, out)
        traced = [POSTMASTER, "trace", Traffic.traced, "-o", "json", "--log", str(log)]
        mine, other = [POSTMASTER, "log", "report", "--log", str(log), "-o", "json"], ["pflogsumm", str(log)]
        note = _totals(mine, other)
        counting = ["sh", "-c", f"zcat {packed} | wc -l"]
        unpacking = [POSTMASTER, "log", "report", "--log", str(packed), "-o", "json"]
        times = in_turn(
            {
                "ours": process(mine),
                "pflogsumm": process(other),
                "packed": process(unpacking),
                "zcat": process(counting),
                "trace": process(traced),
            },
            RUNS,
        )
        yield compared(
            f"{LINES:,} lines counted", times["ours"], times["pflogsumm"], "pflogsumm", REPORT_LIMIT, note
        )
        yield compared(
            f"{_messages(traced)} messages traced",
            times["trace"],
            times["pflogsumm"],
            "pflogsumm",
            TRACE_LIMIT,
        )
        floor = 2 * times["zcat"].least + times["ours"].least
        how = f"minima of {RUNS} alternating runs"
        yield Figure(
            "the same, packed by gzip", times["packed"].least, floor, "2 × zcat to wc -l + the plain log",
            how, limit=PACKED_LIMIT,
        )  # fmt: skip
        how = f"largest sum of all processes' memory (PSS), looked at every {1000 * POLL:.0f} ms"
        yield Figure(
            "memory to count them", peak(mine), peak(other), "pflogsumm", how, unit="MiB", limit=MEMORY_LIMIT
        )
        third = Path(name, "third.log")
        Traffic(LINES // 3).write(third)
        less = [*traced[:-1], str(third)]
        yield Figure(
            "memory to trace them", peak(traced), peak(less), "as many in a third of the lines", how,
            unit="MiB", limit=GROWTH_LIMIT,
        )  # fmt: skip


def _totals(mine: Sequence[str], other: Sequence[str]) -> str:
    """Raises AssertionError when the two do not count the same."""
    made = json.loads(subprocess.run(mine, check=True, capture_output=True).stdout)["totals"]
    text = subprocess.run([*other, "--detail", "0"], check=True, capture_output=True, text=True).stdout
    theirs = {key: int(number) for number, key in re.findall(r"^ +(\d+)  +(\w+)", text, re.MULTILINE)}
    for key in ("received", "delivered", "deferred", "bounced", "rejected"):
        assert made[key] == theirs[key], f"{key}: {made[key]}, pflogsumm {theirs[key]}"
    for key in ("received", "delivered"):
        size = re.search(rf"^ +(\d+)m +bytes {key}", text, re.MULTILINE)
        assert size is not None
        assert made[f"bytes_{key}"] >> 20 == int(size[1])
    return f"equal totals, {made['received']:,} messages"


def _messages(traced: Sequence[str]) -> int:
    """How many were found. Raises AssertionError when it is not what was written."""
    found = json.loads(subprocess.run(traced, check=True, capture_output=True).stdout)
    assert len(found) == Traffic(0).traced_messages
    assert all(one["outcome"] == "sent" for one in found)
    return len(found)


def peak(arguments: Sequence[str]) -> float:
    """The most memory, in MiB, that a program and its children held together."""
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    most = 0.0
    while child.poll() is None:
        most = max(most, sum(map(_memory, _family(child.pid))) / 1024)
        time.sleep(POLL)
    assert child.returncode == 0
    return most


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def _memory(pid: int) -> int:
    """KiB, what is shared counted in parts."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss: +(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
