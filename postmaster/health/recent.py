"""What the servers said of themselves in the log lately: what died, what is held back, what started.

Read from the end and bounded: of each log at most the last LIMIT bytes, and rotated files only where they
are not packed. What strangers say (HELO names, addresses) cannot pass for a server's own complaint: the
lines go through the parsers that the trace uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from postmaster.dovecot import events as dovecot
from postmaster.postfix import events as postfix
from postmaster.postfix.stamps import Clock
from postmaster.settings import Settings
from postmaster.trace import sources
from postmaster.trace.blocks import blocks
from postmaster.trace.lines import Line, parse
from postmaster.trace.sources import Notes, Period, Source

LIMIT = 8 << 20  # bytes of one log

#: Programs that people run: they complain of wrong use, and no server has ended.
_TOOLS = """
postalias postcat postconf postdrop postfix postkick postlock postlog postmap postmulti postqueue
postsuper sendmail
"""
TOOLS = frozenset(_TOOLS.split())

_find_candidate = re.compile(
    rb"(?:fatal|panic|Fatal|Panic): |throttling|killed (?:by|with) signal|daemon started|starting up"
    rb"|_limit \(|process limit"
).search
_match_throttled = re.compile(r"(\S+): bad command startup -- throttling").fullmatch
_match_killed = re.compile(r"process (\S+) pid \d+ killed by signal \d+").match
_match_full = re.compile(r'service "([^"\s]{1,60})" .*has reached its process limit').match
_match_service = re.compile(r"service\(([^()\s]{1,60})\): (.*)").match


@dataclass(frozen=True, slots=True)
class Trouble:
    """`kind`: fatal, panic, killed, throttled, full, started. `object`: `postfix smtpd`, `dovecot imap`."""

    kind: str
    object: str
    text: str
    time: float


def troubles(settings: Settings, since: float, notes: Notes) -> Iterator[Trouble]:
    """Everything since a moment, in seconds since 1970. Raises NotFoundError where there is no log."""
    # Stamps of the usual form have no fractions.
    period = Period(float(int(since)))
    for log in sources.find(settings):
        room = LIMIT
        for source in reversed(sources.within(log, period)):
            if source.program:
                continue  # rotated and packed: older than what is asked for, but for a moment
            if room <= 0:
                break
            source, room = _cut(source, room, notes)
            clock = Clock(source.reference)
            for block in blocks(source, period, notes):
                if source.path is None:
                    room -= len(block)
                yield from _of_block(block, clock, period)
                if room <= 0 and source.path is None:
                    notes.problems.append(f"only the first {LIMIT >> 20} MiB of the journal were read")
                    break


def trouble(line: Line) -> Trouble | None:
    """What a line says of a server itself, None for all others."""
    found = _of_postfix(line) if isinstance(line.event, postfix.Event) else _of_dovecot(line)
    return Trouble(*found, line.time) if found else None


def _cut(source: Source, room: int, notes: Notes) -> tuple[Source, int]:
    """The source's last `room` bytes, and what is left of them for older ones."""
    if not source.is_plain:
        return source, room
    if source.weight > room:
        notes.problems.append(f"only the last {LIMIT >> 20} MiB of {source.name} were read")
        end = source.size if source.end is None else source.end
        return replace(source, begin=end - room, end=end), 0
    return source, room - source.weight


def _of_block(block: bytes, clock: Clock, period: Period) -> Iterator[Trouble]:
    at = 0
    while found := _find_candidate(block, at):
        begin = block.rfind(b"\n", 0, found.start()) + 1
        end = block.find(b"\n", found.end())
        at = len(block) if end < 0 else end + 1
        line = parse(block[begin:at].rstrip(b"\n").decode("utf-8", "replace"), clock)
        if line is None or (period.since is not None and line.time < period.since):
            continue
        one = trouble(line)
        if one is not None:
            yield one


def _of_postfix(line: Line) -> tuple[str, str, str] | None:
    event, program = line.event, line.program
    if isinstance(event, postfix.Remark):
        is_start = program == "master" and event.text.startswith("daemon started")
        return ("started", line.instance, event.text) if is_start else None
    if not isinstance(event, postfix.Fault) or program in TOOLS:
        return None
    if event.level in ("fatal", "panic"):
        return event.level, f"postfix {program}", event.text
    if program == "master":
        if found := _match_throttled(event.text):
            return "throttled", f"postfix {PurePath(found[1]).name}", event.text
        if found := _match_killed(event.text):
            return "killed", f"postfix {PurePath(found[1]).name}", event.text
        if found := _match_full(event.text):
            return "full", f"postfix {found[1]}", event.text
    return None


def _of_dovecot(line: Line) -> tuple[str, str, str] | None:
    event = line.event
    if isinstance(event, dovecot.Remark):
        is_start = event.origin.service == "master" and "starting up" in event.text
        return ("started", "dovecot", event.text) if is_start else None
    if not isinstance(event, dovecot.Fault):
        return None
    found = _match_service(event.text) if event.origin.service == "master" else None
    service, text = (found[1], found[2]) if found else (event.origin.service, event.text)
    if "killed with signal" in text:
        kind = "killed"
    elif event.origin.level in ("Fatal", "Panic"):
        kind = event.origin.level.lower()
    elif "throttling" in text:
        kind = "throttled"
    elif re.search(r"(?:process|client)_limit \(\d+\) reached", text):
        kind = "full"
    else:
        return None
    return kind, f"dovecot {service}", event.text
