"""Whether submission lets a login send as an address, which rule decides, and what would change it.

As smtpd's `reject_sender_login_mismatch` has it: the envelope sender is looked up in
`smtpd_sender_login_maps` (with its extension, without, `@domain`), and the first answer names who may. No
answer refuses too. The null sender passes. Only the envelope is checked: the From header is the client's.
Then each recipient is refused to a login that may not send at all.

What is looked at is main.cf's table of owners; a listener that takes logins and goes by another one, or does
not check, is named in the notes.

Source: smtpd_check.c (reject_auth_sender_login_mismatch).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postmaster.address import Address
from postmaster.errors import NotFoundError, ServerError
from postmaster.postfix import maps, postconf
from postmaster.postfix.addressing import Match
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tables import Difference
from postmaster.postfix.tokens import unquote
from postmaster.routing.reception import RESTRICTIONS
from postmaster.routing.server import Server, open_server
from postmaster.settings import Settings
from postmaster.shell import word

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from postmaster.directory.records import User

OWN = "own_address"
GRANT = "grant"
DOMAIN_GRANT = "domain_grant"
OTHER_TABLE = "table"
NULL_SENDER = "null_sender"
NOT_OWNED = "not_owned"
UNKNOWN_SENDER = "unknown_sender"
MAY_NOT_SEND = "may_not_send"

RULES = (OWN, GRANT, DOMAIN_GRANT, OTHER_TABLE, NULL_SENDER, NOT_OWNED, UNKNOWN_SENDER, MAY_NOT_SEND)

_CHECKS = (
    "reject_sender_login_mismatch",
    "reject_authenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
)


@dataclass(frozen=True, slots=True)
class SenderExplanation:
    """`code` is what submission answers: 250, 553 at MAIL FROM's check, 554 for a login that may not send."""

    login: str
    sender: str
    code: int
    rule: str
    reason: str
    table: str | None
    key: str | None
    owners: tuple[str, ...]  # the logins that may send as it
    changes: tuple[str, ...]  # commands that would turn the answer round
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def explain(settings: Settings, login: Address, sender: Address | None) -> SenderExplanation:
    """Explain a login and an envelope sender (None: the null one). Raises ProcessError, ServerError."""
    from postmaster.routing.explain import open_truth

    with ExitStack() as stack:
        server = stack.enter_context(open_server(settings))
        truth, notes = open_truth(settings, stack)
        notes += list(_unchecked(server))
        user = _user(truth, login)
        name = login.ascii
        match = None
        if sender is not None:
            match = server.addressing.find(
                server.parameters["smtpd_sender_login_maps"], unquote(sender.ascii)
            )
        owners = tuple(dict.fromkeys(split_list(match.answer))) if match else ()
        code, rule, reason = _judge(server, truth, login, user, sender, match, owners)
        if sender is not None and rule in (NOT_OWNED, UNKNOWN_SENDER) and _is_foreign(truth, sender):
            notes.append(
                f"{sender.domain} is not hosted here, and grants are for hosted domains alone; to host it"
                f" (postmaster domain add {word(sender.domain)}) would take over its mail on this server:"
                " what is sent to it from here would stay here"
            )
        try:
            differences = tuple(server.tables.differences()) if server.running else ()
        except ServerError as error:
            differences = ()
            notes.append(f"the running server could not be asked: {error.message}")
        return SenderExplanation(
            name,
            "" if sender is None else sender.ascii,
            code,
            rule,
            reason,
            match.table if match else None,
            match.key if match else None,
            owners,
            tuple(_changes(truth, login, user, sender, rule)),
            differences,
            tuple(notes),
        )


def _judge(
    server: Server,
    truth: Connection | None,
    login: Address,
    user: User | None,
    sender: Address | None,
    match: Match | None,
    owners: tuple[str, ...],
) -> tuple[int, str, str]:
    name = login.ascii
    if sender is None:
        code, rule, reason = 250, NULL_SENDER, "the null sender, as bounces have it, is never checked"
    elif match is None:
        return 553, UNKNOWN_SENDER, f"no table knows {sender}, so nobody may send as it"
    elif name.lower() not in (one.lower() for one in owners):
        return 553, NOT_OWNED, f"{sender} may be sent as by {', '.join(owners)}, and not by {login}"
    else:
        code = 250
        rule, reason = _right(server, truth, login, sender, match)
    access = server.ours(maps.SENDING_LOGINS)
    if server.tables.find(access, name) is None:
        why = "; ".join(one for one, _ in _closed(login, user)) if truth is not None else ""
        why = why or "it is switched off, locked, has ended, or is unknown"
        return 554, MAY_NOT_SEND, f"{login} may not send at all: {why}"
    return code, rule, reason


def _right(
    server: Server, truth: Connection | None, login: Address, sender: Address, match: Match
) -> tuple[str, str]:
    """Which right of the directory an answer stands for."""
    if match.table != server.ours(maps.SENDER_OWNERS) or truth is None:
        return OTHER_TABLE, f"{match.table} names {login} for {match.key}"
    from postmaster.directory import grants, graph

    here = graph.hosted(truth, sender.domain)
    where = sender.without_extension if here is None else Address(here.home, sender.without_extension.local)
    through = f" ({sender.domain} stands for {where.domain})" if where.domain != sender.domain else ""
    if where == login:
        return OWN, f"it is the login's own address{through}"
    granted = {one.address for one in grants.list_all(truth) if one.user == login}
    if where in granted:
        return GRANT, f"{login} has a grant to send as {where}{through}"
    if any(one.is_catch_all and one.domain == where.domain for one in granted):
        return DOMAIN_GRANT, f"{login} has a grant to send as all of {where.domain}{through}"
    return OTHER_TABLE, f"{match.table} names {login} for {match.key}"


def _user(truth: Connection | None, login: Address) -> User | None:
    from postmaster.directory import users

    if truth is not None:
        with suppress(NotFoundError):
            return users.show(truth, login)
    return None


def _closed(login: Address, user: User | None) -> Iterator[tuple[str, str]]:
    """(why a login may not send, what opens it again), for everything that is in the way."""
    if user is None:
        yield "there is no such user", f"postmaster user add {word(login)}"
        return
    if user.locked_at is not None:
        yield "it is locked", f"postmaster user unlock {word(user.address)}"
    if user.until is not None and user.until <= datetime.now(UTC):
        yield "it has ended", f"postmaster user set {word(user.address)} --until none"
    if not (user.login and user.send):
        yield "it is switched off", f"postmaster user set {word(user.address)} --login --send"


def _changes(
    truth: Connection | None, login: Address, user: User | None, sender: Address | None, rule: str
) -> Iterator[str]:
    if truth is not None and (rule == MAY_NOT_SEND or user is None):
        yield from (command for _, command in _closed(login, user))
    if rule == MAY_NOT_SEND:
        return
    if rule == GRANT and sender is not None:
        yield f"postmaster sender revoke {word(login)} {word(sender.without_extension)}"
    elif rule == DOMAIN_GRANT and sender is not None:
        yield f"postmaster sender revoke {word(login)} @{word(sender.domain)}"
    elif rule in (NOT_OWNED, UNKNOWN_SENDER) and sender is not None:
        if _is_foreign(truth, sender):
            return  # nothing turns the answer round without taking that domain's mail
        yield f"postmaster sender grant {word(login)} {word(sender.without_extension)}"
        yield f"postmaster sender grant {word(login)} @{word(sender.domain)}"
    elif rule in (OWN, NULL_SENDER):
        yield f"postmaster user set {word(login)} --no-send"


def _is_foreign(truth: Connection | None, sender: Address) -> bool:
    """Whether a sender's domain is known not to be hosted here: then no grant can be for it."""
    from postmaster.directory import graph

    return truth is not None and graph.hosted(truth, sender.domain) is None


def _unchecked(server: Server) -> Iterator[str]:
    """Listeners that take a login and do not look at the sender, or in another table."""
    overrides = postconf.overrides(server.config_directory)
    for key, entry in postconf.services(server.config_directory).items():
        given = {**server.parameters, **overrides.get(key, {})}
        if entry.split()[7] != "smtpd" or given["smtpd_sasl_auth_enable"] != "yes":
            continue
        items = [item for parameter in RESTRICTIONS for item in split_list(given[parameter])]
        if not any(check in items for check in _CHECKS):
            yield f"the listener {key} takes logins and does not check senders: postmaster setup apply"
        elif given["smtpd_sender_login_maps"] != server.parameters["smtpd_sender_login_maps"]:
            yield f"the listener {key} has owners of its own: {given['smtpd_sender_login_maps'] or 'none'}"
