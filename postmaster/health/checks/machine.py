"""The machine under the servers: room, memory, load, clock, what waits for a restart, the last backup.

Linux tells all of it in /proc and by two system calls. What it does not tell, such as a clock that the
host of a container keeps, is unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_least, at_most
from postmaster.process import children

if TYPE_CHECKING:
    from postmaster.settings import HealthSettings, Settings

MEANING = "room for queue, mail and state; memory, load, clock, pending restarts, backup"
CODES = {
    "disk-full": "less space is free than the settings, or Postfix to take a message, demand",
    "inodes-gone": "fewer inodes are free than the settings demand",
    "disk-unknown": "a folder cannot be looked at",
    "memory-low": "less memory is available than the settings demand",
    "swap-full": "more swap is in use than the settings allow",
    "load-high": "more processes wait for a core than the settings allow",
    "files-exhausted": "the system is near its limit of open files",
    "clock-unsynchronised": "a time server is configured, and the clock does not follow it",
    "clock-unknown": "nothing on this machine tells whether the clock is right",
    "restart-pending": "an update waits for the machine to be started again",
    "restart-servers": "a server still runs programs or libraries that were replaced on disk",
    "backup-old": "the newest backup is older than the settings allow",
    "backup-missing": "there is no backup where the settings say one is",
}
SETTINGS = (
    *("disk_free_warning", "disk_free_critical", "memory_free_warning", "memory_free_critical"),
    *("swap_used_warning", "load_warning", "load_critical", "clock"),
    *("backup_path", "backup_age_warning", "backup_age_critical"),
)
MESSAGES_OF_ROOM = 1.5  # smtpd takes no message below so many times message_size_limit (smtpd_check.c)
FILES_USED = 90.0  # percent
BACKUPS = 10_000  # files that are looked at
PROCESSES = 256  # of each server that are looked at
_TIME_KEEPERS = ("chronyd", "ntpd", "systemd-timesyn", "ptp4l", "ntpsec")


def run(context: Context) -> Iterator[Finding]:
    settings, limits = context.settings, context.settings.health
    yield from _room(settings)
    memory = _numbers(Path("/proc/meminfo"))
    yield from _memory(memory, limits)
    yield _load(limits)
    yield _files()
    if limits.clock:
        yield _clock()
    yield from _restarts(settings)
    if limits.backup_path:
        yield _backup(Path(limits.backup_path), limits)


def _room(settings: Settings) -> Iterator[Finding]:
    from postmaster.postfix import postconf
    from postmaster.postfix.instances import NAMELESS, instances

    limits = settings.health
    places: list[tuple[str, Path, float]] = []
    for one in instances(settings.postfix.config_directory):
        asked = postconf.expanded(one.config_directory, ("message_size_limit", "queue_minfree"))
        size, minimum = (int(text) if text.isdigit() else 0 for text in asked.values())
        name = "queue" if one.name == NAMELESS else f"{one.name}/queue"
        places.append((name, one.spool, max(MESSAGES_OF_ROOM * size, minimum)))
    places += [("mail", settings.mail.root, 0), ("state", settings.state.directory, 0)]
    for name, path, least in places:
        try:
            found = os.statvfs(path)
        except OSError as error:
            message = f"{path} cannot be looked at: {error.strerror}"
            yield Finding(
                *("machine", name, "disk-unknown", Severity.unknown, message), f"does it exist? ls -ld {path}"
            )
            continue
        warning, critical = at_least(limits.disk_free_warning), at_least(limits.disk_free_critical)
        blocks = 100 * found.f_bavail / found.f_blocks if found.f_blocks else 100.0
        inodes = 100 * found.f_favail / found.f_files if found.f_files else 100.0
        free = found.f_bavail * found.f_frsize
        space = Measure("space_free", blocks, "%", warning, critical, 0, 100)
        files = Measure("inodes_free", inodes, "%", warning, critical, 0, 100)
        room = Measure("bytes_free", free, "B", None, at_least(least) if least else None, 0)
        message = f"{path}: {blocks:.0f} % of the space and {inodes:.0f} % of the inodes free"
        if room.severity:
            message += f"; with {free >> 20} MiB free Postfix takes no message"
        severity = max(space.severity, files.severity, room.severity)
        is_space = max(space.severity, room.severity) >= files.severity
        code, remedy = ("disk-full", f"du -xh {path} | sort -h shows what takes the room")
        if not is_space:
            code, remedy = "inodes-gone", f"du -x --inodes {path} | sort -n shows where the files are"
        if severity is Severity.ok:
            yield Finding("machine", name, OK, severity, message, None, (space, files, room))
        else:
            yield Finding("machine", name, code, severity, message, remedy, (space, files, room))


def _memory(found: dict[str, int], limits: HealthSettings) -> Iterator[Finding]:
    total, available = found.get("MemTotal", 0), found.get("MemAvailable")
    if total and available is not None:
        share = 100 * available / total
        warning, critical = at_least(limits.memory_free_warning), at_least(limits.memory_free_critical)
        measure = Measure("available", share, "%", warning, critical, 0, 100)
        message = f"{share:.0f} % of {total >> 10} MiB are available"
        yield _judged("memory", "memory-low", message, measure, "ps -eo rss,args --sort -rss | head")
    swap = found.get("SwapTotal", 0)
    if swap:
        share = 100 * (swap - found.get("SwapFree", 0)) / swap
        measure = Measure("used", share, "%", at_most(limits.swap_used_warning), None, 0, 100)
        message = f"{share:.0f} % of {swap >> 10} MiB are in use"
        yield _judged("swap", "swap-full", message, measure, "ps -eo rss,args --sort -rss | head")


def _load(limits: HealthSettings) -> Finding:
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[1] / cores
    measure = Measure("per_core", load, "", at_most(limits.load_warning), at_most(limits.load_critical), 0)
    message = f"{load:.2f} for each of {cores} cores over five minutes"
    return _judged("load", "load-high", message, measure, "top -b -n 1 | head -20")


def _files() -> Finding:
    try:
        used, _, most = map(int, Path("/proc/sys/fs/file-nr").read_text().split())
    except (OSError, ValueError):
        return Finding("machine", "files", OK, Severity.ok, "the system names no limit")
    share = 100 * used / most if most else 0.0
    measure = Measure("open", share, "%", at_most(FILES_USED), None, 0, 100)
    message = f"{share:.1f} % of the files that may be open are"
    return _judged("files", "files-exhausted", message, measure, "sysctl fs.file-max; lsof | head")


def _clock() -> Finding:
    """Whether the kernel says that somebody steers its clock (`adjtimex(2)`)."""
    synchronised, error = _kernel_clock()
    if synchronised:
        measure = Measure("error", error, "s", minimum=0)
        message = f"synchronised, off by {error:.3f} s at most"
        return Finding("machine", "clock", OK, Severity.ok, message, None, (measure,))
    keeper = next((name for name in _process_names() if name in _TIME_KEEPERS), None)
    if keeper is not None and keeper != "ntpd":  # OpenNTPD bears that name, and tells the kernel nothing
        return Finding(
            *("machine", "clock", "clock-unsynchronised", Severity.warning),
            f"{keeper} runs, and the kernel's clock is not synchronised",
            "timedatectl timesync-status, or: chronyc sources",
        )
    return Finding(
        *("machine", "clock", "clock-unknown", Severity.unknown, "nothing tells whether the clock is right"),
        "apt install chrony; where the host keeps the time set health.clock = false",
    )


def _kernel_clock() -> tuple[bool, float]:
    """(does the kernel take its clock for synchronised, by how many seconds it may be off)."""
    import ctypes

    class Timex(ctypes.Structure):  # as sys/timex.h begins; the rest is room
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("frequency", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        )

    time_error, unsynchronised = 5, 0x40  # TIME_ERROR, STA_UNSYNC
    found = Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    return 0 <= state < time_error and not found.status & unsynchronised, found.maxerror / 1e6


def _process_names() -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "comm").read_text().strip()
            except OSError:
                continue


def _restarts(settings: Settings) -> Iterator[Finding]:
    from postmaster.dovecot import doveadm
    from postmaster.postfix import control

    required = Path("/run/reboot-required")
    if required.exists():
        try:
            why = sorted(set(Path("/run/reboot-required.pkgs").read_text(errors="replace").split()))[:5]
        except OSError:
            why = []
        message = "the machine waits to be started again" + (f" for {', '.join(why)}" if why else "")
        yield Finding("machine", "restart", "restart-pending", Severity.warning, message, "reboot")
    else:
        yield Finding("machine", "restart", OK, Severity.ok, "no update waits for a restart")
    try:
        masters = {
            "postfix": control.master_pid(settings.postfix.config_directory),
            "dovecot": doveadm.master_pid(settings.dovecot.config),
        }
    except PostmasterError as error:
        yield Finding(
            *("machine", "restart", "restart-servers", Severity.unknown, error.message),
            error.hint or "run it as root",
        )
        return
    for name, pid in masters.items():
        if pid is None:
            continue  # whether it should run is another check's question
        old = replaced(pid)
        if old:
            message = f"still runs what was replaced on disk, such as {old[0]}"
            yield Finding(
                *("machine", name, "restart-servers", Severity.warning, message), f"systemctl restart {name}"
            )
        else:
            yield Finding("machine", name, OK, Severity.ok, "runs what is on disk")


def replaced(master: int) -> list[str]:
    """Programs and libraries that a server's processes run and that are no longer on disk as they were.

    Looked at are the master and what it started, PROCESSES of them. What may not be read is passed over.
    """
    found: set[str] = set()
    for pid in [master, *sorted(children(master))][:PROCESSES]:
        try:
            text = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if not line.endswith(" (deleted)"):
                continue
            fields = line.split(None, 5)
            path = fields[5].removesuffix(" (deleted)") if len(fields) == 6 else ""
            if (
                "x" in fields[1]
                and path.startswith("/")
                and not path.startswith(("/dev/zero", "/memfd:", "/SYSV"))
            ):
                found.add(path)
    return sorted(found)


def _backup(path: Path, limits: HealthSettings) -> Finding:
    newest = _newest(path)
    remedy = "see why the backup did not run; health.backup_path says where it is looked for"
    if newest is None:
        message = f"there is no backup in {path}"
        return Finding("machine", "backup", "backup-missing", Severity.critical, message, remedy)
    age = max(0.0, time.time() - newest)
    warning, critical = at_most(limits.backup_age_warning * 3600), at_most(limits.backup_age_critical * 3600)
    measure = Measure("age", age, "s", warning, critical, 0)
    return _judged("backup", "backup-old", f"the newest file is {age / 3600:.1f} hours old", measure, remedy)


def _newest(top: Path) -> float | None:
    """When the newest file below a folder, or the file itself, was written; None for none."""
    newest, seen = None, 0
    waiting = [top]
    while waiting and seen < BACKUPS:
        path = waiting.pop()
        try:
            if path.is_dir() and (path == top or not path.is_symlink()):
                waiting.extend(path.iterdir())
                continue
            written = path.stat().st_mtime
        except OSError:
            continue
        seen += 1
        newest = written if newest is None else max(newest, written)
    return newest


def _numbers(path: Path) -> dict[str, int]:
    """The lines `Name: 123 kB` of a file in /proc, in KiB."""
    found = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def _judged(name: str, code: str, message: str, measure: Measure, remedy: str) -> Finding:
    severity = measure.severity
    if severity is Severity.ok:
        return Finding("machine", name, OK, severity, message, None, (measure,))
    return Finding("machine", name, code, severity, message, remedy, (measure,))
