"""Mailu: its database (`main.db`, or by URL), or what `config-export --secrets` writes as YAML.

In the YAML what has its default is left out; a quota is 1000000000 then. Mailu asks for users before aliases,
so an alias of a user's address does nothing there. Who may send as an alias are the users it leads to.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from postmaster.bulk.foreign.dump import Record, Rows
from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import content, take, told
from postmaster.bulk.reading import DOCUMENT_LIMIT, decoded
from postmaster.errors import UsageError

ROOT = "/mail"
SOURCE = "main.db, a database URL, a dump, or the YAML of config-export"
_TABLES = ("domain", "alternative", "user", "alias")
#: What stands inside the users of the YAML and is a table of its own in the database.
_INSIDE = {"tokens": "token", "fetches": "fetch", "manager_of": "manager"}
_HIDDEN = "<hidden>"  # what config-export writes without --secrets
_QUOTA = 10**9


def gather(source: str, into: Gathered) -> None:
    if "://" not in source and Path(source).suffix in (".yml", ".yaml"):
        rows = _of_yaml(source)
        told(rows, into)
        tables = {name: rows.tables.get(name, []) for name in _TABLES}
    else:
        tables = dict(take(source, _TABLES, into, needed=("domain", "user", "alias")))
    for row in tables["domain"]:
        into.domain(row.place, row.text("name"))
    for row in tables["alternative"]:
        into.alias_domain(row.place, row.text("name"), row.text("domain_name"))
    people = {_email(row).lower() for row in tables["user"]}
    for row in tables["user"]:
        _user(row, into)
    for row in tables["alias"]:
        _alias(row, people, into)


def _email(row: Record) -> str:
    return row.text("email") or f"{row.text('localpart')}@{row.text('domain_name')}"


def _user(row: Record, into: Gathered) -> None:
    address = _email(row)
    quota = row.number("quota_bytes") if row.text("quota_bytes") else _QUOTA
    enabled, password = row.flag("enabled"), row.text("password")
    if password == _HIDDEN:
        into.note("the passwords are hidden in the file: write it with config-export --secrets")
        password = ""
    into.user(
        row.place,
        address,
        password=password,
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
        into.administrator(address)
    if row.flag("allow_spoofing", default=False):
        into.note(f"{address} may send as anybody there, which nobody may here")


def _alias(row: Record, people: set[str], into: Gathered) -> None:
    address = _email(row)
    local, _, domain = address.rpartition("@")
    if row.flag("wildcard", default=False):
        if local != "%":
            into.problem(row.place, "alias", address, "is a pattern; here a catch-all takes the whole domain")
            return
        address = f"@{domain}"
    targets = row.text("destination").split(",")
    if address.lower() in people:
        into.note(f"alias {address} does nothing there, as there is a user of that address, and is left out")
        return
    into.route(row.place, address, targets, people)
    if not address.startswith("@"):
        into.senders(row.place, address, targets, people)


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
    rows.others = {str(name) for name, items in whole.items() if name not in _TABLES and items}
    for name in ("domain", "user", "alias"):
        items = whole.get(name)
        for number, item in enumerate(items if isinstance(items, list) else [], 1):
            place = f"{name} {number}"
            if not isinstance(item, dict):
                rows.problems.append((place, f"an entry of {name} that has no fields"))
                continue
            rows.tables.setdefault(name, []).append(
                Record(place, {str(key): _plain(value) for key, value in item.items()})
            )
            if name == "user":
                rows.others |= {table for key, table in _INSIDE.items() if item.get(key)}
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
