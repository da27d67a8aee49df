"""Real journal files, made by systemd's own program from entries in the journal export format."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REMOTE = Path("/lib/systemd/systemd-journal-remote")
MAIL = "2"  # the facility


@dataclass(frozen=True)
class Entry:
    """`time` in seconds since 1970; `message` may be any bytes."""

    time: float
    identifier: str
    pid: int
    message: bytes
    facility: str = MAIL

    def fields(self, number: int) -> Iterable[tuple[str, bytes]]:
        yield "__CURSOR", f"c{number}".encode()
        yield "__REALTIME_TIMESTAMP", f"{self.time * 1e6:.0f}".encode()
        yield "__MONOTONIC_TIMESTAMP", f"{1000 + number}".encode()
        yield "_BOOT_ID", b"%032x" % 1
        yield "_HOSTNAME", b"mail"
        yield "SYSLOG_FACILITY", self.facility.encode()
        yield "SYSLOG_IDENTIFIER", self.identifier.encode()
        yield "SYSLOG_PID", str(self.pid).encode()
        yield "MESSAGE", self.message

    def export(self, number: int) -> bytes:
        """As in systemd's `docs/JOURNAL_EXPORT_FORMATS.md`: what is no plain text comes with its length."""
        written = b""
        for name, value in self.fields(number):
            if min(value, default=32) < 32:
                written += b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)
            else:
                written += b"%s=%s\n" % (name.encode(), value)
        return written + b"\n"


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Make a journal file."""
    text = b"".join(entry.export(number) for number, entry in enumerate(entries, 1))
    subprocess.run([str(REMOTE), "-o", str(path), "-"], input=text, check=True, capture_output=True)
