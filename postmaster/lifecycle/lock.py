"""Locking a stolen account, in one step, and opening it again.

The right is withdrawn first, and published: from then on no login is let in by any protocol, with the own
password or an app password, submission refuses the next recipient and the text of a message under way, and
nothing the user forwards leaves the house, by the directory or by Sieve. Then what is open is closed:
sessions, Dovecot's cache, the login's messages in the queue. Last it is told what the login sent.

Each step is tried whatever became of the others; what failed is named. Locking again does all of it again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

from postmaster.address import Address
from postmaster.directory import app_passwords, forwards, graph, users
from postmaster.directory.database import Directory
from postmaster.directory.records import User
from postmaster.dovecot import doveadm, sieve
from postmaster.errors import NotFoundError
from postmaster.lifecycle import queued
from postmaster.lifecycle.folders import open_folders
from postmaster.lifecycle.steps import Progress, Step, take
from postmaster.queue.action import Verb
from postmaster.settings import Settings
from postmaster.trace.sent import Sent, sent
from postmaster.trace.sources import Notes, Period, find

SIEVE_FOLDER, ACTIVE = "sieve", ".dovecot.sieve"  # as setup configures them
SETTLE = 0.5  # seconds in which a login that was let in just before is registered


@dataclass(frozen=True, slots=True)
class Script:
    """A Sieve script that redirects; only the active one is run."""

    name: str
    is_active: bool
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Locked:
    """What a lock did. None: it is not known. `failed` names the steps that could not be done, and why."""

    user: User
    entry: int | None  # None where the account was locked already
    forwards: tuple[Address, ...] = ()  # remote ones, off while it is locked
    app_passwords: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()
    sessions: int | None = None
    held: queued.Acted | None = None
    sent: Sent | None = None
    failed: list[str] = field(default_factory=list)


def lock(
    directory: Directory,
    where: Address,
    *,
    since: float,
    reason: str | None = None,
    progress: Progress = lambda _: None,
) -> Locked:
    """Lock an account; the report goes back to `since`, in seconds since 1970.

    Raises NotFoundError; PartialError where the change is kept and could not be published.
    """
    progress("withdrawing the right to log in and to send")
    with directory.change() as change:
        user = users.lock(change, where)
    locked = Locked(user, change.number)
    with directory.read() as reading:
        locked.app_passwords = tuple(one.name for one in app_passwords.list_all(reading, user.address))
        with suppress(NotFoundError):
            targets = forwards.show(reading, user.address).targets
            locked.forwards = tuple(one for one in targets if graph.hosted(reading, one.domain) is None)
    settings, login = directory.settings, user.address.ascii
    steps: tuple[Step, ...] = (
        ("ending sessions", lambda: _end_sessions(settings, login, locked)),
        ("holding queued mail", lambda: _hold(settings, login, locked, reason)),
        ("looking for Sieve redirects", lambda: _look_at_scripts(settings, locked)),
        ("looking at what it sent", lambda: _look_at_logs(settings, login, since, locked)),
    )
    locked.failed = take(steps, progress)
    return locked


def unlock(
    directory: Directory, where: Address, password_hash: str, *, keep_app_passwords: bool = False
) -> users.Unlocked:
    """Open a locked account with a new password. App passwords are revoked unless they are to be kept.

    Mail that was held stays so. Raises NotFoundError, RuleError for an account that is not locked.
    """
    with directory.change() as change:
        return users.unlock(change, where, password_hash, keep_app_passwords=keep_app_passwords)


def _end_sessions(settings: Settings, login: str, locked: Locked) -> None:
    config = settings.dovecot.config
    if doveadm.master_pid(config) is None:
        locked.sessions = 0
        return
    doveadm.flush_cache(config, login)
    locked.sessions = doveadm.logged_in(config)[login]
    doveadm.kick(config, login)
    time.sleep(SETTLE)
    late = doveadm.logged_in(config)[login]
    if late:
        doveadm.kick(config, login)
        locked.sessions += late


def _hold(settings: Settings, login: str, locked: Locked, reason: str | None) -> None:
    locked.held = queued.act_on(
        settings, Verb.hold, queued.of_login(login), command=f"user lock {login}", reason=reason
    )


def _look_at_scripts(settings: Settings, locked: Locked) -> None:
    if not settings.mail.root.is_dir():
        return  # nobody ever had mail
    with open_folders(settings.mail) as folders:
        mail_id = locked.user.mail_id
        active = (folders.link(mail_id, ACTIVE) or "").rpartition("/")[2]
        scripts = [
            Script(name.removesuffix(".sieve"), name == active, tuple(found))
            for name, content in folders.files(mail_id, SIEVE_FOLDER)
            if name.endswith(".sieve") and (found := sieve.redirects(content))
        ]
        if not active:  # a plain file in the place of the link
            found = sieve.redirects(folders.content(mail_id, ACTIVE) or b"")
            if found:
                scripts.append(Script(ACTIVE, is_active=True, addresses=tuple(found)))
    locked.scripts = tuple(scripts)


def _look_at_logs(settings: Settings, login: str, since: float, locked: Locked) -> None:
    notes = Notes()
    locked.sent = sent(find(settings), Period(since), login, notes)
    locked.failed += notes.problems
