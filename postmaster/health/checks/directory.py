"""Whether the servers read what the directory says, and whether its accounts are in order.

The published files are tried as the servers' users read them, or in a PostgreSQL the rights of the servers'
roles on its views; the servers are asked about every domain and a
sample of the addresses, the same ones all day, so that a fault of one of them does not come and go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from postmaster.errors import PostmasterError
from postmaster.health import soundness
from postmaster.health.finding import OK, Context, Finding, Measure, Severity
from postmaster.health.ranges import at_most
from postmaster.shell import word

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from postmaster.directory.lookups import LookupFile
    from postmaster.settings import Settings
    from postmaster.setup.check import Checked

MEANING = "the servers read and answer what the directory says; quotas, refused passwords, unread notices"
CODES = {
    "lookups-missing": "a look-up file, or a schema that servers query, is missing or cannot be read",
    "lookups-side-files": "a file beside the look-ups is gone: the servers' next look-up fails",
    "lookups-rights": "a server's user cannot read its look-up file, or its role its views",
    "lookups-behind": "the look-ups lag behind the directory",
    "directory-unreadable": "the directory itself cannot be read",
    "answers-differ": "Postfix answers something else than the directory says",
    "logins-differ": "Dovecot knows or lets in others than the directory says",
    "answers-unknown": "a server cannot be asked",
    "two-classes": "a domain of the directory is also one of Postfix's own, which wins",
    "table-unused": "Postfix's configuration does not name one of our tables where it must",
    "quota-exceeded": "a mailbox is full: its mail is sent back",
    "quota-near": "a mailbox is nearly full",
    "quota-unknown": "Dovecot does not tell how full the mailboxes are",
    "accounts-locked": "accounts are locked, and wait for somebody to open them",
    "logins-failing": "more passwords were refused than the settings allow",
    "log-unread": "the mail log cannot be read, or not all of it in time",
    "notices-unread": "nobody reads what Postfix tells its postmaster",
    **soundness.CODES,
}
SETTINGS = (
    *("sample", "quota_warning", "quota_users", "login_failures_warning", "login_failures_critical"),
    "soundness",
)
NAMED = 20  # findings of one code
NAMED_LOCKED = 5  # accounts
LAST_HOUR = 3600  # seconds; refused passwords are counted no further back
DAY = 86400


def run(context: Context) -> Iterator[Finding]:
    settings = context.settings
    is_current = True
    for finding in (_schemas if settings.lookups.in_database else _files)(context):
        is_current = is_current and finding.code == OK
        yield finding
    yield from _logins(context)
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
            yield from _quotas(context, reading)
            yield _locked(reading)
            yield from _notices(context, reading)
            number = addresses.count(reading)
    if number <= settings.health.soundness:
        yield from soundness.soundness(context)
    elif settings.health.soundness:
        message = f"{number} addresses are too many for each run: postmaster directory check, once a day"
        yield Finding("directory", soundness.OBJECT, OK, Severity.ok, message)


# --- the files ---


def _files(context: Context) -> Iterator[Finding]:
    from postmaster.directory import lookups
    from postmaster.directory.quick import newest_entry

    settings = context.settings
    newest = newest_entry(settings)

    def bad(name: str, code: str, severity: Severity, message: str, remedy: str) -> Finding:
        return Finding("directory", name, code, severity, message, remedy)

    for file in lookups.FILES:
        path = file.path(settings.lookups)
        # First: for root, to look at the file makes them again.
        sides = [side.name for side in lookups.side_files(path) if not side.exists()]
        refused = None if sides or not path.exists() else _refused(context, file, path)
        entry = lookups.published_entry(path)
        group = lookups.group_id(file.group(settings.lookups))
        rebuild, publish = "postmaster publish --rebuild", "postmaster publish"
        if sides and path.exists():
            message = f"{' and '.join(sides)} is missing: the servers' next look-up fails"
            yield bad(file.name, "lookups-side-files", Severity.critical, message, publish)
        elif entry is None:
            yield bad(file.name, "lookups-missing", Severity.critical, "missing or not readable", rebuild)
        elif refused is not None:
            yield bad(file.name, "lookups-rights", Severity.critical, refused, f"namei -l {path}; {rebuild}")
        elif group is not None and path.stat().st_gid != group:
            message = f"group {file.group(settings.lookups)} may not read it"
            yield bad(file.name, "lookups-rights", Severity.critical, message, rebuild)
        elif newest is None:
            yield bad(
                *(file.name, "directory-unreadable", Severity.unknown),
                *("the directory cannot be read", "run it as root"),
            )
        elif entry[0] != newest:
            message = f"at entry {entry[0]}, the directory is at {newest}"
            yield bad(file.name, "lookups-behind", Severity.warning, message, publish)
        else:
            message = f"up to date (entry {newest})"
            behind = (Measure("entries_behind", 0, "", minimum=0),)
            yield Finding("directory", file.name, OK, Severity.ok, message, measures=behind)


def _refused(context: Context, file: LookupFile, path: Path) -> str | None:
    """Why a server's user cannot read its file; None where it can, or where that cannot be tried."""
    from postmaster.directory import lookups
    from postmaster.health import readers
    from postmaster.postfix import postconf

    if os.geteuid() != 0:
        return None
    settings = context.settings
    try:
        user = file.group(settings.lookups)
        if file is lookups.POSTFIX:
            user = postconf.value(settings.postfix.config_directory, "mail_owner")
        why = readers.trouble(user, path, context.left(0.5))
    except PostmasterError:
        return None  # no server is installed: nobody reads it
    return None if why is None else f"{user} cannot read it: {why}"


def _schemas(context: Context) -> Iterator[Finding]:
    """What servers query in the PostgreSQL that holds the directory, where lookups.source says so."""
    from postmaster.directory.engines import make_engine, plain_errors

    settings = context.settings
    try:
        engine = make_engine(settings)
        try:
            with plain_errors(settings):
                yield from _schemas_of(settings, engine)
        finally:
            engine.dispose()
    except PostmasterError as error:
        yield Finding(
            *("directory", "lookups", "lookups-missing", Severity.critical),
            *(f"servers cannot query the directory: {error.message}", error.hint or "postmaster init"),
        )


def _schemas_of(settings: Settings, engine: Engine) -> Iterator[Finding]:
    from postmaster.directory import lookups
    from postmaster.directory.places import places, unreadable
    from postmaster.directory.quick import newest_entry
    from postmaster.served import database

    newest = newest_entry(settings)
    urls = {lookups.POSTFIX: settings.lookups.postfix_url, lookups.DOVECOT: settings.lookups.dovecot_url}
    for place in places(settings.lookups, engine):
        schema = place.file.schema_name
        role = database(urls[place.file], schema, settings.directory.url).user
        entry = place.entry()
        refused = () if entry is None else unreadable(engine, place.file, role)
        if entry is None or newest is None:
            message = "missing, or of another version"
            code, severity, remedy = "lookups-missing", Severity.critical, "postmaster init"
        elif refused:
            message = f"role {role} cannot read {', '.join(refused)}"
            code, severity, remedy = "lookups-rights", Severity.critical, "make the role; postmaster init"
        elif entry[0] != newest:
            message = f"at entry {entry[0]}, the directory is at {newest}"
            code, severity, remedy = "lookups-behind", Severity.warning, "postmaster publish"
        else:
            message = f"up to date (entry {newest})"
            behind = (Measure("entries_behind", 0, "", minimum=0),)
            yield Finding("directory", str(place.name), OK, Severity.ok, message, measures=behind)
            continue
        yield Finding("directory", str(place.name), code, severity, message, remedy)


# --- the answers ---


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


# --- the accounts ---


def _quotas(context: Context, reading: Connection) -> Iterator[Finding]:
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


def _locked(reading: Connection) -> Finding:
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


def _logins(context: Context) -> Iterator[Finding]:
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
