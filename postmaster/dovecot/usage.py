"""What Dovecot knows of the use of a mailbox: the last logins, and how much is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from postmaster.dovecot.configuration import LAST_LOGIN_KEY
from postmaster.process import run

_KEY = re.compile(rf"shared/{LAST_LOGIN_KEY}/([a-z0-9-]{{1,20}})/([^/]{{0,64}})", re.ASCII)
_LATEST = 253402300799  # the last second of the year 9999
LIST_TIMEOUT = 600.0  # seconds that counting every mailbox may take


@dataclass(frozen=True, slots=True)
class LastLogin:
    """The last login by a protocol with the own password (`app_password` empty) or an app password."""

    protocol: str
    app_password: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in a mailbox. Bytes are rounded up to 1024, as Dovecot says them."""

    bytes: int
    messages: int


def last_logins(content: bytes) -> list[LastLogin]:
    """What the last_login plugin wrote into a mail folder: a line for a key, one for its value.

    Lines that are nothing of the kind are passed over, as the folder is the user's.
    """
    found = []
    lines = content.decode("utf-8", "replace").split("\n")
    for key, value in pairwise(lines):
        match = _KEY.fullmatch(key)
        if match and re.fullmatch(r"\d{1,12}", value, re.ASCII) and int(value) <= _LATEST:
            found.append(LastLogin(match[1], match[2], datetime.fromtimestamp(int(value), UTC)))
    return found


def usage(config: Path, login: str) -> Usage | None:
    """What is in one mailbox; None where Dovecot does not say."""
    done = run(["doveadm", "-c", str(config), "-f", "tab", "quota", "get", "-u", login], expect=None)
    return dict(_usages(done.stdout, login)).get(login) if done.status == 0 else None


def all_usage(config: Path) -> dict[str, Usage]:
    """What is in every mailbox, by login; without those of which Dovecot does not say."""
    done = run(
        ["doveadm", "-c", str(config), "-f", "tab", "quota", "get", "-A"], expect=None, timeout=LIST_TIMEOUT
    )
    return dict(_usages(done.stdout))


def _usages(table: str, login: str = "") -> Iterator[tuple[str, Usage]]:
    """(login, usage) from doveadm's table, by its headings; without a column for users it is of `login`."""
    lines = [line.split("\t") for line in table.splitlines()]
    names = lines[0] if lines else []
    values: dict[str, dict[str, int]] = {}
    for line in lines[1:]:
        row = dict(zip(names, line, strict=False))
        if row.get("Value", "").isdigit():
            who = row.get("Username", login).lower()
            values.setdefault(who, {})[row.get("Type", "")] = int(row["Value"])
    for who, found in values.items():
        if "STORAGE" in found:
            yield who, Usage(found["STORAGE"] * 1024, found.get("MESSAGE", 0))
