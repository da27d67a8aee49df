"""What local(8) does with a recipient: alias(5), `:include:`, `~/.forward`, then the mailbox.

Rules, from alias.c, recipient.c, dotforward.c, token.c, include.c and unknown.c:
- the full local part is looked up, then the user without extension; a name that is its own target goes to
  the user; an `owner-NAME` beside NAME becomes the envelope sender;
- other local names are expanded at once; below an owner, from forward and `:include:` files, each target that
  is no alias is sent in anew and goes through cleanup's tables once more;
- a recipient that comes again on the same level is passed over;
- a recipient to whom a message before this one was delivered (Delivered-To) is returned to the sender;
- the first file of `forward_path` that is there counts; one that is not the user's own, or that everybody
  may write, is passed over;
- a command in an `:include:` file is refused unless `allow_mail_to_commands` says otherwise;
- more than 100 levels are returned to the sender (5.4.6); a target takes two levels, an alias or forward file
  two more, an include file one, so 25 aliases one after another are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.files import read_regular
from postmaster.postfix import macros
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote, split
from postmaster.routing import hops, mailbox
from postmaster.routing.alias_file import INCLUDE
from postmaster.routing.destination import resolve
from postmaster.routing.forward_file import ForwardFile, find_forward, find_user, local_values
from postmaster.routing.hops import Hop
from postmaster.routing.server import Server

DEEPEST = 100  # recipient.c
INCLUDE_BYTES = 1 << 20  # of an include file that is looked at

#: Sends an address in anew: (address in internal form, hop to fill in, recipients of the messages before it,
#: envelope sender in external form; None for the one that it has).
Resubmit = Callable[[str, Hop, tuple[str, ...], str | None], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the expansion a target stands."""

    delivered: tuple[str, ...]  # recipients of the messages before this one, as Delivered-To names them
    recipient: str  # of this message
    kind: str = ""  # alias, forward, include
    path: tuple[str, ...] = ()  # files before it, and the aliases since the latest forward file
    name: str = ""  # the alias or user whose target it is
    owner: str = ""  # whoever hears of problems; targets are sent in anew to everybody else
    sender: str | None = None  # the new envelope sender, in external form
    level: int = -1  # as local(8) counts them
    extension: str = ""  # unmatched, to be added to targets; with its separator
    home: Path | None = None  # of the user whose forward file it is
    seen: dict[tuple[int, str], Hop] = field(default_factory=dict)  # (level, recipient) of this message


def deliver(server: Server, address: str, hop: Hop, resubmit: Resubmit, before: tuple[str, ...] = ()) -> None:
    """Fill in what local(8) does with an address (internal form) of a local domain. Raises RightsError.

    `before` are the recipients of the messages that led to this one.
    """
    try:
        _recipient(server, address, hop, resubmit, _Place(before, address.lower()))
    except ServerError as error:
        _end(hop, hops.UNREADABLE, error.message)


def _end(hop: Hop, problem: str, reason: str) -> None:
    hop.rule, hop.problem, hop.reason = hops.NOWHERE, problem, reason


def _recipient(server: Server, address: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    if place.level + 2 > DEEPEST:
        _end(hop, hops.LOOP, f"more than {DEEPEST} levels deep: returned to its sender (5.4.6)")
        return
    if address.lower() in place.delivered:
        _end(hop, hops.LOOP, "comes back to where it was delivered before: returned to its sender (5.4.6)")
        return
    first = place.seen.setdefault((place.level, address.lower()), hop)
    if first is not hop:
        hop.rule, hop.table, hop.key = first.rule, first.table, first.key
        hop.reason = "as above: local(8) delivers to it once"
        return
    level = place.level + 4  # of an alias, as soon as it is looked up
    local = address.rpartition("@")[0].lower() or address.lower()
    user, extension = server.addressing.split_extension(local)
    if "/" in extension:
        local, extension = user, ""
    for name in (local, *([user] if extension else [])):
        if name == place.name:
            continue  # its own target: the user is meant
        found = _alias(server, name)
        if found is None:
            continue
        if f"alias {name}" in place.path or level > DEEPEST:
            why = "leads back to itself" if level <= DEEPEST else f"is more than {DEEPEST} levels deep"
            _end(hop, hops.LOOP, f"alias {name} {why}: returned to its sender (5.4.6)")
            return
        left = extension if name == user and server.addressing.propagates("alias") else ""
        _expand_alias(server, hop, resubmit, found, replace(place, level=level, extension=left))
        return
    if (place.owner and place.owner != user) or place.kind == "include":
        _again(address, hop, resubmit, place)
        return
    _user(server, user, extension, address, hop, resubmit, place)


def _again(address: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    hop.rule, hop.reason = hops.RESUBMITTED, "sent in anew"
    resubmit(address, hop, (*place.delivered, place.recipient), place.sender)


@dataclass(frozen=True, slots=True)
class _Alias:
    table: str
    name: str
    value: str
    owner: str | None  # the new envelope sender, in internal form


def _alias(server: Server, name: str) -> _Alias | None:
    given = server.parameters
    tables = split_list(given["alias_maps"])
    found = server.tables.first(tables, [name])
    if found is None:
        return None
    owner = None
    of_owner = server.tables.first(tables, [f"owner-{name}"])
    if given["owner_request_special"] == "yes" and of_owner is not None:
        text = of_owner[2] if given["expand_owner_alias"] == "yes" else f"owner-{name}"
        owner = server.addressing.canonical(text)
    return _Alias(found[0], name, found[2], owner)


def _expand_alias(server: Server, hop: Hop, resubmit: Resubmit, alias: _Alias, place: _Place) -> None:
    hop.rule, hop.reason = hops.LOCAL_ALIAS, f"alias {alias.name} of {alias.table}"
    hop.table, hop.key = alias.table, alias.name
    path = (*place.path, f"alias {alias.name}")
    below = replace(place, kind="alias", path=path, name=alias.name, home=None)
    if alias.owner is not None:
        hop.sender = quote(alias.owner)
        hop.reason += f"; from here on the envelope sender is {hop.sender}"
        below = replace(below, owner=alias.owner, sender=hop.sender)
    elif server.parameters["reset_owner_alias"] == "yes":
        below = replace(below, owner="")
    _targets(server, hop, resubmit, split(alias.value), below)


def _targets(server: Server, hop: Hop, resubmit: Resubmit, targets: list[str], place: _Place) -> None:
    if not targets:
        hop.problem, hop.reason = hops.DEAD_END, f"{hop.reason}: it has no target, mail is deferred"
    for target in targets:
        below = Hop(quote(target) if _is_address(target) else target)
        hop.hops.append(below)
        if target.startswith("|"):
            what = f"piped into {target[1:].strip()}"
            _taken(server, below, place, hops.COMMAND, "allow_mail_to_commands", what)
        elif target.startswith(("/", "~")):
            _file(server, target, below, place)
        elif target.lower().startswith(INCLUDE):
            _include(server, target[len(INCLUDE) :], below, resubmit, place)
        else:
            _address(server, target, below, resubmit, place)


def _is_address(target: str) -> bool:
    return not target.lower().startswith(("|", "/", "~", INCLUDE))


def _file(server: Server, target: str, hop: Hop, place: _Place) -> None:
    if target.startswith("~") and (place.home is None or not target.startswith("~/")):
        _end(hop, hops.DEAD_END, "~/ stands for a home only in a forward file: returned to its sender")
        return
    path = target if not target.startswith("~") else str(place.home).rstrip("/") + target[1:]
    _taken(server, hop, place, hops.FILE, "allow_mail_to_files", f"written to {path}")


def _taken(server: Server, hop: Hop, place: _Place, rule: str, parameter: str, reason: str) -> None:
    if place.kind in split_list(server.parameters[parameter]):
        hop.rule, hop.reason = rule, reason
    else:
        _end(hop, hops.DEAD_END, f"not allowed from {place.kind} by {parameter}: returned to its sender")


def _include(server: Server, name: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    hop.rule, hop.reason = hops.INCLUDE, f"addresses in the file {name}"
    mark = f"include {name}"
    if mark in place.path:
        hop.reason = f"{name} includes itself: local(8) reads it once and passes over the second time"
        return
    refusal = None if name.startswith("/") else "it is no whole path"
    data = b""
    if refusal is None:
        try:
            data, status = read_regular(Path(name), INCLUDE_BYTES)
            refusal = "everybody may write it" if status.st_mode & 0o002 else None
        except OSError as error:
            refusal = f"{error.strerror}"
    if refusal is not None:
        _end(hop, hops.DEAD_END, f"{name} cannot be used: {refusal}; mail is returned to its sender (5.3.5)")
        return
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    targets = [one for line in lines if not line.startswith("#") for one in split(line)]
    left = place.extension if server.addressing.propagates("include") else ""
    below = replace(
        place,
        kind="include",
        path=(*place.path, mark),
        owner=place.owner or place.recipient,
        level=place.level + 1,
        extension=left,
    )
    if targets:
        _targets(server, hop, resubmit, targets, below)
    else:
        hop.rule, hop.problem = hops.DISCARDED, hops.DEAD_END
        hop.reason = f"{name} names nobody: mail is thrown away"


def _address(server: Server, target: str, hop: Hop, resubmit: Resubmit, place: _Place) -> None:
    found = resolve(server, server.addressing.canonical(target), place.sender or "")
    address = found.recipient
    if place.extension:
        local, _, domain = address.rpartition("@")
        address = f"{local}{place.extension}@{domain}"
        hop.extension = "kept"
    hop.address = quote(address)
    if found.transport == "local":
        _recipient(server, address, hop, resubmit, place)
    else:
        _again(address, hop, resubmit, place)


def _user(
    server: Server, user: str, extension: str, address: str, hop: Hop, resubmit: Resubmit, place: _Place
) -> None:
    account = find_user(user)
    passed_over = ""
    if account is not None:
        domain = address.rpartition("@")[2]
        forward = find_forward(server.parameters["forward_path"], account, extension, domain)
        if forward is not None and f"forward {forward.path}" not in place.path:
            if forward.refusal is None and forward.targets:
                _dot_forward(server, user + extension, extension, hop, resubmit, place, forward)
                return
            passed_over = f"{forward.path} is passed over: {forward.refusal or 'it is empty'}; "
    transport = mailbox.transport(server, user)
    if transport is not None:
        hop.rule = hops.LOCAL_MAILBOX
        mailbox.passed_on(hop, f"{passed_over}mailbox of {user}, by", *transport)
    elif account is None:
        _unknown(server, user, extension, address, hop, resubmit, place)
    else:
        hop.rule = hops.LOCAL_MAILBOX
        hop.reason = passed_over + mailbox.place(server, user, account)


def _dot_forward(
    server: Server,
    local: str,
    extension: str,
    hop: Hop,
    resubmit: Resubmit,
    place: _Place,
    forward: ForwardFile,
) -> None:
    hop.rule, hop.reason = hops.DOT_FORWARD, f"forward file {forward.path}"
    hop.table, hop.key = str(forward.path), forward.user
    left = extension if server.addressing.propagates("forward") and not forward.has_extension else ""
    below = replace(
        place,
        kind="forward",
        # A forward file counts once for a message, so that an alias may well lead to it again.
        path=(*(one for one in place.path if not one.startswith("alias ")), f"forward {forward.path}"),
        name=local,
        owner=forward.user,
        level=place.level + 4,
        extension=left,
        home=forward.home,
    )
    _targets(server, hop, resubmit, list(forward.targets), below)


def _unknown(
    server: Server, user: str, extension: str, address: str, hop: Hop, resubmit: Resubmit, place: _Place
) -> None:
    """unknown.c: fallback transports, luser_relay, else returned."""
    given = server.parameters
    local, _, domain = address.rpartition("@")
    mark = f"luser {local.lower()}"
    fallback = mailbox.fallback(server, user)
    if fallback is not None:
        hop.rule = hops.TRANSPORT
        mailbox.passed_on(hop, "no such user here: passed on by", *fallback)
    elif given["luser_relay"]:
        if mark in place.path:
            hop.rule, hop.problem = hops.DISCARDED, hops.DEAD_END
            hop.reason = f"luser_relay names {local}, whom nobody knows: mail is lost without a word"
            return
        target = macros.expand(given["luser_relay"], local_values(user, extension, domain)).text
        hop.rule, hop.reason = hops.LUSER_RELAY, "no such user here: luser_relay"
        below = Hop(quote(target))
        hop.hops.append(below)
        place = replace(place, path=(*place.path, mark), level=place.level + 2, extension="")
        _address(server, target, below, resubmit, place)
    elif user in ("mailer-daemon", "postmaster"):
        hop.rule, hop.problem = hops.DISCARDED, hops.DEAD_END
        hop.reason = f"there is no alias {user}: mail is thrown away with a warning in the log"
    else:
        _end(hop, hops.DEAD_END, f"no alias and no user {user}: mail is returned to its sender (5.1.1)")
