"""Whether the servers read what the directory says, and whether its accounts are in order.

The published files are tried as the servers' users read them, or in a PostgreSQL the rights of the servers'
roles on its views; the servers are asked about every domain and a
sample of the addresses, the same ones all day, so that a fault of one of them does not come and go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health import accounts, published, soundness
from postmaster.health.finding import OK, Context, Finding, Measure, Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from postmaster.settings import Settings
    from postmaster.setup.check import Checked

MEANING = "the servers read and answer what the directory says; quotas, refused passwords, unread notices"
CODES = {
    **published.CODES,
    "directory-unreadable": "the directory itself cannot be read",
    "answers-differ": "Postfix answers something else than the directory says",
    "logins-differ": "Dovecot knows or lets in others than the directory says",
    "answers-unknown": "a server cannot be asked",
    "two-classes": "a domain of the directory is also one of Postfix's own, which wins",
    "table-unused": "Postfix's configuration does not name one of our tables where it must",
    **accounts.CODES,
    "notices-unread": "nobody reads what Postfix tells its postmaster",
    **soundness.CODES,
}
SETTINGS = (
    *("sample", "quota_warning", "quota_users", "login_failures_warning", "login_failures_critical"),
    "soundness",
)
NAMED = 20  # findings of one code
DAY = 86400


def run(context: Context) -> Iterator[Finding]:
    settings = context.settings
    is_current = True
    for finding in published.published(context):
        is_current = is_current and finding.code == OK
        yield finding
    yield from accounts.logins(context)
    try:
        yield from _with_truth(context, is_current)
    except PostmasterError as error:
        yield Finding(
            *("directory", "truth", "directory-unreadable", Severity.unknown, error.message),
            error.hint or f"is {settings.directory.file or 'PostgreSQL'} whole? run it as root",
        )


def _with_truth(context: Context, is_current: bool) -> Iterator[Finding]:
    from postmaster.directory import addresses
    from postmaster.directory.database import open_directory

    settings = context.settings
    with open_directory(settings, publish=False) as directory:
        yield from _tables(settings)
        if is_current:  # else it is known that the servers answer something else, and why
            with directory.read() as reading:
                first = _answers(context, reading)
            # A change may have come between reading and asking.
            with directory.read() as reading:
                is_wrong = not isinstance(first, PostmasterError) and first.findings
                again = _answers(context, reading) if is_wrong else first
            yield from _of_both(first, again)
        with directory.read() as reading:
            yield from accounts.quotas(context, reading)
            yield accounts.locked(reading)
            yield from _notices(context, reading)
            number = addresses.count(reading)
    if number <= settings.health.soundness:
        yield from soundness.soundness(context)
    elif settings.health.soundness:
        message = f"{number} addresses are too many for each run: postmaster directory check, once a day"
        yield Finding("directory", soundness.OBJECT, OK, Severity.ok, message)


def _tables(settings: Settings) -> Iterator[Finding]:
    """Postfix asks our tables, because its configuration names them."""
    from postmaster.postfix import maps, postconf

    config = settings.postfix.config_directory
    wanted = {
        "virtual_mailbox_domains": (maps.MAILBOX_DOMAINS,),
        "virtual_mailbox_maps": (maps.MAILBOXES,),
        "virtual_alias_domains": (maps.ALIAS_DOMAINS,),
        "virtual_alias_maps": (maps.ALIASES, maps.CATCH_ALLS),
        "smtpd_sender_login_maps": (maps.SENDER_OWNERS,),
        "smtpd_recipient_restrictions": (maps.CLOSED_RECIPIENTS,),
    }
    try:
        values = postconf.expanded(config, tuple(wanted))
    except PostmasterError as error:
        yield _unknown("postfix", error)
        return
    missing = 0
    for parameter, tables in wanted.items():
        words = postconf.split_list(values[parameter])
        for table in tables:
            if table.table(config, maps.kind(settings.lookups.source)) not in words:
                missing += 1
                message = f"{parameter} does not name our table {table.name}: Postfix does not ask it"
                yield Finding(
                    *("directory", parameter, "table-unused", Severity.critical, message),
                    "postmaster setup diff, then: postmaster setup apply",
                )
    if not missing:
        yield Finding("directory", "tables", OK, Severity.ok, "Postfix's configuration names our tables")


def _answers(context: Context, reading: Connection) -> Checked | PostmasterError:
    """What the servers answer against the truth; why they cannot be asked."""
    from postmaster.errors import ServerError
    from postmaster.postfix import control
    from postmaster.setup.check import Sample, check

    settings = context.settings
    sample = Sample(settings.health.sample, int(time.time() // DAY))
    try:
        if control.master_pid(settings.postfix.config_directory) is None:
            return ServerError("Postfix does not run", hint="postfix start")
        return check(settings, reading, sample=sample, timeout=context.left(0.5))
    except PostmasterError as error:
        return error


def _of_both(first: Checked | PostmasterError, again: Checked | PostmasterError) -> Iterator[Finding]:
    """What was found wrong twice."""
    if isinstance(again, PostmasterError):
        yield _unknown("answers", again)
        return
    before = set() if isinstance(first, PostmasterError) else set(first.findings)
    codes = {
        "postfix_differs": "answers-differ",
        "dovecot_differs": "logins-differ",
        "two_classes": "two-classes",
    }
    wrong = [one for one in again.findings if one in before]
    for one in wrong[:NAMED]:
        yield Finding("directory", one.object, codes[one.code], Severity.critical, one.message, one.remedy)
    measures = (Measure("wrong", len(wrong), "", minimum=0), Measure("asked", again.asked, "", minimum=0))
    if wrong:
        return
    message = f"{again.asked} look-ups answer what the directory says"
    yield Finding("directory", "answers", OK, Severity.ok, message, None, measures)


def _unknown(what: str, error: PostmasterError) -> Finding:
    return Finding(
        *("directory", what, "answers-unknown", Severity.unknown, error.message),
        error.hint or "run it as root",
    )


def _notices(context: Context, reading: Connection) -> Iterator[Finding]:
    from postmaster.health.notices import notices

    try:
        for one in notices(context.settings, reading, context.left(0.5)):
            if one.unread is None:
                message = f"what is sent to {one.address} can be read"
                yield Finding("directory", one.parameter, OK, Severity.ok, message)
            else:
                message = f"nobody reads {one.address}: {one.unread}"
                remedy = f"postconf -e '{one.parameter} = ADDRESS', one of the directory"
                yield Finding("directory", one.parameter, "notices-unread", Severity.warning, message, remedy)
    except PostmasterError as error:
        yield _unknown("notices", error)
