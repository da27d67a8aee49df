"""What a command takes: time, and memory.

A child's peak (`ru_maxrss`) is at least what its parent held when it was made, so the command is started by
a Python that has loaded nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

_SMALL_PARENT = """
import os, sys, time
null = os.open(os.devnull, os.O_WRONLY)
begun = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - begun, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def measured(
    command: Sequence[str],
    *,
    allowed: Sequence[int] = (0,),
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> tuple[float, float]:
    """(milliseconds, MiB of its largest process); what it prints is thrown away.

    Raises AssertionError for an exit status that is not allowed, with what the command said on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _SMALL_PARENT, *command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=True,
    )
    seconds, peak, status = done.stdout.split()
    assert int(status) in allowed, f"{command} ended with {status}: {done.stderr}"
    return 1000 * float(seconds), int(peak) / 1024
