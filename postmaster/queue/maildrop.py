"""Messages that lie in maildrop, which pickup takes into the queue under a new ID."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from postmaster.postfix.instances import Instance

PICKUP_WAIT = 5.0  # seconds that pickup may take over a message that it has open


def taken_by_pickup(place: Instance, deleted: Mapping[str, int]) -> set[str]:
    """Which deleted files pickup had open: it goes on, and the message comes in.

    `deleted` is queue ID -> an open descriptor of the file. Pickup has one file open at a time, for
    milliseconds. Waits until it has let go of it.
    """
    files = {}
    for queue_id, descriptor in deleted.items():
        status = os.fstat(descriptor)
        files[status.st_dev, status.st_ino] = queue_id
    taken: set[str] = set()
    ends = time.monotonic() + PICKUP_WAIT
    while time.monotonic() < ends:
        opened = {files[key] for key in _open_in_pickup(place) if key in files}
        if not opened:
            break
        taken |= opened
        time.sleep(0.02)
    return taken


def _open_in_pickup(place: Instance) -> Iterator[tuple[int, int]]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            if (process / "comm").read_text().strip() != "pickup":
                continue
            if not (process / "cwd").samefile(place.spool):
                continue
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    status = descriptor.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield status.st_dev, status.st_ino
