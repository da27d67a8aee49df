"""Room for the queue, for mail and for the directory: bytes and inodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_least

MEANING = "space and inodes for queue, mail and state"
CODES = {
    "disk-full": "less space or fewer inodes are free than the settings demand",
    "disk-unknown": "a folder cannot be looked at",
}


def run(context: Context) -> Iterator[Finding]:
    from postmaster.postfix import postconf

    settings, limits = context.settings, context.settings.health
    spool = Path(postconf.value(settings.postfix.config_directory, "queue_directory"))
    for name, path in (("queue", spool), ("mail", settings.mail.root), ("state", settings.state.directory)):
        try:
            room = os.statvfs(path)
        except OSError as error:
            message = f"{path} cannot be looked at: {error.strerror}"
            yield Finding(
                *("machine", name, "disk-unknown", Severity.unknown, message), "does the folder exist?"
            )
            continue
        blocks = 100 * room.f_bavail / room.f_blocks if room.f_blocks else 100.0
        inodes = 100 * room.f_favail / room.f_files if room.f_files else 100.0
        warning, critical = at_least(limits.disk_free_warning), at_least(limits.disk_free_critical)
        measures = (
            Measure("space_free", blocks, "%", warning, critical, 0, 100),
            Measure("inodes_free", inodes, "%", warning, critical, 0, 100),
        )
        severity = max(measure.severity for measure in measures)
        message = f"{path}: {blocks:.0f} % of the space and {inodes:.0f} % of the inodes free"
        code, remedy = (OK, None) if severity is Severity.ok else ("disk-full", "make room")
        yield Finding("machine", name, code, severity, message, remedy, measures)
