"""Running the checks regularly: systemd's timers or a crontab, written, enabled, and taken away again.

Changes are told at once, a digest comes daily. What is written is ours by its first line; a file of that
name without it is somebody else's and stays. Nothing of what a person gives gets into a file but what has
the very form of an address, a time or a path: neither unit files nor crontabs can be quoted safely.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postmaster import systemd
from postmaster.address import parse_address
from postmaster.errors import ExistsError, PostmasterError, RightsError, UsageError
from postmaster.files import replace
from postmaster.process import run
from postmaster.settings import DEFAULT_FILE, Settings

MARK = "# Made by `postmaster health install`, gone with `postmaster health uninstall`."
UNITS = Path("/etc/systemd/system")
CRONTAB = Path("/etc/cron.d/postmaster-health")
NAMES = ("postmaster-health", "postmaster-digest")
_TO = "POSTMASTER_HEALTH_REPORT_TO"  # the setting health.report_to
TIMERS = tuple(f"{name}.timer" for name in NAMES)
LEAST, MOST = 60, 86_400  # seconds between runs
SENDING = 120  # seconds that sending may take
DIGEST = 3600  # seconds that a digest may take: it reads the log

_EVERY = re.compile(r"([0-9]{1,5})(s|m|min|h|d)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, None: 60}
_DAILY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_PATH = re.compile(r"/[A-Za-z0-9/._+@-]+")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#&*+/=?^_{}~-]+@[A-Za-z0-9.-]+")  # neither %, $, quotes nor spaces


@dataclass(frozen=True, slots=True)
class Schedule:
    """When: `every` in seconds, `daily` as hour and minute. `to`: empty for what the settings say."""

    every: int
    daily: tuple[int, int]
    to: str
    program: str
    config: str  # a settings file that is not the usual one, else empty
    limit: int  # seconds after which a run that tells changes is ended


@dataclass(frozen=True, slots=True)
class File:
    """A file and what becomes of it: written, kept (it is so already) or removed."""

    path: Path
    action: str
    content: str = ""


def parse_every(text: str) -> int:
    """Seconds between runs, from `5m`, `300s`, `1h`; a bare number is minutes. Raises UsageError."""
    found = _EVERY.fullmatch(text.strip())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not LEAST <= seconds <= MOST:
        raise UsageError(f"{text!r} is no time between a minute and a day", hint="for example 5m, 30m or 1h")
    return seconds


def parse_daily(text: str) -> tuple[int, int]:
    """Hour and minute, from `07:00`. Raises UsageError."""
    found = _DAILY.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no time of the day", hint="for example 07:00")
    return int(found[1]), int(found[2])


def schedule(settings: Settings, every: str, daily: str, to: str) -> Schedule:
    """What was asked for, checked. Raises UsageError, AddressError."""
    address = parse_address(to).ascii if to else ""
    if address and not _ADDRESS.fullmatch(address):
        raise UsageError(f"{to!r} cannot be written into a crontab or a unit", hint="set health.report_to")
    used = settings.file
    config = "" if used is None or used == DEFAULT_FILE else str(used.absolute())
    program = str(_program())
    for path in filter(None, (config, program)):
        if not _PATH.fullmatch(path):
            raise UsageError(
                f"{path!r} cannot be written into a crontab or a unit",
                hint="a path of letters, digits and . _ + @ - can",
            )
    limit = int(2 * settings.health.deadline) + 2 * SENDING  # another run, this one, and their mails
    return Schedule(parse_every(every), parse_daily(daily), address, program, config, limit)


def _program() -> Path:
    """The very command that is running."""
    beside = Path(sys.executable).with_name("postmaster")
    if beside.exists():
        return beside
    found = shutil.which("postmaster")
    if found is None:
        raise PostmasterError("the command postmaster was not found", hint="install it, or add it to PATH")
    return Path(found).absolute()


def detect() -> str:
    """`systemd` where it runs, else `cron`. Raises PostmasterError where there is neither."""
    if systemd.is_running():
        return "systemd"
    if CRONTAB.parent.is_dir() and shutil.which("cron", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        return "cron"
    raise PostmasterError(
        "neither systemd nor cron is running here", hint="apt-get install cron, or say --systemd or --cron"
    )


def units(wanted: Schedule) -> Iterator[tuple[Path, str]]:
    """systemd's units: a service and its timer for changes, and for the digest."""
    often = f"OnActiveSec=1min\nOnBootSec=1min\nOnUnitActiveSec={wanted.every}s\nAccuracySec=5s"
    daily = f"OnCalendar=*-*-* {_clock(wanted)}:00\nPersistent=true\nAccuracySec=1min"
    for name, what, command, when, limit in (
        (NAMES[0], "Whether mail works: tell what changed", _check(wanted), often, wanted.limit),
        (NAMES[1], "Whether mail works: the daily digest", _digest(wanted), daily, DIGEST),
    ):
        environment = f"Environment={_TO}={wanted.to}\n" if wanted.to else ""
        yield (
            UNITS / f"{name}.service",
            f"{MARK}\n[Unit]\nDescription={what}\nWants=network-online.target\n"
            "After=network-online.target postfix.service dovecot.service\n\n"
            f"[Service]\nType=oneshot\nExecStart={command}\n{environment}"
            f"TimeoutStartSec={limit}s\n{_HARDENED}",
        )
        yield (
            UNITS / f"{name}.timer",
            f"{MARK}\n[Unit]\nDescription={what}\n\n[Timer]\n{when}\n\n[Install]\nWantedBy=timers.target\n",
        )


#: Root, as only root reads the queue and the state; without what reading them and asking servers never needs.
#: Not NoNewPrivileges: sendmail's postdrop is set-group-id.
_HARDENED = """\
UMask=0077
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID
CapabilityBoundingSet=CAP_SYS_PTRACE
"""


def crontab(wanted: Schedule) -> Iterator[tuple[Path, str]]:
    """A file for /etc/cron.d. Raises UsageError for a time that cron cannot keep."""
    hour, minute = wanted.daily
    environment = f"{_TO}={wanted.to}\n" if wanted.to else ""
    yield (
        CRONTAB,
        f"{MARK}\nSHELL=/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{environment}"
        f"{_cron_times(wanted.every)} root {_check(wanted)}\n"
        f"{minute} {hour} * * * root {_digest(wanted)}\n",
    )


def _cron_times(every: int) -> str:
    minutes, rest = divmod(every, 60)
    if not rest and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *"
    hours, rest = divmod(every, 3600)
    if not rest and 24 % hours == 0:
        return "0 0 * * *" if hours == 24 else f"0 */{hours} * * *"
    raise UsageError(
        f"cron cannot run a command every {every} seconds",
        hint="it can every 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 minutes or 1, 2, 3, 4, 6, 8, 12, 24 hours",
    )


def _check(wanted: Schedule) -> str:
    return f"{_command(wanted)} health check --changes --every {wanted.every}s -o mail --send"


def _digest(wanted: Schedule) -> str:
    return f"{_command(wanted)} health digest --send"


def _command(wanted: Schedule) -> str:
    return wanted.program + (f" --config {wanted.config}" if wanted.config else "")


def _clock(wanted: Schedule) -> str:
    return f"{wanted.daily[0]:02}:{wanted.daily[1]:02}"


def install(wanted: Schedule, kind: str, *, dry_run: bool = False) -> list[File]:
    """Write and enable one kind of timer, and take the other away. Raises ExistsError, RightsError."""
    ours = dict(units(wanted) if kind == "systemd" else crontab(wanted))
    files = [
        *(_write(path, content) for path, content in ours.items()),
        *(File(path, "removed") for path in _all() if path not in ours and _is_ours(path)),
    ]
    for path in ours:
        if path.exists() and not _is_ours(path):
            raise ExistsError(f"{path} is there and not ours", hint="move it away first")
    if dry_run:
        return files
    with _plain_rights():
        if kind == "systemd" and not shutil.which("systemctl"):
            raise PostmasterError("systemctl is not there", hint="apt-get install systemd, or use --cron")
        _take_away([file.path for file in files if file.action == "removed"])
        for file in files:
            if file.action == "written":
                replace(file.path, file.content.encode(), 0o644)
        if kind == "systemd":
            _enable()
    return files


def uninstall(*, dry_run: bool = False) -> list[File]:
    """Disable and remove what is ours. Raises RightsError."""
    files = [File(path, "removed") for path in _all() if _is_ours(path)]
    if not dry_run:
        with _plain_rights():
            _take_away([file.path for file in files])
    return files


def _write(path: Path, content: str) -> File:
    same = path.exists() and path.read_text(encoding="utf-8", errors="replace") == content
    return File(path, "kept" if same else "written", content)


def _enable() -> None:
    if not systemd.is_running():  # an image that is being made: enabled for its first boot
        run(["systemctl", "enable", *TIMERS])
        return
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", *TIMERS])
    run(["systemctl", "restart", *TIMERS])


def _take_away(paths: list[Path]) -> None:
    timers = [path.name for path in paths if path.suffix == ".timer"]
    if timers:
        now = ["--now"] if systemd.is_running() else []
        run(["systemctl", "disable", *now, *timers])
    for path in paths:
        path.unlink(missing_ok=True)
    if timers and systemd.is_running():
        run(["systemctl", "daemon-reload"])


def _all() -> Iterator[Path]:
    for name in NAMES:
        yield UNITS / f"{name}.service"
        yield UNITS / f"{name}.timer"
    yield CRONTAB


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n") == MARK
    except OSError:
        return False


@contextmanager
def _plain_rights() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = Path(str(error.filename)).parent
        if isinstance(error, PermissionError):
            raise RightsError(f"{folder} may not be written", hint="run it again with sudo") from None
        raise PostmasterError(f"{folder} cannot be written: {error.strerror}") from None
