"""What this machine has of what the tests, the demo and the figures need."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 3 << 30  # bytes that a whole run never fills


def missing_for_servers(*also: str) -> str | None:
    """Why the real servers cannot be started here, None where they can. `also`: further programs."""
    if os.geteuid() != 0:
        return "the servers start as root, and this is not root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in ("postfix", "dovecot", "postmap", *also) if not shutil.which(name, path=path)]
    return f"not installed: {', '.join(missing)}" if missing else None


def memory_folder() -> Path | None:
    """A folder in memory that temporary files fit in and programs run from; None where there is none.

    Most of what the tests wait for on a disk is its confirmation that a database's change is kept. That
    matters where a machine loses its power, which no test shows.
    """
    try:
        there = os.statvfs(MEMORY)
    except OSError:
        return None
    free = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    room = min(there.f_bavail * there.f_frsize, int(free[1]) * 1024 if free else 0)
    is_fit = os.access(MEMORY, os.W_OK) and not there.f_flag & os.ST_NOEXEC and room >= ROOM
    return MEMORY if is_fit else None
