"""Whether Postfix and Dovecot run whole: processes, sockets between them, and what the log says of both.

The log is read since the run before, and at least as far back as the settings say, so that what happened
between two runs is seen by both. Each part costs itself alone where it cannot be looked at.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import FAILED, OK, Context, Finding, Measure, Severity, bad
from postmaster.health.ranges import at_most
from postmaster.health.together import together
from postmaster.process import children

if TYPE_CHECKING:
    import socket

MEANING = "Postfix and Dovecot run, reach each other, and none of their processes dies or is held back"
CODES = {
    "postfix-down": "Postfix does not run",
    "postfix-socket-missing": "a socket between Postfix's processes is gone",
    "dovecot-down": "Dovecot does not run",
    "lmtp-down": "nobody answers at the socket that mail is delivered through",
    "auth-down": "nobody answers at the socket that Postfix checks passwords through",
    "socket-rights": "Postfix may not use a socket of Dovecot's",
    "log-fatal": "a process ended with a fatal error",
    "log-panic": "a process ended over a mistake in its program",
    "process-killed": "a process was ended by a signal",
    "service-throttled": "a service cannot start and is held back",
    "service-full": "a service has as many processes or clients as it may have",
    "restarted-often": "a server was started more often than the settings allow",
    "log-unreadable": "the servers' log cannot be read",
}
SETTINGS = ("log_minutes", "restarts_warning")
SHARE = 0.8  # of the deadline, for one part

_bad = partial(bad, "processes")

_LOG = {
    "fatal": ("log-fatal", Severity.warning, "ended with a fatal error"),
    "panic": ("log-panic", Severity.critical, "ended over a mistake in its program"),
    "killed": ("process-killed", Severity.warning, "was ended by a signal"),
    "throttled": ("service-throttled", Severity.critical, "cannot start and is held back"),
    "full": ("service-full", Severity.warning, "has as many processes or clients as it may have"),
}


def run(context: Context) -> Iterator[Finding]:
    parts = (_postfix, _dovecot, _dovecot_services, _lmtp, _auth, _log)
    for found in together([partial(_part, part, context) for part in parts], context.ends):
        yield from found


def _part(part: Callable[[Context], Iterator[Finding]], context: Context) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(part(context))
    except PostmasterError as error:
        name = part.__name__.strip("_").replace("_", " ")
        found.append(
            Finding(
                *("processes", name, FAILED, Severity.unknown, error.message), error.hint or "run it as root"
            )
        )
    return found


def _postfix(context: Context) -> Iterator[Finding]:
    from postmaster.postfix import control, postconf

    directory = context.settings.postfix.config_directory
    pid = control.master_pid(directory)
    if pid is None:
        yield _bad("postfix", "postfix-down", "Postfix does not run", "postfix start; see the mail log")
        return
    spool = Path(postconf.value(directory, "queue_directory"))
    gone = sorted(path for path in _sockets(postconf.services(directory)) if not (spool / path).exists())
    for path in gone:
        message = f"{spool / path} is gone: nobody reaches that service"
        yield _bad(f"postfix {path}", "postfix-socket-missing", message, "postfix stop; postfix start")
    if not gone:
        # Which ones says little: all of Postfix's come when there is work.
        count = len(children(pid))
        measure = Measure("processes", count, "", minimum=0)
        message = f"master runs with {count} processes"
        yield Finding("processes", "postfix", OK, Severity.ok, message, measures=(measure,))


def _sockets(services: dict[str, str]) -> Iterator[str]:
    """Where, below the queue directory, each service listens to Postfix itself."""
    for key, entry in services.items():
        name, _, kind = key.rpartition("/")
        if kind in ("unix", "fifo", "unix-dgram") and ".." not in name:
            yield f"{'public' if entry.split()[2] == 'n' else 'private'}/{name}"


def _dovecot(context: Context) -> Iterator[Finding]:
    from postmaster.dovecot import doveadm

    if doveadm.master_pid(context.settings.dovecot.config) is None:
        remedy = "systemctl start dovecot; see Dovecot's log"
        yield _bad("dovecot", "dovecot-down", "Dovecot does not run", remedy)
    else:
        yield Finding("processes", "dovecot", OK, Severity.ok, "master runs")


def _dovecot_services(context: Context) -> Iterator[Finding]:
    """Services of Dovecot's that have no process to spare."""
    from postmaster.dovecot import doveadm

    for one in doveadm.services(context.settings.dovecot.config):
        if 1 < one.limit <= one.count and not one.available:
            message = f"all {one.limit} processes are in use: the next client waits or is turned away"
            remedy = f"doveadm who; raise process_limit of service {one.name}"
            yield _bad(f"dovecot {one.name}", "service-full", message, remedy, Severity.warning)


def _lmtp(context: Context) -> Iterator[Finding]:
    from postmaster.postfix import postconf

    directory = context.settings.postfix.config_directory
    transport = postconf.expanded(directory, ["virtual_transport"])["virtual_transport"]
    program, _, place = transport.partition(":")
    if program == "lmtp" and place:
        yield _answers(context, "lmtp", place, b"220", "lmtp-down", "deliver mail")


def _auth(context: Context) -> Iterator[Finding]:
    from postmaster.postfix import postconf

    directory = context.settings.postfix.config_directory
    values = postconf.expanded(directory, ["smtpd_sasl_type", "smtpd_sasl_path"])
    if values["smtpd_sasl_type"] == "dovecot":
        yield _answers(
            context, "auth", values["smtpd_sasl_path"], b"VERSION\t", "auth-down", "check passwords"
        )


def _answers(context: Context, name: str, place: str, wanted: bytes, code: str, purpose: str) -> Finding:
    """Whether a server greets at a place in Postfix's words: unix:PATH, PATH, inet:HOST:PORT."""
    from postmaster.postfix import postconf

    directory = context.settings.postfix.config_directory
    subject, remedy = f"{name} socket", "does Dovecot run? doveadm service status; postmaster setup diff"
    begun = time.monotonic()
    path: Path | None = None
    values = postconf.expanded(directory, ["queue_directory", "mail_owner"])
    if not place.startswith("inet:"):
        path = Path(values["queue_directory"], place.removeprefix("unix:"))
    try:
        with _connected(place, path, context.left(SHARE)) as client:
            said = client.recv(256)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return _bad(subject, code, f"Postfix cannot {purpose}: {path or place}: {why}", remedy)
    if not said.startswith(wanted):
        return _bad(subject, code, f"Postfix cannot {purpose}: {path or place} does not greet", remedy)
    if path is not None and not _may_use(path, values["mail_owner"]):
        message = f"{values['mail_owner']} may not write to {path}: Postfix cannot {purpose}"
        return _bad(subject, "socket-rights", message, "postmaster setup apply")
    took = Measure("time", time.monotonic() - begun, "s", minimum=0)
    return Finding("processes", subject, OK, Severity.ok, f"answers at {path or place}", measures=(took,))


@contextmanager
def _connected(place: str, path: Path | None, timeout: float) -> Iterator[socket.socket]:
    """A connection to a Unix socket, else to inet:HOST:PORT. Raises OSError, ValueError."""
    import socket

    if path is None:
        host, _, port = place.removeprefix("inet:").rpartition(":")
        number = int(port) if port.isdigit() else socket.getservbyname(port)
        with socket.create_connection((host.strip("[]"), number), timeout) as client:
            yield client
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(str(path))
        yield client


def _may_use(path: Path, user: str) -> bool:
    """Whether a user may connect to a socket, as far as its own mode says."""
    import grp
    import pwd

    try:
        status, account = path.stat(), pwd.getpwnam(user)
    except (OSError, KeyError):
        return False
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & stat.S_IWUSR)
    groups = {account.pw_gid, *(one.gr_gid for one in grp.getgrall() if user in one.gr_mem)}
    return bool(status.st_mode & (stat.S_IWGRP if status.st_gid in groups else stat.S_IWOTH))


def _log(context: Context) -> Iterator[Finding]:
    from postmaster.errors import NotFoundError
    from postmaster.health import recent
    from postmaster.trace.sources import Notes

    limits, notes = context.settings.health, Notes()
    since = time.time() - 60 * limits.log_minutes
    if context.last is not None:
        since = min(since, context.last.at)
    found: dict[tuple[str, str], list[recent.Trouble]] = {}
    try:
        for one in recent.troubles(context.settings, since, notes):
            found.setdefault((one.kind, one.object), []).append(one)
    except (NotFoundError, OSError) as error:
        message = getattr(error, "message", str(error))
        remedy = "name it in the settings' log.files, and run this as root"
        yield _bad("log", "log-unreadable", message, remedy, Severity.unknown)
        return
    counts = dict.fromkeys((*_LOG, "started"), 0)
    for (kind, subject), those in sorted(found.items()):
        counts[kind] += len(those)
        if kind != "started":
            code, severity, words = _LOG[kind]
            last = those[-1].text[:200]
            remedy = "find its reason in the mail log: postmaster log report"
            yield _bad(subject, code, f"{words} ({_times(len(those))}): {last}", remedy, severity)
        elif len(those) > limits.restarts_warning:
            message = f"started {_times(len(those))} since {time.strftime('%H:%M', time.localtime(since))}"
            remedy = "who restarts it? see the mail log, and journalctl"
            yield _bad(f"{subject} starts", "restarted-often", message, remedy, Severity.warning)
    measures = tuple(
        Measure(name, count, "", at_most(limits.restarts_warning) if name == "started" else None, None, 0)
        for name, count in counts.items()
    )
    message = f"read since {time.strftime('%H:%M:%S', time.localtime(since))}"
    message += "".join(f"; {problem}" for problem in notes.problems)
    yield Finding("processes", "log", OK, Severity.ok, message, measures=measures)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
