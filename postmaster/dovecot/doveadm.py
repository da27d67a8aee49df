"""Asking and steering a running Dovecot through its own programs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.process import run, start_daemon

HINT = "install the Debian packages dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sieve dovecot-sqlite"


def version() -> tuple[int, int]:
    """Dovecot's version, for example (2, 3). Raises ServerError, ProcessError."""
    text = run(["dovecot", "--version"], hint=HINT).stdout
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise ServerError(f"dovecot gave no version: {text.strip()}")
    return int(found[1]), int(found[2])


def setting(config: Path, name: str) -> str:
    """One global setting's value in force."""
    return run(["doveconf", "-c", str(config), "-h", name], hint=HINT).stdout.strip()


def check_configuration(config: Path) -> None:
    """Parse the whole configuration. Raises ProcessError with Dovecot's own complaint."""
    run(["doveconf", "-c", str(config), "-n"], hint="see the line that it names")


def master_pid(config: Path) -> int | None:
    """The running master's process id, None where it does not run."""
    file = Path(setting(config, "base_dir")) / "master.pid"
    try:
        pid = int(file.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name.startswith("dovecot") else None


def start(config: Path) -> None:
    start_daemon(["dovecot", "-c", str(config)], hint="see Dovecot's log")


def reload(config: Path) -> None:
    run(["doveadm", "-c", str(config), "reload"], hint=HINT)


def users(config: Path) -> list[str]:
    """Every login that Dovecot's userdb lists."""
    return run(["doveadm", "-c", str(config), "user", "*"], expect=None).stdout.split()


def logged_in(config: Path) -> Counter[str]:
    """How many sessions each login has open by IMAP, POP3 or ManageSieve. Raises ProcessError."""
    done = run(["doveadm", "-c", str(config), "-f", "tab", "who", "-1"], hint=HINT)
    return Counter(line.partition("\t")[0].lower() for line in done.stdout.splitlines()[1:])


def kick(config: Path, login: str) -> None:
    """End the sessions of a login; none is no error. Raises ProcessError.

    The name is taken for a pattern: one of ours has no character that is more than itself in one.
    """
    run(["doveadm", "-c", str(config), "kick", login], expect=(0, *_NOBODY), hint=HINT)


def flush_cache(config: Path, login: str) -> None:
    """Let Dovecot forget what it knows of a login's password, where it was told to keep a cache."""
    run(["doveadm", "-c", str(config), "auth", "cache", "flush", login], hint=HINT)


_NOBODY = (67, 68)  # sysexits.h, EX_NOUSER and EX_NOHOST: there was nobody to kick
