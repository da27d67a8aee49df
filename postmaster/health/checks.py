"""The checks: listeners answer, the queue is not stuck, the disk has room, the look-ups are right."""

from __future__ import annotations

import os
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

from postmaster.health.finding import Check, Finding, Severity
from postmaster.settings import Settings

#: Service -> what a greeting begins with, and whether TLS comes first.
_GREETINGS = {
    "smtp": (b"220", False),
    "submission": (b"220", False),
    "submissions": (b"220", True),
    "imap": (b"* OK", False),
    "imaps": (b"* OK", True),
    "pop3": (b"+OK", False),
    "pop3s": (b"+OK", True),
    "lmtp": (b"220", False),
    "sieve": (b'"', False),
}


def services(settings: Settings) -> list[Finding]:
    """Every configured listener greets; where TLS comes first, it is spoken."""
    found = []
    for name, (greeting, tls) in _GREETINGS.items():
        port = getattr(settings.server, f"{name}_port")
        if not port:
            continue
        begun = time.monotonic()
        try:
            said = _first_bytes(settings.server.address, port, tls, settings.health.deadline / 2)
        except OSError as error:
            message = f"port {port} does not answer: {error.strerror or error}"
            found.append(
                Finding("services", name, Severity.critical, message, "is it running? see the mail log")
            )
            continue
        if said.startswith(greeting):
            message = f"port {port} greets after {time.monotonic() - begun:.3f} s"
            found.append(Finding("services", name, Severity.ok, message))
        else:
            message = f"port {port} says {said[:60].decode('ascii', 'replace')!r}"
            found.append(Finding("services", name, Severity.critical, message, "see the mail log"))
    return found


def _first_bytes(address: str, port: int, tls: bool, timeout: float) -> bytes:
    with socket.create_connection((address, port), timeout=timeout) as plain:
        if not tls:
            return plain.recv(256)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # whether the name fits is another question
        with context.wrap_socket(plain) as wrapped:
            return wrapped.recv(256)


def queue(settings: Settings) -> list[Finding]:
    """How many messages wait, and how long the oldest has been waiting."""
    from postmaster.postfix.queue import Listing
    from postmaster.queue.message import read

    listing, count, oldest, oldest_reason = Listing(), 0, None, None
    for message in read(settings.postfix, listing):
        if message.queue_name == "hold":
            continue
        count += 1
        if oldest is None or message.arrival_time < oldest:
            oldest = message.arrival_time
            oldest_reason = next((r.delay_reason for r in message.recipients if r.delay_reason), None)
    limits = settings.health
    size = _above(count, limits.queue_warning, limits.queue_critical)
    remedy = "postmaster queue list shows why"
    found = [
        Finding("queue", "size", size, f"{count} messages", remedy if size else None),
    ]
    if oldest is not None:
        hours = (datetime.now(UTC) - oldest).total_seconds() / 3600
        age = _above(hours, limits.queue_age_warning, limits.queue_age_critical)
        why = f": {oldest_reason}" if oldest_reason else ""
        found.append(Finding("queue", "oldest", age, f"{hours:.1f} h old{why}", remedy if age else None))
    return found


def _above(value: float, warning: float, critical: float) -> Severity:
    if value >= critical:
        return Severity.critical
    return Severity.warning if value >= warning else Severity.ok


def disk(settings: Settings) -> list[Finding]:
    """Room for the queue, for mail and for the directory: bytes and inodes."""
    from postmaster.postfix import postconf

    spool = Path(postconf.value(settings.postfix.config_directory, "queue_directory"))
    found = []
    for name, path in (("queue", spool), ("mail", settings.mail.root), ("state", settings.state.directory)):
        try:
            room = os.statvfs(path)
        except OSError as error:
            message = f"{path} cannot be looked at: {error.strerror}"
            found.append(Finding("disk", name, Severity.unknown, message, "does the folder exist?"))
            continue
        blocks = 100 * room.f_bavail / room.f_blocks if room.f_blocks else 100.0
        inodes = 100 * room.f_favail / room.f_files if room.f_files else 100.0
        free = min(blocks, inodes)
        limits = settings.health
        severity = Severity.ok
        if free < limits.disk_free_critical:
            severity = Severity.critical
        elif free < limits.disk_free_warning:
            severity = Severity.warning
        message = f"{path}: {blocks:.0f} % of the space and {inodes:.0f} % of the inodes free"
        found.append(Finding("disk", name, severity, message, "make room" if severity else None))
    return found


def look_ups(settings: Settings) -> list[Finding]:
    """The published files are there, whole, readable for the servers and up to date."""
    from postmaster.directory import lookups
    from postmaster.directory.quick import newest_entry

    found = []
    newest = newest_entry(settings)
    for file in lookups.FILES:
        path = file.path(settings.lookups)
        # First: for root, to look at the file makes them again.
        sides = [side.name for side in lookups.side_files(path) if not side.exists()]
        entry = lookups.published_entry(path)
        group = lookups.group_id(file.group(settings.lookups))
        if entry is None:
            severity, message, remedy = (
                Severity.critical,
                "missing or not readable",
                "postmaster publish --rebuild",
            )
        elif sides:
            severity, message = (
                Severity.critical,
                f"{' and '.join(sides)} is missing: the servers' next look-up fails",
            )
            remedy = "postmaster publish"
        elif group is not None and path.stat().st_gid != group:
            severity, message = Severity.critical, f"group {file.group(settings.lookups)} may not read it"
            remedy = "postmaster publish --rebuild"
        elif newest is None:
            severity, message, remedy = Severity.unknown, "the directory cannot be read", "run it as root"
        elif entry[0] != newest:
            severity, message = Severity.warning, f"at entry {entry[0]}, the directory is at {newest}"
            remedy = "postmaster publish"
        else:
            found.append(Finding("look-ups", file.name, Severity.ok, f"up to date (entry {newest})"))
            continue
        found.append(Finding("look-ups", file.name, severity, message, remedy))
    return found


CHECKS = (
    Check("services", "every listener in the settings greets", services),
    Check("queue", "messages waiting, and the age of the oldest", queue),
    Check("disk", "space and inodes for queue, mail and state", disk),
    Check("look-ups", "what the servers read is there, readable and up to date", look_ups),
)
