"""A message as a row: for JSON by keys that scripts rely on, for people by columns that fit a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any

from postmaster.errors import UsageError
from postmaster.render.escape import json_text
from postmaster.render.output import Column, cell, duration, moment, size

if TYPE_CHECKING:
    from postmaster.queue.message import Message

FIRST_ROWS = 200  # looked at to choose widths
NARROWEST = 12  # characters that a shortened column keeps
GAP = 2  # characters between columns


def row(message: Message) -> dict[str, Any]:
    """All that is known of a message, under the names of the JSON contract; unknown is None."""
    return {
        "instance": message.instance,
        "queue_name": message.queue_name,
        "queue_id": message.queue_id,
        "arrival_time": moment(message.arrival_time),
        "message_size": message.message_size,
        "forced_expire": message.forced_expire,
        "sender": message.sender,
        "recipients": [
            {
                "address": recipient.address,
                "delay_reason": recipient.delay_reason,
                "dsn": recipient.dsn,
                "original": recipient.original,
            }
            for recipient in message.recipients
        ],
        "next_retry": _moment(message.next_retry),
        "expires": _moment(message.expires),
        "recipients_done": message.recipients_done,
        "client_name": message.client_name,
        "client_address": message.client_address,
        "helo_name": message.helo_name,
        "sasl_username": message.sasl_username,
        "damage": message.damage,
    }


def json_line(message: Message) -> str:
    """`row` as a line of JSON. Written out, as it is made a hundred thousand times: a fifth of the time."""
    recipients = ", ".join(
        [
            f'{{"address": {quoted(one.address)}, {_json_deferral(one.delay_reason, one.dsn)}, '
            f'"original": {"null" if one.original is None else quoted(one.original)}}}'
            for one in message.recipients
        ]
    )
    m, done = message, message.recipients_done
    line = (
        f'{{"instance": {quoted(m.instance)}, "queue_name": "{m.queue_name}", '
        f'"queue_id": {quoted(m.queue_id)}, "arrival_time": {_json_time(m.arrival_time)}, '
        f'"message_size": {m.message_size}, "forced_expire": {_BOOLEANS[m.forced_expire]}, '
        f'"sender": {quoted(m.sender)}, "recipients": [{recipients}], '
        f'"next_retry": {_json_time(m.next_retry)}, "expires": {_json_time(m.expires)}, '
        f'"recipients_done": {"null" if done is None else done}, '
        f"{_json_client(m.client_name, m.client_address, m.helo_name)}, "
        f'"sasl_username": {"null" if m.sasl_username is None else quoted(m.sasl_username)}, '
        f'"damage": {"null" if m.damage is None else quoted(m.damage)}}}'
    )
    # JSON's own quoting leaves DEL and what is not ASCII; both questions cost next to nothing.
    return line if line.isascii() and "\x7f" not in line else json_text(line)


_BOOLEANS = {None: "null", True: "true", False: "false"}


def _json(text: str | None) -> str:
    return "null" if text is None else quoted(text)


@lru_cache(maxsize=4096)  # reasons come again and again
def _json_deferral(reason: str | None, dsn: str | None) -> str:
    return f'"delay_reason": {_json(reason)}, "dsn": {_json(dsn)}'


@lru_cache(maxsize=4096)  # and clients
def _json_client(name: str | None, address: str | None, helo: str | None) -> str:
    return f'"client_name": {_json(name)}, "client_address": {_json(address)}, "helo_name": {_json(helo)}'


_SECONDS = [f'{second:02}Z"' for second in range(60)]


def _json_time(seconds: int | None) -> str:
    """A time as JSON has it."""
    if seconds is None:
        return "null"
    minute, second = divmod(seconds, 60)
    return _json_minute(minute) + _SECONDS[second]


@lru_cache(maxsize=1 << 14)  # eleven days
def _json_minute(minute: int) -> str:
    day, minute = divmod(minute, 1440)
    return f'"{_json_day(day)}T{minute // 60:02}:{minute % 60:02}:'


@lru_cache
def _json_day(day: int) -> str:
    return moment(day * 86400).strftime("%Y-%m-%d")


def _moment(seconds: int | None) -> Any:
    return None if seconds is None else moment(seconds)


@dataclass(frozen=True, slots=True)
class Shown:
    """A column that can be asked for: its heading, what it costs to read, the value for programs and people.

    `descending`: sorting by it starts with the largest.
    """

    heading: str
    need: str
    value: Callable[[Message], Any]
    people: Callable[[Message], str] | None = None
    order: Callable[[Message], Any] | None = None
    right: bool = False
    descending: bool = False


def _first_reason(message: Message) -> str | None:
    return next((one.delay_reason for one in message.recipients if one.delay_reason), None)


def _recipients(message: Message) -> str:
    if not message.recipients:
        return "-"
    more = len(message.recipients) - 1
    first = message.recipients[0].address
    return f"{first} (+{more})" if more else first


def _until(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    left = seconds - time.time()
    return duration(left) if left >= 1 else "due"


#: By the keys of the JSON contract; `age`, `reason` and `dsn` are for tables above all.
COLUMNS: dict[str, Shown] = {
    "instance": Shown("INSTANCE", "instance", lambda m: m.instance),
    "queue_name": Shown("QUEUE", "queue_name", lambda m: m.queue_name),
    "queue_id": Shown("QUEUE ID", "queue_id", lambda m: m.queue_id),
    "arrival_time": Shown(
        "ARRIVED", "arrival_time", lambda m: moment(m.arrival_time), order=lambda m: m.arrival_time
    ),
    "age": Shown(
        "AGE",
        "arrival_time",
        lambda m: max(0, int(time.time()) - m.arrival_time),
        lambda m: duration(max(0.0, time.time() - m.arrival_time)),
        lambda m: m.arrival_time,
        right=True,
    ),
    "message_size": Shown(
        "SIZE", "message_size", lambda m: m.message_size, lambda m: size(m.message_size), None, True, True
    ),
    "forced_expire": Shown("EXPIRED", "forced_expire", lambda m: m.forced_expire),
    "sender": Shown("SENDER", "sender", lambda m: m.sender, lambda m: m.sender or "<>"),
    "recipients": Shown(
        "RECIPIENTS",
        "recipients",
        lambda m: row(m)["recipients"],
        _recipients,
        lambda m: len(m.recipients),
        descending=True,
    ),
    "reason": Shown("REASON", "reasons", _first_reason),
    "dsn": Shown("DSN", "reasons", lambda m: next((one.dsn for one in m.recipients if one.dsn), None)),
    "next_retry": Shown(
        "RETRY",
        "next_retry",
        lambda m: _moment(m.next_retry),
        lambda m: _until(m.next_retry),
        lambda m: m.next_retry,
        right=True,
    ),
    "expires": Shown(
        "EXPIRES",
        "expires",
        lambda m: _moment(m.expires),
        lambda m: _until(m.expires),
        lambda m: m.expires,
        right=True,
    ),
    "recipients_done": Shown("DONE", "recipients_done", lambda m: m.recipients_done, right=True),
    "client_name": Shown("CLIENT", "client_name", lambda m: m.client_name),
    "client_address": Shown("ADDRESS", "client_address", lambda m: m.client_address),
    "helo_name": Shown("HELO", "helo_name", lambda m: m.helo_name),
    "sasl_username": Shown("LOGIN", "sasl_username", lambda m: m.sasl_username),
    "damage": Shown("DAMAGE", "damage", lambda m: m.damage),
}

#: The fields of a filter, where they have another name.
ALIASES = {
    "id": "queue_id",
    "queue": "queue_name",
    "size": "message_size",
    "arrived": "arrival_time",
    "retry": "next_retry",
    "recipient": "recipients",
    "client": "client_name",
    "helo": "helo_name",
    "sasl": "sasl_username",
    "done": "recipients_done",
}

DEFAULT_COLUMNS = (
    "queue_id",
    "queue_name",
    "age",
    "next_retry",
    "message_size",
    "sender",
    "recipients",
    "reason",
)

#: What a terminal has room for only from so many characters on. The ID is always whole, as it is copied.
ROOM = {"next_retry": 100, "message_size": 100, "sender": 78, "queue_name": 64, "recipients": 54}

#: Whose text is shortened where the terminal is narrow, in this order: the reason last.
_SHORTENED = ("helo_name", "client_name", "sasl_username", "damage", "sender", "recipients", "reason")


def column(name: str, option: str) -> str:
    """The key of a column that was asked for by its name or a filter's. Raises UsageError."""
    key = ALIASES.get(name.strip().lower(), name.strip().lower())
    if key not in COLUMNS:
        raise UsageError(f"{option}: there is no column {name}", hint=f"one of: {', '.join(COLUMNS)}")
    return key


def needs(keys: Iterable[str]) -> frozenset[str]:
    """What must be read for these columns."""
    return frozenset(COLUMNS[key].need for key in keys)


def table_columns(keys: Sequence[str]) -> list[Column]:
    return [Column(key, COLUMNS[key].heading, COLUMNS[key].right) for key in keys]


def table_row(message: Message, keys: Sequence[str]) -> dict[str, str]:
    """The cells of a table, safe to show."""
    cells = {}
    for key in keys:
        shown = COLUMNS[key]
        cells[key] = cell(shown.people(message) if shown.people else shown.value(message))
    if message.damage and "damage" not in keys and "reason" in keys:
        cells["reason"] = cell(f"damaged: {message.damage}")
    return cells


def picked_row(message: Message, keys: Sequence[str]) -> dict[str, Any]:
    """These columns alone, as programs want them."""
    return {key: COLUMNS[key].value(message) for key in keys}


def fitted(rows: Iterable[dict[str, str]], keys: Sequence[str], width: int) -> Iterator[dict[str, str]]:
    """The rows with texts shortened so that a line has at most `width` characters, the reason last.

    The first rows decide about the widths.
    """
    waiting = iter(rows)
    first = list(islice(waiting, FIRST_ROWS))
    widths = {key: max([len(COLUMNS[key].heading), *(len(one[key]) for one in first)]) for key in keys}
    over = sum(widths.values()) + GAP * (len(keys) - 1) - width
    for key in _SHORTENED:
        if key in widths and over > 0:
            least = max(len(COLUMNS[key].heading), min(widths[key], NARROWEST))
            kept = max(least, widths[key] - over)
            over -= widths[key] - kept
            widths[key] = kept
    for one in chain(first, waiting):
        yield {
            key: text if key not in _SHORTENED or len(text) <= widths[key] else text[: widths[key] - 1] + "…"
            for key, text in one.items()
        }


def sort_key(key: str, *, reverse: bool = False) -> Callable[[Message], tuple[bool, Any]]:
    """How to sort by a column, so that unknown values come last, in reverse order too."""
    shown = COLUMNS[key]
    order = shown.order or shown.value

    def value(message: Message) -> tuple[bool, Any]:
        found = order(message)
        if found is None:
            return not reverse, 0
        if isinstance(found, str):
            return reverse, found.casefold()
        return reverse, -found if shown.descending else found

    return value
