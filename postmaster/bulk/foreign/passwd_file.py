"""A Dovecot passwd-file: `user:password:uid:gid:gecos:home:shell:extra fields`, one user a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from postmaster.bulk.foreign.dump import lines
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import content
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.directory.sizes import parse_size
from postmaster.errors import UsageError

ROOT = "/var/vmail"
SOURCE = "the file"
_RULE = re.compile(
    r"(?:userdb_)?quota_(?:rule|storage_size)=(?:\*:(storage|bytes)=)?([0-9]{1,15}[BKMGT]?)",
    re.ASCII | re.IGNORECASE,
)
_NO_LOGIN = ("nologin", "nologin=y", "nologin=yes")


def gather(source: str, into: Gathered) -> None:
    text = decoded(content(Path(source), SIZE_LIMIT), source)
    for number, line in lines(text):
        parts = line.split(":", 7)
        address, extra = parts[0], parts[7] if len(parts) > 7 else ""
        place = f"line {number}"
        if "@" not in address:
            into.problem(place, "user", address, "has no domain; here a login is an address")
            continue
        home = parts[5] if len(parts) > 5 else ""
        into.user(
            place,
            address,
            password=parts[1] if len(parts) > 1 else "",
            name=parts[4].partition(",")[0] if len(parts) > 4 else "",
            folder=home or None,
            inside="Maildir",
            **extra_fields(address, extra, into),
        )
    into.domains_of_addresses()


def extra_fields(address: str, text: str, into: Gathered) -> dict[str, Any]:
    """What a user's extra fields say: `login`, `quota_bytes`; the others are noted."""
    found: dict[str, Any] = {"login": True, "quota_bytes": None}
    for one in text.split():
        rule = _RULE.fullmatch(one)
        if rule is not None:
            found["quota_bytes"] = _quota(address, rule[1], rule[2], into)
        elif one.lower() in _NO_LOGIN:
            found["login"] = False
        else:
            into.note(f"{address}: the field {one[:60]!r} has no counterpart here")
    return found


def _quota(address: str, unit: str | None, size: str, into: Gathered) -> int | None:
    """Bytes; a `storage` without a unit is in KiB (Dovecot 2.3, Quota Rules). None for no limit."""
    if not size.strip("0Bb"):
        return None
    try:
        quota = parse_size(size)
    except UsageError:
        into.note(f"{address}: the quota {size} is none")
        return None
    is_bare = size.isdigit() and (unit or "").lower() == "storage"
    return quota << 10 if quota is not None and is_bare else quota
