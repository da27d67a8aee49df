"""Defer logs, read in place: why, in Postfix's words, a message waits for each recipient.

Any bytes at all are taken, in bounded time. Source: `bounce_log.c` of Postfix 3.7.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from postmaster.postfix.printed import printed
from postmaster.postfix.spool import FLAGS

FIRST_READ = 4096  # bytes; holds nearly every log
DEFER_LOG_LIMIT = 32 << 20  # bytes

_USUAL_ENTRY = re.compile(  # an entry of a defer log as it is nearly always, in a quarter of the time
    rb"\n(?:<[^\n]*\n)?recipient=[^\n]+\n(?:original_recipient=[^\n]*\n)?offset=([1-9][0-9]{0,17})\n"
    rb"(?:dsn_orig_rcpt=[^\n]*\n)?(?:notify_flags=[^\n]*\n)?status=([^\n]*)\naction=[^\n]*\n"
    rb"(?:diag_type=[^\n]*\ndiag_text=[^\n]*\n)?(?:mta_type=[^\n]*\nmta_mname=[^\n]*\n)?"
    rb"reason=([^\n]*[^\s])\n\n"
)

#: The last word of the defer log about one recipient: (reason, enhanced status code or None).
Deferral = tuple[str, str | None]


def read_defer_log(path: str, *, utf8: bool = True) -> tuple[dict[int, Deferral], dict[str, Deferral]]:
    """The defer log of a message: by the offset of the recipient's record, and by address where an entry
    names no offset (`bounce_log.c`). A log that is missing or cut short gives what there is of it.
    """
    try:
        descriptor = os.open(path, FLAGS)
    except OSError:
        return {}, {}
    try:
        data = os.pread(descriptor, FIRST_READ, 0)
        if len(data) == FIRST_READ:
            data = os.pread(descriptor, DEFER_LOG_LIMIT, 0)
    except OSError:
        return {}, {}
    finally:
        os.close(descriptor)
    return parse_defer_log(data, utf8=utf8)


def parse_defer_log(data: bytes, *, utf8: bool = True) -> tuple[dict[int, Deferral], dict[str, Deferral]]:
    """Entries of a defer log, each a paragraph of `name=value` lines; the last one of a recipient counts.

    An entry without its blank line is not counted: it is still being written.
    """
    by_offset: dict[int, Deferral] = {}
    by_address: dict[str, Deferral] = {}
    at, usual = 0, _USUAL_ENTRY.match
    while found := usual(data, at):
        offset, dsn, reason = found.groups()
        by_offset[int(offset)] = _deferral(reason, dsn, utf8)
        at = found.end()
    if at == len(data):
        return by_offset, by_address
    by_offset.clear()
    for paragraph in data.split(b"\n\n")[:-1]:
        if not paragraph:
            continue
        values: dict[bytes, bytes] = {}
        for line in paragraph.split(b"\n"):
            if line[:1] == b"<":  # all that Postfix before 2.3 wrote; now it stands before the others
                address, ends, reason = line[1:].partition(b">: ")
                if ends:
                    values[b"recipient"], values[b"reason"] = address, reason
                continue
            name, equals, value = line.partition(b"=")
            if equals:
                values[name] = value
        if b"recipient" not in values and b"offset" not in values:
            continue
        number = values.get(b"offset", b"")
        reason, dsn = _deferral(values.get(b"reason", b""), values.get(b"status", b""), utf8)
        deferral = reason or "(description unavailable)", dsn
        if number.isdigit() and 0 < len(number) < 19 and int(number):
            by_offset[int(number)] = deferral
        elif address := values.get(b"recipient", b"").strip():
            by_address[printed(address, utf8)] = deferral
    return by_offset, by_address


@lru_cache(maxsize=4096)  # reasons come again and again
def _deferral(reason: bytes, dsn: bytes, utf8: bool) -> Deferral:
    return _line(reason, utf8), _line(dsn, utf8) or None


def _line(raw: bytes, utf8: bool) -> str:
    return printed(raw.strip(b" \t\r\v\f"), utf8)
