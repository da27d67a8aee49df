"""What local(8) does with a recipient: alias(5), `:include:`, `~/.forward`, then the mailbox.

Rules, from alias.c, recipient.c, dotforward.c, token.c and include.c:
- the full local part is looked up, then the user without extension; a name that is its own target goes to
  the user; an `owner-NAME` beside NAME becomes the envelope sender;
- other local names are expanded at once; where there is an owner, and from `:include:` files, each target
  is sent in anew and goes through cleanup's tables once more;
- the first file of `forward_path` that is there counts; one that is not the user's own, or that everybody
  may write, is passed over;
- a command in an `:include:` file is refused unless `allow_mail_to_commands` says otherwise;
- more than 100 levels are returned to the sender (5.4.6); a target takes two levels, an alias or forward file
  two more, an include file one, so 25 aliases one after another are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.files import read_regular
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote, split
from postmaster.routing import hops
from postmaster.routing.forward_file import ForwardFile, find_forward, find_user
from postmaster.routing.hops import Hop
from postmaster.routing.server import Server

DEEPEST = 100  # recipient.c
INCLUDE_BYTES = 1 << 20  # of an include file that is looked at

#: Sends an address in anew: (address in internal form, hop to fill in, addresses before it).
Resubmit = Callable[[str, Hop, tuple[str, ...]], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the expansion a target stands."""

    kind: str  # alias, forward, include
    path: tuple[str, ...]  # local names and files before it, folded
    name: str  # the alias or user whose target it is
    has_owner: bool
    level: int  # as local(8) counts them
    extension: str  # unmatched, to be added to targets


def deliver(server: Server, address: str, hop: Hop, resubmit: Resubmit, before: tuple[str, ...] = ()) -> None:
    """Fill in what local(8) does with an address (internal form) of a local domain. Raises RightsError."""
    try:
        _recipient(server, address, hop, resubmit, _Place("", before, "", False, -1, ""))
    except ServerError as error:
        hop.rule, hop.problem, hop.reason = hops.NOWHERE, hops.UNREADABLE, error.message


def _recipient(server: Server, address: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    if place.level + 2 > DEEPEST:
        hop.rule, hop.problem = hops.NOWHERE, hops.LOOP
        hop.reason = f"more than {DEEPEST} levels deep: returned to its sender (5.4.6)"
        return
    level = place.level + 4  # of an alias, as soon as it is looked up
    local = address.rpartition("@")[0].lower() or address.lower()
    user, extension = server.addressing.split_extension(local)
    if "/" in extension:
        local, extension = user, ""
    for name in (local, *([user] if extension else [])):
        if name == place.name and place.kind == "alias":
            continue  # its own target: the user is meant
        found = _alias(server, name)
        if found is None:
            continue
        if f"alias {name}" in place.path or level > DEEPEST:
            hop.rule, hop.problem = hops.NOWHERE, hops.LOOP
            why = "leads back to itself" if level <= DEEPEST else f"is more than {DEEPEST} levels deep"
            hop.reason = f"alias {name} {why}: returned to its sender (5.4.6)"
            return
        left = extension if name == user and server.addressing.propagates("alias") else ""
        _expand_alias(server, hop, resubmit, found, _Place("alias", place.path, name, False, level, left))
        return
    if (place.has_owner and place.name != user) or place.kind == "include":
        hop.rule, hop.reason = hops.RESUBMITTED, "sent in anew"
        resubmit(address, hop, place.path)
        return
    _user(server, user, extension, address, hop, resubmit, place)


@dataclass(frozen=True, slots=True)
class _Alias:
    table: str
    name: str
    value: str
    owner: str | None


def _alias(server: Server, name: str) -> _Alias | None:
    tables = split_list(server.parameters["alias_maps"])
    for table in tables:
        value = server.tables.find(table, name)
        if value is None:
            continue
        owner = f"owner-{name}"
        is_owned = server.parameters["owner_request_special"] == "yes" and any(
            server.tables.find(one, owner) is not None for one in tables
        )
        return _Alias(table, name, value, owner if is_owned else None)
    return None


def _expand_alias(server: Server, hop: Hop, resubmit: Resubmit, alias: _Alias, place: _Place) -> None:
    hop.rule, hop.reason = hops.LOCAL_ALIAS, f"alias {alias.name} of {alias.table}"
    hop.table, hop.key = alias.table, alias.name
    if alias.owner is not None:
        hop.sender = quote(server.addressing.canonical(alias.owner))
        hop.reason += f"; from here on the envelope sender is {hop.sender}"
    below = _Place(
        "alias",
        (*place.path, f"alias {alias.name}"),
        alias.name,
        alias.owner is not None,
        place.level,
        place.extension,
    )
    _targets(server, hop, resubmit, split(alias.value), below, home=None)


def _targets(
    server: Server, hop: Hop, resubmit: Resubmit, targets: list[str], place: _Place, home: Path | None
) -> None:
    if not targets:
        hop.problem, hop.reason = hops.DEAD_END, f"{hop.reason}: it has no target, mail is deferred"
    for target in targets:
        below = Hop(quote(target) if _is_address(target) else target)
        hop.hops.append(below)
        if target.startswith("|"):
            _command(server, target, below, place)
        elif target.startswith(("/", "~/")):
            _file(server, target, below, place, home)
        elif target.lower().startswith(":include:"):
            _include(server, target[len(":include:") :], below, resubmit, place)
        else:
            _address(server, target, below, resubmit, place)


def _is_address(target: str) -> bool:
    return not target.startswith(("|", "/", "~", ":include:"))


def _command(server: Server, target: str, hop: Hop, place: _Place) -> None:
    _end(server, hop, place, hops.COMMAND, "allow_mail_to_commands", f"piped into {target[1:].strip()}")


def _file(server: Server, target: str, hop: Hop, place: _Place, home: Path | None) -> None:
    path = target if home is None else target.replace("~", str(home), 1)
    _end(server, hop, place, hops.FILE, "allow_mail_to_files", f"written to {path}")


def _end(server: Server, hop: Hop, place: _Place, rule: str, parameter: str, reason: str) -> None:
    if place.kind in split_list(server.parameters[parameter]):
        hop.rule, hop.reason = rule, reason
    else:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
        hop.reason = f"not allowed from {place.kind} by {parameter}: returned to its sender"


def _include(server: Server, name: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    hop.rule, hop.reason = hops.INCLUDE, f"addresses in the file {name}"
    mark = f"include {name}"
    if mark in place.path:
        hop.rule, hop.problem, hop.reason = hops.NOWHERE, hops.LOOP, f"{name} includes itself"
        return
    try:
        data, _ = read_regular(Path(name), INCLUDE_BYTES)
    except OSError as error:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
        hop.reason = f"{name} cannot be read: {error.strerror}; mail is deferred"
        return
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    targets = [one for line in lines if not line.startswith("#") for one in split(line)]
    left = place.extension if server.addressing.propagates("include") else ""
    below = _Place("include", (*place.path, mark), place.name, place.has_owner, place.level + 1, left)
    _targets(server, hop, resubmit, targets, below, home=None)


def _address(server: Server, target: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    address = server.addressing.canonical(target)
    if place.extension:
        local, _, domain = address.rpartition("@")
        address = f"{local}{place.extension}@{domain}"
        hop.extension = "kept"
    if server.classes.of(address.rpartition("@")[2]) == "local":
        _recipient(server, address, hop, resubmit, place)
    else:
        hop.rule, hop.reason = hops.RESUBMITTED, "sent in anew"
        resubmit(address, hop, place.path)


def _user(
    server: Server, user: str, extension: str, address: str, hop: Hop, resubmit: Resubmit, place: _Place
) -> None:
    account = find_user(user)
    if account is None:
        _unknown(server, user, address, hop, resubmit, place)
        return
    mark = f"forward {user}"
    forward = find_forward(server.parameters["forward_path"], account, extension, server.addressing.delimiter)
    if forward is not None and mark not in place.path:
        if forward.refusal is None and forward.targets:
            _dot_forward(server, extension, hop, resubmit, place, mark, forward)
            return
        hop.reason = f"{forward.path} is passed over: {forward.refusal or 'it is empty'}; "
    hop.rule = hops.LOCAL_MAILBOX
    hop.reason = (hop.reason if hop.reason.endswith("; ") else "") + _mailbox(server, user, account.home)


def _dot_forward(
    server: Server,
    extension: str,
    hop: Hop,
    resubmit: Resubmit,
    place: _Place,
    mark: str,
    forward: ForwardFile,
) -> None:
    hop.rule, hop.reason = hops.DOT_FORWARD, f"forward file {forward.path}"
    hop.table, hop.key = str(forward.path), forward.user
    left = extension if server.addressing.propagates("forward") and not forward.has_extension else ""
    below = _Place("forward", (*place.path, mark), forward.user, True, place.level + 4, left)
    _targets(server, hop, resubmit, list(forward.targets), below, forward.home)


def _mailbox(server: Server, user: str, home: Path) -> str:
    given = server.parameters
    for parameter in ("mailbox_transport_maps", "mailbox_transport", "mailbox_command"):
        if given.get(parameter):
            return f"mailbox of {user}, by {parameter} ({given[parameter]})"
    if given["home_mailbox"]:
        return f"mailbox {home / given['home_mailbox']}"
    return f"mailbox {Path(given['mail_spool_directory'] or '/var/mail') / user}"


def _unknown(server: Server, user: str, address: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    """unknown.c: fallback transports, luser_relay, else returned."""
    given = server.parameters
    if given["mailbox_transport"] or given["fallback_transport"] or given["fallback_transport_maps"]:
        names = ("mailbox_transport", "fallback_transport_maps", "fallback_transport")
        name = next(one for one in names if given[one])
        hop.rule, hop.reason = hops.TRANSPORT, f"no such user here: {name} ({given[name]}) decides"
        hop.transport = given[name]
    elif given["luser_relay"] and f"luser {user}" not in place.path:
        target = given["luser_relay"]
        for macro, value in (("user", user), ("local", user), ("domain", address.rpartition("@")[2])):
            target = target.replace(f"${{{macro}}}", value).replace(f"${macro}", value)
        hop.rule, hop.reason = hops.LUSER_RELAY, "no such user here: luser_relay"
        below = _Place("alias", (*place.path, f"luser {user}"), "", False, place.level + 1, "")
        _targets(server, hop, resubmit, split(target), below, home=None)
    elif user in ("mailer-daemon", "postmaster"):
        hop.rule, hop.problem = hops.DISCARDED, hops.DEAD_END
        hop.reason = f"there is no alias {user}: mail is thrown away with a warning in the log"
    else:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
        hop.reason = f"no alias and no user {user}: mail is returned to its sender (5.1.1)"
