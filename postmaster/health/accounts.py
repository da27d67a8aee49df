"""Whether the directory's accounts are in order: full mailboxes, locked accounts, refused passwords."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most
from postmaster.shell import word

if TYPE_CHECKING:
    from sqlalchemy import Connection

CODES = {
    "quota-exceeded": "a mailbox is full: its mail is sent back",
    "quota-near": "a mailbox is nearly full",
    "quota-unknown": "Dovecot does not tell how full the mailboxes are",
    "accounts-locked": "accounts are locked, and wait for somebody to open them",
    "logins-failing": "more passwords were refused than the settings allow",
    "log-unread": "the mail log cannot be read, or not all of it in time",
}
NAMED = 20  # full mailboxes
NAMED_LOCKED = 5  # accounts
LAST_HOUR = 3600  # seconds; refused passwords are counted no further back


def quotas(context: Context, reading: Connection) -> Iterator[Finding]:
    """Mailboxes that are full or nearly, the fullest first."""
    from postmaster.directory import users
    from postmaster.dovecot import doveadm

    limits = context.settings.health
    if not limits.quota_users:
        return
    logins, more = users.with_quota(reading, limits.quota_users)
    try:
        found = doveadm.quotas(context.settings.dovecot.config, logins, timeout=context.left(0.6))
    except PostmasterError as error:
        message = f"how full {len(logins)} mailboxes are is not known: {error.message}"
        yield Finding(
            *("directory", "quotas", "quota-unknown", Severity.unknown, message),
            "fewer in health.quota_users, or a longer health.deadline",
        )
        return
    shares = {login: 100 * used / limit for login, (used, limit) in found.items()}
    full = sorted(
        (login for login in shares if shares[login] >= limits.quota_warning), key=shares.__getitem__
    )
    for login in reversed(full[-NAMED:]):
        code = "quota-exceeded" if shares[login] >= 100 else "quota-near"
        measure = Measure("used", shares[login], "%", at_most(limits.quota_warning), None, 0)
        message = f"{shares[login]:.0f} % of {found[login][1] >> 10} MiB are in use"
        yield Finding(
            *("directory", login, code, Severity.warning, message),
            f"postmaster user set {word(login)} --quota SIZE, or ask them to delete",
            (measure,),
        )
    measures = (Measure("looked_at", len(shares), "", minimum=0), Measure("full", len(full), "", minimum=0))
    left = f"; {more} more are not looked at" if more else ""
    if len(shares) < len(logins):
        message = f"Dovecot told of {len(shares)} of {len(logins)} mailboxes"
        yield Finding(
            *("directory", "quotas", "quota-unknown", Severity.unknown, message),
            f"doveadm quota get -u {next(one for one in logins if one not in shares)}",
            measures,
        )
    else:
        message = f"{len(full)} of {len(shares)} mailboxes with a quota are full or nearly{left}"
        yield Finding("directory", "quotas", OK, Severity.ok, message, None, measures)


def locked(reading: Connection) -> Finding:
    """Accounts that wait for somebody to open them."""
    from postmaster.directory import users

    first, number = users.locked(reading, NAMED_LOCKED)
    measure = Measure("locked", number, "", at_most(0), None, 0)
    if not number:
        return Finding("directory", "locked", OK, Severity.ok, "no account is locked", None, (measure,))
    more = f" and {number - len(first)} more" if number > len(first) else ""
    return Finding(
        *("directory", "locked", "accounts-locked", Severity.warning),
        f"{number} locked: {', '.join(first)}{more}",
        f"postmaster user unlock {word(first[0])}; or postmaster health ack directory/locked --until DATE",
        (measure,),
    )


def logins(context: Context) -> Iterator[Finding]:
    """Passwords that were refused since the last run, or in the last hour."""
    from postmaster.health import refusals

    limits, now = context.settings.health, time.time()
    since = now - LAST_HOUR if context.last is None else max(context.last.at, now - LAST_HOUR)
    try:
        found = refusals.since(context.settings, since)
    except (PostmasterError, OSError) as error:
        yield Finding(
            *("directory", "logins", "log-unread", Severity.unknown, str(error)),
            "see the settings' log.files",
        )
        return
    warning, critical = at_most(limits.login_failures_warning), at_most(limits.login_failures_critical)
    measure = Measure("refused", found.number, "", warning, critical, 0)
    message = f"{found.number} passwords were refused in {(now - since) / 60:.0f} minutes"
    for counted, what in ((found.clients, "from"), (found.logins, "for")):
        if counted:
            name, number = counted.most_common(1)[0]
            message += f", {number} {what} {name}"
    if measure.severity is Severity.ok:
        yield Finding("directory", "logins", OK, Severity.ok, message, None, (measure,))
    else:
        yield Finding(
            *("directory", "logins", "logins-failing", measure.severity, message),
            *("postmaster log suspicious, then block the client in the firewall", (measure,)),
        )
