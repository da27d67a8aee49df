"""Where local(8) puts a user's mail in the end: another transport, a command, a file in the home, the spool.

Sources: mailbox.c, unknown.c. Which of these is set counts, and not whether it works.
"""

from __future__ import annotations

from pathlib import Path

from postmaster.postfix.postconf import split_list
from postmaster.routing import hops
from postmaster.routing.destination import ERRORS
from postmaster.routing.forward_file import Account
from postmaster.routing.hops import Hop
from postmaster.routing.server import Server


def transport(server: Server, user: str) -> tuple[str, str] | None:
    """(parameter, transport) that gets a user's mail, account or not; None where local(8) keeps it."""
    return _first_of(server, user, "mailbox_transport_maps", "mailbox_transport")


def fallback(server: Server, user: str) -> tuple[str, str] | None:
    """(parameter, transport) for a name that is neither an alias nor an account."""
    return _first_of(server, user, "fallback_transport_maps", "fallback_transport")


def passed_on(hop: Hop, what: str, parameter: str, value: str) -> None:
    """Fill in the transport that gets it. The hop's rule stays unless mail is returned or thrown away."""
    name, _, next_hop = value.partition(":")
    hop.transport, hop.next_hop = name, next_hop or None
    hop.reason = f"{what} {parameter} ({value})"
    if name in ERRORS:
        hop.rule, hop.problem = hops.NOWHERE, hops.DEAD_END
    elif name == "discard":
        hop.rule = hops.DISCARDED


def place(server: Server, user: str, account: Account) -> str:
    """The mailbox of an account, in words."""
    given = server.parameters
    command = _first_of(server, user, "mailbox_command_maps", "mailbox_command")
    if command is not None:
        return f"mailbox of {user}, by {command[0]} ({command[1]})"
    if given["home_mailbox"]:
        return f"mailbox {account.home / given['home_mailbox']}"
    return f"mailbox {Path(given['mail_spool_directory'] or '/var/mail') / user}"


def _first_of(server: Server, user: str, maps: str, parameter: str) -> tuple[str, str] | None:
    """(parameter, value): what its tables have for a user, else the parameter that counts for everybody."""
    found = server.tables.first(split_list(server.parameters[maps]), [user])
    if found is not None:
        return maps, found[2]
    value = server.parameters[parameter]
    return (parameter, value) if value else None
