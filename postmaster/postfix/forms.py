"""The forms in which a line of a mail log may be written, brought into one.

The usual one is `STAMP HOST TAG[PID]: TEXT`. `plain` brings the others into it (RFC 5424, a priority before
the stamp, the journal's JSON, lines that end with CR LF), so that all that reads logs knows one form;
`moment_of` tells when a line of any form was written. Any bytes at all are lines, in linear time.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from postmaster.postfix.stamps import STAMP, Clock

#: What stands before the text of a line: stamp, host, tag, process ID (None: it has none).
match_head = re.compile(rf"({STAMP}) (\S++) ([^\s\[:]++)(?:\[(\d{{1,10}})\])?: ", re.ASCII).match

_RFC5424 = re.compile(
    rb"^<\d{1,3}>1 (\S++) (\S++) (\S++) (?:-|(\d{1,10})) \S++ "
    rb"(?:-|(?>(?:\[(?>(?:[^\]\\\n]|\\.)*)\])+)) ?(?:\xef\xbb\xbf)?",
    re.MULTILINE | re.ASCII,
)
_PRIORITY = re.compile(rb"^<\d{1,3}>(?=[A-Z\d])", re.MULTILINE | re.ASCII)
_match_head = re.compile(rb"<\d{1,3}>(?:1 )?", re.ASCII).match
_find_realtime = re.compile(rb'"__REALTIME_TIMESTAMP" ?: ?"(\d{1,18})"', re.ASCII).search


def plain(block: bytes) -> bytes:
    """Whole lines with all other forms brought into the usual one, as many as there were.

    The first and the last line tell whether there are any: to look at each would take longer than to read.
    """
    first, at = block[:1], block.rfind(b"\n", 0, -1) + 1
    forms = (first, block[at : at + 1])
    end = block.find(b"\n")
    if block.endswith(b"\r\n") or block[max(0, end - 1) : end] == b"\r":
        block = block.replace(b"\r\n", b"\n")
    if b"<" in forms:
        block = _PRIORITY.sub(b"", _RFC5424.sub(_from_rfc5424, block))
    if b"{" in forms:
        block = b"".join(_from_json(line) if line.startswith(b"{") else line for line in _LINE.findall(block))
    return block


_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


def moment_of(line: bytes, clock: Clock) -> float | None:
    """When a line of any form was written; None when it does not say."""
    if line.startswith(b"{"):
        found = _find_realtime(line)  # what looks like it in a text of the journal's has its quotes escaped
        return int(found[1]) / 1e6 if found else None
    head = _match_head(line)
    begin = head.end() if head else 0
    return clock.of_line(line[begin : begin + 64])


def _from_rfc5424(found: re.Match[bytes]) -> bytes:
    stamp, host, tag, pid = found.groups()
    return b"%s %s %s%s: " % (stamp, host, tag, b"[%s]" % pid if pid else b"")


LEFT_OUT = "(a text that journalctl leaves out unless it is given --all)"


def _field(value: object) -> str:
    """A field of a journal entry, in one line.

    journalctl prints text, bytes that are no text as a list of numbers, a field with several values as a list
    of those, and null for a long one without `--all` (systemd, `docs/JOURNAL_EXPORT_FORMATS.md`).
    """
    if value is None:
        return LEFT_OUT
    if isinstance(value, list):
        if value and not isinstance(value[0], int):
            return " ".join(map(_field, value))
        value = bytes(value).decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise TypeError(value)
    return " ".join(value.splitlines())


def _from_json(line: bytes) -> bytes:
    """A journal entry (`journalctl -o json`) as a syslog line; an empty line when it is none."""
    try:
        entry = json.loads(line.decode("utf-8", "replace"))
        moment = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
        tag, text = _field(entry["SYSLOG_IDENTIFIER"]), _field(entry["MESSAGE"])
        host = _field(entry.get("_HOSTNAME") or "-")
        pid = _field(entry.get("SYSLOG_PID") or entry.get("_PID") or "")
        head = f"{moment.isoformat(timespec='microseconds')} {host} {tag}{f'[{pid}]' if pid else ''}: "
        return (head + text).encode("utf-8", "surrogateescape") + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError):
        return b"\n"
