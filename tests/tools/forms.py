"""The forms that a line of a mail log may have, each made from one as rsyslog writes it (ISO 8601)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from hypothesis import strategies as st


def _parts(line: str) -> tuple[str, str, str, str, str]:
    stamp, host, tag, text = line.split(" ", 3)
    name, _, pid = tag.rstrip(":").rstrip("]").partition("[")
    return stamp, host, name, pid, text


def _rfc5424(line: str) -> str:
    stamp, host, name, pid, text = _parts(line)
    return f"<22>1 {stamp} {host} {name} {pid} - - {text}"


def _journal(line: str, padding: int = 0) -> str:
    """As `journalctl -o json` prints an entry; the order of its fields is nobody's promise."""
    stamp, host, name, pid, text = _parts(line)
    moment = int(datetime.fromisoformat(stamp).timestamp() * 1e6)
    return json.dumps(
        {
            "_CMDLINE": "x" * padding,
            "MESSAGE": text,
            "_HOSTNAME": host,
            "SYSLOG_IDENTIFIER": name,
            "_PID": pid,
            "__REALTIME_TIMESTAMP": str(moment),
        }
    )


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda line: line,
    "rfc5424": _rfc5424,
    "priority": lambda line: f"<22>{line}",
    "crlf": lambda line: f"{line}\r",
    "journal": _journal,
    "journal-long": lambda line: _journal(line, 9000),
}

ENTRY = {
    "__REALTIME_TIMESTAMP": "1779999999500000",
    "_HOSTNAME": "mail",
    "SYSLOG_IDENTIFIER": "postfix/qmgr",
    "_PID": "17",
    "MESSAGE": "4B7Z2K5NHbz8gQ: removed",
}

_PIECES = [b"{", b'"MESSAGE":', b"}\n", b"<22>1 ", b"<22>", b"- ", b"[x]", b"\n", b"\r\n", b"\r",
           b"2026-05-28T20:26:39Z ", b"mail postfix/qmgr[1]: ", b"dovecot: ", b"\xff",
           json.dumps(ENTRY).encode()]  # fmt: skip


def lines_of_any_form() -> st.SearchStrategy[bytes]:
    """Any bytes, and pieces of lines of every form in any order."""
    return st.binary() | st.lists(st.sampled_from(_PIECES)).map(b"".join)
