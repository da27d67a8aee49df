"""The fields of entries as text and back: one reading and one writing for every format.

Everything in a file is text until it is read here; what is no value of its field is a PostmasterError with
one line that says why. What `shown` writes, `entry` reads back to an equal entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from postmaster.address import (
    Address,
    Domain,
    parse_address,
    parse_alias_address,
    parse_domain,
    parse_own_address,
)
from postmaster.directory import passwords, users
from postmaster.directory.app_passwords import NAME, PROTOCOLS
from postmaster.directory.entries import CLASSES, FIELDS, Entry
from postmaster.directory.sizes import parse_size
from postmaster.errors import UsageError

MAIL_ID = re.compile(
    r"[A-Za-z0-9@_=,+-][A-Za-z0-9@_=,+.-]*(?:/[A-Za-z0-9@_=,+-][A-Za-z0-9@_=,+.-]*)*", re.ASCII
)
MAIL_ID_CHARACTERS = 255
LIST_ITEMS = 10_000  # targets of one address; Postfix takes a tenth of it
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')

#: What may stand for a field's name.
SYNONYMS = {"quota": "quota_bytes"}


def moment(text: str) -> datetime:
    """A time with its zone; without one it is UTC. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{_short(text)} is no time", hint="for example 2026-12-31T18:00:00Z") from None


def split(text: str) -> list[str]:
    """The items of a list that is written as one text, with spaces between; a quoted local part may have
    spaces of its own.
    """
    return _ITEM.findall(text)


def entry(kind: str, given: Mapping[str, str | list[str] | None]) -> Entry:
    """An entry from the texts of its fields; one that is empty, or None, is not given.

    Raises PostmasterError that says which field is wrong and why.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = SYNONYMS.get(name, name)
        if field not in FIELDS[kind]:
            raise UsageError(f"a {kind} has no {_short(name)}", hint="it has " + ", ".join(FIELDS[kind]))
        if value is None or value == "" or value == []:
            continue
        if field in values:
            raise UsageError(f"{field} is given twice")
        values[field] = _PARSE[kind, field](value)
    for name in _REQUIRED[kind]:
        if name not in values:
            raise UsageError(f"a {kind} needs {name}")
    return CLASSES[kind](**values)


def shown(one: Entry) -> dict[str, Any]:
    """Field -> value as JSON has it: texts, whole numbers, booleans, lists of texts, None."""
    return {name: _plain(getattr(one, name)) for name in FIELDS[one.kind]}


def _plain(value: Any) -> Any:
    if isinstance(value, Address):
        return value.ascii if value.local.is_quoted else value.unicode
    if isinstance(value, Domain):
        return value.unicode
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _text(parse: Callable[[str], Any]) -> Callable[[str | list[str]], Any]:
    def of(value: str | list[str]) -> Any:
        if isinstance(value, list):
            raise UsageError(f"{_short(' '.join(value))} is a list, and one value is needed")
        return parse(value)

    return of


def _many(parse: Callable[[str], Any]) -> Callable[[str | list[str]], tuple[Any, ...]]:
    def of(value: str | list[str]) -> tuple[Any, ...]:
        items = split(value) if isinstance(value, str) else value
        if len(items) > LIST_ITEMS:
            raise UsageError(f"a list has more than {LIST_ITEMS} items")
        return tuple(dict.fromkeys(parse(item) for item in items))

    return of


def _boolean(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise UsageError(f"{_short(text)} is neither true nor false")
    return known[text.lower()]


def _quota(text: str) -> int | None:
    size = parse_size(text)
    users.check_quota(size)
    return size


def _person(text: str) -> str:
    users.check_name(text)
    return text


def mail_id(text: str) -> str:
    """A folder below the mail root. Raises UsageError for one that could lead elsewhere."""
    if MAIL_ID.fullmatch(text) is None or len(text) > MAIL_ID_CHARACTERS:
        raise UsageError(f"{_short(text)} names no mail folder below the mail root")
    return text


def _app_name(text: str) -> str:
    if NAME.fullmatch(text) is None:
        raise UsageError(
            f"{_short(text)} is no name of an app password: 1 to 64 letters, digits, spaces, dots, hyphens"
        )
    return text


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise UsageError("that is no SHA-256, 64 hexadecimal digits")
    return text


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        raise UsageError(f"{_short(text)} is none of " + ", ".join(PROTOCOLS))
    return text


_TIME = _text(moment)
_OWN = _text(parse_own_address)
_SWITCH = _text(_boolean)
_PARSE: dict[tuple[str, str], Callable[[str | list[str]], Any]] = {
    ("domain", "domain"): _text(parse_domain),
    ("domain", "alias_of"): _text(parse_domain),
    ("user", "address"): _OWN,
    ("user", "name"): _text(_person),
    ("user", "password"): _text(passwords.check_hash),
    **{("user", switch): _SWITCH for switch in users.SWITCHES},
    ("user", "quota_bytes"): _text(_quota),
    ("user", "until"): _TIME,
    ("user", "locked_at"): _TIME,
    ("user", "mail_id"): _text(mail_id),
    ("alias", "address"): _text(parse_alias_address),
    ("alias", "targets"): _many(parse_address),
    ("alias", "until"): _TIME,
    ("forward", "address"): _OWN,
    ("forward", "targets"): _many(parse_address),
    ("forward", "keep_copy"): _SWITCH,
    ("forward", "until"): _TIME,
    ("grant", "user"): _OWN,
    ("grant", "address"): _text(parse_alias_address),
    ("app_password", "user"): _OWN,
    ("app_password", "name"): _text(_app_name),
    ("app_password", "sha256"): _text(_sha256),
    ("app_password", "protocols"): _many(_protocol),
    **{(kind, "created_at"): _TIME for kind in CLASSES if "created_at" in FIELDS[kind]},
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "domain": ("domain",),
    "user": ("address",),
    "alias": ("address", "targets"),
    "forward": ("address", "targets"),
    "grant": ("user", "address"),
    "app_password": ("user", "name", "sha256"),
}


def _short(text: str, limit: int = 60) -> str:
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(shortened)
