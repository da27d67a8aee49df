"""Who reads what Postfix tells its postmaster: each address for a class of notices, followed to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.errors import AddressError
from postmaster.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

DEEP = 10  # aliases of aliases that are followed

#: Class in notify_classes -> the parameter with the address; all others use error_notice_recipient.
_RECIPIENTS = {
    "2bounce": "2bounce_notice_recipient",
    "bounce": "bounce_notice_recipient",
    "delay": "delay_notice_recipient",
}
_OTHERS = "error_notice_recipient"
_PARAMETERS = (
    *(*_RECIPIENTS.values(), _OTHERS, "notify_classes"),
    *("myorigin", "myhostname", "mydestination", "alias_maps"),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A parameter, the address in it, and why nobody reads what goes there; None where somebody does."""

    parameter: str
    address: str
    unread: str | None


def notices(settings: Settings, reading: Connection, timeout: float) -> Iterator[Notice]:
    """The parameters that are in use (`notify_classes`). Raises ProcessError."""
    from postmaster.postfix import postconf

    config = settings.postfix.config_directory
    values = postconf.expanded(config, _PARAMETERS)
    classes = postconf.split_list(values["notify_classes"])
    for parameter in dict.fromkeys(_RECIPIENTS.get(one.lower(), _OTHERS) for one in classes):
        address = values[parameter]
        if "@" not in address:
            address = f"{address}@{values['myorigin']}"
        yield Notice(parameter, address, _unread(config, values, reading, address, timeout))


def _unread(
    config: Path, values: Mapping[str, str], reading: Connection, text: str, timeout: float
) -> str | None:
    from postmaster.address import parse_address
    from postmaster.directory import graph
    from postmaster.directory.dead_ends import DeadEnds
    from postmaster.postfix import postconf

    try:
        where = parse_address(text)
    except AddressError:
        return "it is no address"
    if graph.hosted(reading, where.domain) is not None:
        _, node = graph.lead(reading, where)
        if node is None:
            return "there is no such address in the directory"
        return None if DeadEnds(reading).is_open(node.id) else "that address takes no mail"
    mine = [one.lower() for one in postconf.split_list(values["mydestination"])]
    if where.domain.ascii in mine:
        return _local(config, values, reading, where.local.text, timeout)
    if where.domain.ascii in (values["myhostname"].lower(), values["myorigin"].lower()):
        return "this server takes no mail for its own name"
    return None  # it leaves the house: whoever reads it reads it there


def _local(
    config: Path, values: Mapping[str, str], reading: Connection, first: str, timeout: float
) -> str | None:
    """Why a local name leads to no reader, through the alias tables (aliases(5))."""
    from postmaster.postfix import control, postconf

    tables = postconf.split_list(values["alias_maps"])
    waiting, seen = [(first, 0)], {first}
    boxes = []
    while waiting:
        name, depth = waiting.pop()
        targets = None
        for table in tables:
            targets = control.query(config, table, [name], timeout=timeout).get(name)
            if targets is not None:
                break
        if targets is None:
            boxes.append(name)
            continue
        for target in (one.strip().strip('"') for one in targets.split(",")):
            if "@" in target:
                if _unread(config, values, reading, target, timeout) is None:
                    return None
            elif target.startswith(("|", ":include:")) or (target.startswith("/") and target != "/dev/null"):
                return None  # somebody made it so
            elif not target.startswith("/") and depth < DEEP and target.lower() not in seen:
                seen.add(target.lower())
                waiting.append((target.lower(), depth + 1))
    if boxes:
        return f"it ends in the system's mailbox of {boxes[0]}, which no mail program shows"
    return "it leads nowhere"
