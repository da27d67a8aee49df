"""Whether systemd runs this machine, and starting a service as it knows it.

A server that its own program starts runs, yet systemd takes it for stopped: it would neither stop it at
shutdown nor say in `systemctl status` that it is there. So where there is a unit for it, that is used.
"""

from __future__ import annotations

from pathlib import Path

from postmaster.process import run

RUNNING = Path("/run/systemd/system")  # there while systemd is the first process, sd_booted(3)


def is_running() -> bool:
    return RUNNING.is_dir()


def has_unit(unit: str) -> bool:
    """Whether systemd runs and has read a unit of that name, for example `dovecot.service`."""
    if not is_running():
        return False
    asked = run(["systemctl", "show", "--property=LoadState", "--value", unit], expect=None)
    return asked.stdout.strip() == "loaded"


def restart(unit: str) -> None:
    """Start a unit, also one that systemd takes for active although its process has ended.

    Raises ProcessError.
    """
    run(["systemctl", "restart", unit], hint=f"see: systemctl status {unit}; journalctl -u {unit}")
