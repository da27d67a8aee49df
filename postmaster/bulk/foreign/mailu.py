"""Mailu: its database (`main.db`, or by URL), or what `config-export --secrets` writes as YAML.

In the YAML what has its default is left out; a quota is 1000000000 then.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from postmaster.bulk.foreign.dump import Record, Rows
from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import content, read
from postmaster.bulk.reading import DOCUMENT_LIMIT, decoded
from postmaster.errors import UsageError

ROOT = "/mail"
SOURCE = "main.db, a database URL, a dump, or the YAML of config-export"
_LOST = ("relay", "token", "fetch", "manager")
_QUOTA = 10**9


def gather(source: str, into: Gathered) -> None:
    tables = ("domain", "alternative", "user", "alias", *_LOST)
    is_yaml = "://" not in source and Path(source).suffix in (".yml", ".yaml")
    found = _of_yaml(source) if is_yaml else read(source, tables, needed=("domain", "user", "alias"))
    for place, why in found.problems:
        into.problem(place, "", "", why)
    for row in found.tables.get("domain", []):
        into.domain(row.place, row.text("name"))
    for row in found.tables.get("alternative", []):
        into.domain(row.place, row.text("name"), row.text("domain_name"))
    people = {_email(row).lower() for row in found.tables.get("user", [])}
    for row in found.tables.get("user", []):
        _user(row, into)
    for row in found.tables.get("alias", []):
        _alias(row, people, into)
    for name in _LOST:
        if lost := found.tables.get(name):
            into.note(f"{len(lost)} rows of {name} have no counterpart here")


def _email(row: Record) -> str:
    return row.text("email") or f"{row.text('localpart')}@{row.text('domain_name')}"


def _user(row: Record, into: Gathered) -> None:
    address = _email(row)
    quota = row.number("quota_bytes") if row.text("quota_bytes") else _QUOTA
    enabled = row.flag("enabled")
    into.user(
        row.place,
        address,
        password=row.text("password"),
        name=row.text("displayed_name"),
        folder=address.lower(),
        quota_bytes=quota if quota > 0 else None,
        login=enabled,
        imap=row.flag("enable_imap"),
        pop3=row.flag("enable_pop"),
    )
    if row.flag("forward_enabled", default=False):
        keeps, others = own_and_others(address, row.text("forward_destination").split(","))
        into.forward(row.place, address, others, keep_copy=keeps or row.flag("forward_keep"))
    if row.flag("reply_enabled", default=False):
        into.note(f"{address} answers by itself there, which a Sieve script does here")
    if row.flag("global_admin", default=False):
        into.note(f"{address} is an administrator there, and administrators here are the system's")


def _alias(row: Record, people: set[str], into: Gathered) -> None:
    address = _email(row)
    local, _, domain = address.rpartition("@")
    if row.flag("wildcard", default=False):
        if local != "%":
            into.problem(row.place, "alias", address, "is a pattern; here a catch-all takes the whole domain")
            return
        address = f"@{domain}"
    keeps, others = own_and_others(address, row.text("destination").split(","))
    if address.lower() in people:
        into.forward(row.place, address, others, keep_copy=keeps)
    else:
        into.alias(row.place, address, others)


def _of_yaml(source: str) -> Rows:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = decoded(content(Path(source), DOCUMENT_LIMIT), source)
    try:
        whole = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{source} is no YAML: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("user"), list):
        raise UsageError(f"{source} has no users", hint="write it with: mailu config-export --secrets")
    rows = Rows()
    for name in ("domain", "user", "alias", *_LOST):
        items = whole.get(name)
        for number, item in enumerate(items if isinstance(items, list) else [], 1):
            place = f"{name} {number}"
            if not isinstance(item, dict):
                rows.problems.append((place, f"an entry of {name} that has no fields"))
                continue
            rows.tables.setdefault(name, []).append(
                Record(place, {str(key): _plain(value) for key, value in item.items()})
            )
            alternatives = item.get("alternatives") if name == "domain" else None
            for one in alternatives if isinstance(alternatives, list) else []:
                other = one.get("name") if isinstance(one, dict) else one
                values: dict[str, str | None] = {"name": str(other), "domain_name": str(item.get("name"))}
                rows.tables.setdefault("alternative", []).append(Record(place, values))
    return rows


def _plain(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
