"""A Dovecot passwd-file: `user:password:uid:gid:gecos:home:shell:extra fields`, one user a line."""

from __future__ import annotations

import re
from pathlib import Path

from postmaster.bulk.foreign.dump import lines
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.tables import content
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.directory.sizes import parse_size
from postmaster.errors import UsageError

ROOT = "/var/vmail"
SOURCE = "the file"
_RULE = re.compile(
    r"(?:userdb_)?quota_(?:rule|storage_size)=(?:\*:(?:storage|bytes)=)?([0-9]+[KMGTkmgt]?)", re.ASCII
)


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
            quota_bytes=_quota(address, extra, into),
            login="nologin" not in extra.split() and "nologin=y" not in extra.split(),
        )
        for one in extra.split():
            if _RULE.fullmatch(one) is None and one not in ("nologin", "nologin=y"):
                into.note(f"{address}: the field {one[:60]!r} has no counterpart here")
    into.domains_of_addresses()


def _quota(address: str, extra: str, into: Gathered) -> int | None:
    for one in extra.split():
        found = _RULE.fullmatch(one)
        if found is not None:
            try:
                return parse_size(found[1])
            except UsageError:
                into.note(f"{address}: the quota {found[1]} is none")
    return None
