"""Asking and steering a running Dovecot through its own programs."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postmaster import systemd
from postmaster.errors import ServerError
from postmaster.process import DEFAULT_TIMEOUT, is_one_reading, run, shared, start_daemon

HINT = "install the Debian packages dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sieve dovecot-sqlite"

#: Names of a certificate and its key: 2.3's, 2.4's.
_PAIRS = (
    *(("ssl_cert", "ssl_key"), ("ssl_alt_cert", "ssl_alt_key")),
    ("ssl_server_cert_file", "ssl_server_key_file"),
    ("ssl_server_alt_cert_file", "ssl_server_alt_key_file"),
)
_NO_USER = 67  # EX_NOUSER
_USUAL = Path("/etc/dovecot/dovecot.conf")  # the instance that Debian's unit runs
_UNIT = "dovecot.service"


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the running Dovecot: its processes, how many it may have, how many are idle."""

    name: str
    count: int
    limit: int
    available: int


def version() -> tuple[int, int]:
    """Dovecot's version, for example (2, 3). Raises ServerError, ProcessError."""
    text = run(["dovecot", "--version"], hint=HINT).stdout
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise ServerError(f"dovecot gave no version: {text.strip()}")
    return int(found[1]), int(found[2])


def setting(config: Path, name: str) -> str:
    """One global setting's value in force."""
    if is_one_reading():
        kept = _everything(config)[0]
        if name in kept:
            return kept[name]
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
    """Start a Dovecot that does not run, by systemd where that runs it. Raises ProcessError."""
    if config == _USUAL and systemd.has_unit(_UNIT):
        systemd.restart(_UNIT)
    else:
        start_daemon(["dovecot", "-c", str(config)], hint="see Dovecot's log")


def reload(config: Path) -> None:
    run(["doveadm", "-c", str(config), "reload"], hint=HINT)


def unknown(
    config: Path, logins: Sequence[str], *, service: str = "", timeout: float = DEFAULT_TIMEOUT
) -> set[str]:
    """Those of some logins that Dovecot does not know: its userdb, or for a service its passdb.

    Raises ProcessError where it cannot be asked.
    """
    asking = ["auth", "lookup", "-x", f"service={service}"] if service else ["user"]

    def is_known(names: Sequence[str]) -> bool:
        done = run(
            ["doveadm", "-c", str(config), *asking, "--", *names],
            expect=(0, _NO_USER),
            timeout=timeout,
            hint=HINT,
        )
        return done.status == 0

    if not logins or is_known(logins):
        return set()
    return {one for one in logins if not is_known([one])}


def quotas(
    config: Path, logins: Iterable[str], *, timeout: float = DEFAULT_TIMEOUT
) -> dict[str, tuple[int, int]]:
    """Login -> (KiB used, KiB allowed) of those that have a quota. Raises ProcessError.

    Mailboxes are looked at one after the other, a few milliseconds each where Dovecot has counted before.
    """
    found: dict[str, tuple[int, int]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".users") as file:
        file.write("".join(f"{one}\n" for one in logins))
        file.flush()
        done = run(
            ["doveadm", "-c", str(config), "-f", "tab", "quota", "get", "-F", file.name],
            expect=None,
            timeout=timeout,
            hint=HINT,
        )
    for line in done.stdout.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) >= 5 and fields[2] == "STORAGE" and fields[3].isdigit() and fields[4].isdigit():
            used, limit = int(fields[3]), int(fields[4])
            before = found.get(fields[0])
            if limit and (before is None or used * before[1] > before[0] * limit):
                found[fields[0]] = used, limit
    return found


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


def services(config: Path) -> Iterator[Service]:
    """What runs of each service; nothing where Dovecot does not run. Raises ProcessError."""
    done = run(["doveadm", "-c", str(config), "-f", "tab", "service", "status"], expect=None, hint=HINT)
    names: list[str] = []
    for line in done.stdout.splitlines():
        fields = dict(zip(names, line.split("\t"), strict=False))
        if not names:
            names = line.split("\t")
        elif all(
            fields.get(name, "").isdigit() for name in ("process_count", "process_limit", "process_avail")
        ):
            yield Service(
                fields.get("name", ""),
                *(int(fields[name]) for name in ("process_count", "process_limit", "process_avail")),
            )


def certificate_files(config: Path) -> list[tuple[Path, Path]]:
    """(certificate, key) of each pair that is served without a name of its own, those of one protocol alone
    after the others. Raises ProcessError.

    In 2.3 a setting holds the text itself, or `<` and the file that it is read from: only those are given.
    """
    found: dict[tuple[Path, Path], None] = {}
    main, *protocols = _everything(config)
    for values in (main, *({**main, **own} for own in protocols)):
        for one, other in _PAIRS:
            certificate, key = (values.get(name, "").removeprefix("<").strip() for name in (one, other))
            if certificate.startswith("/") and key.startswith("/"):
                found[Path(certificate), Path(key)] = None
    return list(found)


@shared
def _everything(config: Path) -> list[dict[str, str]]:
    """The settings in force, keys and passwords too: the global ones, then each protocol's own.

    2.4 prints `ssl_server_key_file` within braces that it has not: `ssl_server { key_file }`.
    """
    done = run(["doveconf", "-c", str(config), "-P"], hint=HINT)
    found: dict[str, dict[str, str]] = {"": {}}
    sections: list[str] = []
    for line in map(str.strip, done.stdout.splitlines()):
        name, is_setting, text = line.partition(" =")
        if is_setting:
            where = sections[0] if sections and sections[0].startswith("protocol ") else ""
            inner = sections[1:] if where else sections
            found.setdefault(where, {}).setdefault("_".join((*inner, name)), text.strip())
        elif line.endswith("{"):
            sections.append(line.removesuffix("{").strip())
        elif line == "}" and sections:
            sections.pop()
    return list(found.values())
