"""When a user was last there, and how much mail there is, as far as Dovecot says."""

from __future__ import annotations

from datetime import datetime

from postmaster.directory.records import AppPassword, User
from postmaster.dovecot import doveadm
from postmaster.dovecot import usage as dovecot
from postmaster.dovecot.configuration import LAST_LOGIN_FILE
from postmaster.dovecot.usage import LastLogin, Usage
from postmaster.errors import PostmasterError
from postmaster.lifecycle.folders import Folders, open_folders
from postmaster.settings import Settings


def logins_of(settings: Settings, mail_id: str) -> list[LastLogin]:
    """The last logins by IMAP and POP3, as far as the mail folder can be read."""
    if not settings.mail.root.is_dir():
        return []
    try:
        with open_folders(settings.mail) as folders:
            return logins_in(folders, mail_id)
    except PostmasterError:
        return []


def logins_in(folders: Folders, mail_id: str) -> list[LastLogin]:
    content = folders.content(mail_id, LAST_LOGIN_FILE)
    return [] if content is None else dovecot.last_logins(content)


def latest(logins: list[LastLogin]) -> datetime | None:
    return max((one.at for one in logins), default=None)


def last_use(one: AppPassword, logins: list[LastLogin]) -> datetime | None:
    """The last login with an app password; one before it was made was by a former one of this name."""
    times = [
        login.at
        for login in logins
        if login.app_password == one.name and login.at >= one.created_at.replace(microsecond=0)
    ]
    return max(times, default=None)


def usage_of(settings: Settings, user: User) -> Usage | None:
    """What is in one mailbox; None where Dovecot does not run or does not say."""
    try:
        if doveadm.master_pid(settings.dovecot.config) is None:
            return None
        return dovecot.usage(settings.dovecot.config, user.address.ascii)
    except PostmasterError:
        return None


def usage_of_all(settings: Settings) -> dict[str, Usage]:
    """The same of every mailbox, by login."""
    try:
        if doveadm.master_pid(settings.dovecot.config) is None:
            return {}
        return dovecot.all_usage(settings.dovecot.config)
    except PostmasterError:
        return {}
