"""The Postfix instances of this machine, and the parameters of each that reading its queue needs.

The settings name the default instance; its `multi_instance_directories` names the others, which is all
that `postmulti` goes by. One call of `postconf` for each instance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import NotFoundError, ServerError
from postmaster.postfix import postconf

#: How `postmulti` names an instance that has no name.
NAMELESS = "-"

_PARAMETERS = (
    "queue_directory",
    "multi_instance_name",
    "multi_instance_directories",
    "maximal_queue_lifetime",
    "bounce_queue_lifetime",
    "hash_queue_names",
    "hash_queue_depth",
    "smtputf8_enable",
    "empty_address_recipient",
    "enable_long_queue_ids",
    "mynetworks",
    "syslog_name",
    "maillog_file",
    "mail_owner",
)
_TIME = re.compile(r"(\d{1,9})([smhdw]?)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Instance:
    """A Postfix instance. Lifetimes are in seconds, None where the parameter makes no sense."""

    name: str
    config_directory: Path
    spool: Path
    lifetime: int | None  # maximal_queue_lifetime
    bounce_lifetime: int | None  # of a message with a null sender
    hashed: frozenset[str]  # hash_queue_names
    depth: int  # hash_queue_depth
    utf8: bool  # smtputf8_enable: whether Postfix prints other text than ASCII
    empty_address: str  # how Postfix prints the null sender
    long_ids: bool  # enable_long_queue_ids
    networks: str  # mynetworks as it is written
    syslog_name: str
    log_file: Path | None  # maillog_file, where Postfix writes its log itself
    owner: str  # mail_owner

    def lifetime_of(self, sender: str) -> int | None:
        """How long a message of this sender may stay in the queue."""
        return self.lifetime if sender else self.bounce_lifetime


def instances(config_directory: Path) -> list[Instance]:
    """The default instance and those that it names. Raises ProcessError, ServerError."""
    first, others = _read(config_directory)
    return [first, *(_read(directory)[0] for directory in others)]


def by_name(config_directory: Path) -> dict[str, Instance]:
    """The same by their names. Raises ProcessError, ServerError."""
    return {one.name: one for one in instances(config_directory)}


def chosen(config_directory: Path, names: Sequence[str] = ()) -> list[Instance]:
    """The instances with these names, all for none. Raises NotFoundError for an unknown name."""
    known = instances(config_directory)
    for name in names:
        if name not in {one.name for one in known}:
            raise NotFoundError(
                f"there is no Postfix instance {name}",
                hint=f"there is {', '.join(one.name for one in known)}; see: postmulti -l",
            )
    return [one for one in known if not names or one.name in names]


def seconds(text: str, unit: str = "d") -> int | None:
    """A time as main.cf has it, `5d`, in seconds; `unit` is what a bare number means. None for no time."""
    found = _TIME.match(text.strip().lower())
    return None if found is None else int(found[1]) * _SECONDS[found[2] or unit]


def _read(config_directory: Path) -> tuple[Instance, list[Path]]:
    values = postconf.expanded(config_directory, _PARAMETERS)
    spool = values.get("queue_directory", "")
    if not spool.startswith("/"):
        raise ServerError(f"{config_directory} names no queue_directory", hint=postconf.HINT)
    depth = values.get("hash_queue_depth", "1")
    log = values.get("maillog_file", "")
    instance = Instance(
        name=values.get("multi_instance_name") or NAMELESS,
        config_directory=config_directory,
        spool=Path(spool),
        lifetime=seconds(values.get("maximal_queue_lifetime", "")),
        bounce_lifetime=seconds(values.get("bounce_queue_lifetime", "")),
        hashed=frozenset(postconf.split_list(values.get("hash_queue_names", "").lower())),
        depth=int(depth) if depth.isdigit() and 0 < len(depth) < 3 else 1,
        utf8=values.get("smtputf8_enable") != "no",
        empty_address=values.get("empty_address_recipient") or "MAILER-DAEMON",
        long_ids=values.get("enable_long_queue_ids") == "yes",
        networks=values.get("mynetworks", ""),
        syslog_name=values.get("syslog_name", "postfix"),
        log_file=Path(log) if log.startswith("/") and log != "/dev/stdout" else None,
        owner=values.get("mail_owner", "postfix"),
    )
    return instance, [Path(one) for one in postconf.split_list(values.get("multi_instance_directories", ""))]
