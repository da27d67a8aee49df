"""Starting, reloading and asking a Postfix instance through its own programs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from postmaster import systemd
from postmaster.errors import ProcessError
from postmaster.postfix import postconf
from postmaster.process import DEFAULT_TIMEOUT, run, start_daemon

_USUAL = Path("/etc/postfix")  # the instance that Debian's unit runs
_UNIT = "postfix.service"
_STARTING = 10.0  # seconds: the unit is done before the one of the instance, which it wants


def master_pid(config_directory: Path) -> int | None:
    """The running master's process id, None where it does not run."""
    return master_of(Path(postconf.value(config_directory, "queue_directory")))


def master_of(queue_directory: Path) -> int | None:
    """As `master_pid`, where the queue directory is known."""
    file = queue_directory / "pid" / "master.pid"
    try:
        pid = int(file.read_text())
        name, _, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except (OSError, ValueError):
        return None
    # One that has ended and waits for its parent to notice does not run.
    return pid if name == "master" and state.split()[0] != "Z" else None


def check(config_directory: Path) -> None:
    """Postfix's own check of files and rights. Raises ProcessError. It proves little more."""
    run(["postfix", "-c", str(config_directory), "check"], hint=postconf.HINT)


def start(config_directory: Path) -> None:
    """Start an instance that does not run, by systemd where that runs it. Raises ProcessError."""
    if config_directory != _USUAL or not systemd.has_unit(_UNIT):
        start_daemon(["postfix", "-c", str(config_directory), "start"], hint="see the mail log")
        return
    systemd.restart(_UNIT)
    end = time.monotonic() + _STARTING
    while master_pid(config_directory) is None:
        if time.monotonic() > end:
            raise ProcessError("Postfix did not start", hint="see: journalctl -u 'postfix*'")
        time.sleep(0.05)


def reload(config_directory: Path) -> None:
    run(["postfix", "-c", str(config_directory), "reload"], hint="see the mail log")


def stop(config_directory: Path) -> None:
    """Stop the instance, deliveries under way included."""
    run(["postfix", "-c", str(config_directory), "stop"], expect=None)


def query(
    config_directory: Path, table: str, keys: Iterable[str], *, timeout: float = DEFAULT_TIMEOUT
) -> dict[str, str]:
    """Ask a table for many keys at once, as the daemons would; keys without an answer are left out.

    Raises ProcessError when the table cannot be opened.
    """
    asked = "".join(f"{key}\n" for key in keys)
    done = run(
        ["postmap", "-c", str(config_directory), "-q", "-", table],
        stdin=asked,
        expect=(0, 1),
        timeout=timeout,
    )
    if done.status and "fatal:" in done.stderr:  # the status is that of a key that is not there
        raise ProcessError(f"postmap: {done.stderr.partition('fatal: ')[2].strip()}")
    answers = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("\t")
        answers[key] = value
    return answers
