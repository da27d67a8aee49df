"""Putting a plan in force, and taking it back.

`apply` keeps a backup, writes, reloads and then proves on the running servers that mail works. If
any of that fails everything goes back and the servers run as before. One at a time: a second apply
or revert is refused while one is under way.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from postmaster.dovecot import doveadm
from postmaster.errors import PartialError, PostmasterError, ProcessError, ServerError
from postmaster.files import make_folder
from postmaster.files import replace as replace_file
from postmaster.postfix import control, postconf
from postmaster.process import run
from postmaster.settings import Settings
from postmaster.setup import backup as backups
from postmaster.setup.backup import Backup
from postmaster.setup.plan import Plan, mail_account
from postmaster.setup.prove import Proof, prove

Progress = Callable[[str], None]

#: Seconds until a master that met a fatal error is gone: it sleeps one before it ends (`msg.c`), and
#: until then takes a reload that it will never do.
DYING = 1.5


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did. `backup` is None where nothing differed."""

    changed: tuple[str, ...]
    backup: Backup | None
    proofs: tuple[Proof, ...]


def write(plan: Plan) -> None:
    """Write what differs, without a reload: for servers that do not run yet. Raises ServerError."""
    different = {one.what for one in plan.differences}
    try:
        for file in plan.files:
            if str(file.path) in different:
                replace_file(
                    file.path, file.content.encode("utf-8", "surrogateescape"), file.mode, 0, file.group
                )
    except OSError as error:
        raise ServerError(
            f"{error.filename} cannot be written: {error.strerror}", hint="run it as root"
        ) from error
    directory = plan.config_directory
    postconf.set_values(directory, {k: v for k, v in plan.parameters.items() if k in different})
    for service in plan.services:
        if service.key in different:
            postconf.set_service(directory, service)


def apply(plan: Plan, progress: Progress = lambda _: None) -> Applied:
    """Put the plan in force and prove it, or put everything back.

    Raises ServerError: nothing was changed, or everything is as it was; the message says why.
    """
    settings = plan.settings
    with _alone(settings):
        check_pair(plan.certificate, plan.key)
        _check_present(plan)
        made = make_mail_account(settings)
        if not plan.differences:
            progress("nothing differs; trying the servers")
            _start(settings)
            return Applied(made, None, tuple(prove(settings)))
        progress("keeping a backup")
        backup = backups.make(settings, plan.touched)
        ran = control.master_pid(plan.config_directory) is not None
        try:
            progress("writing the configuration")
            write(plan)
            control.check(plan.config_directory)
            doveadm.check_configuration(settings.dovecot.config)
            backups.note_result(backup)
            progress("reloading the servers")
            _reload(settings)
            progress("trying the servers")
            proofs = prove(settings)
        except (PostmasterError, OSError, KeyboardInterrupt) as error:
            progress("putting everything back")
            _take_back(settings, backup, ran)
            why = error.message if isinstance(error, PostmasterError) else str(error) or "interrupted"
            raise ServerError(
                f"the new configuration does not work, so everything is back as it was: {why}",
                hint=getattr(error, "hint", None),
            ) from error
        return Applied((*made, *(one.what for one in plan.differences)), backup, tuple(proofs))


def revert(settings: Settings, number: int | None = None, *, force: bool = False) -> Backup:
    """Undo an apply. Raises NotFoundError, and ServerError when files changed since (`force` overrides)."""
    with _alone(settings):
        backup = backups.find(settings, number)
        settings = of_backup(settings, backup)
        conflicts = backups.changed_since(backup)
        if conflicts and not force:
            raise ServerError(
                f"{conflicts[0]} was changed since that apply"
                + (f", and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""),
                hint="look at it first; --force puts the old content back all the same",
            )
        backups.restore(backup)
        backups.mark_reverted(backup)
        _reload(settings)
        return backup


def of_backup(settings: Settings, backup: Backup) -> Settings:
    """The settings for the servers that a backup is of: its apply may have been told of other ones."""
    return replace(
        settings,
        postfix=replace(settings.postfix, config_directory=backup.postfix),
        dovecot=replace(settings.dovecot, config=backup.dovecot),
    )


def check_pair(certificate: Path, key: Path) -> None:
    """Refuse a certificate that cannot be read or a key that is not its own. Raises ServerError."""
    import ssl

    for file in (certificate, key):
        if not file.is_file():
            raise ServerError(f"there is no file {file}", hint="--certificate FILE --key FILE, in PEM form")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        what = (
            f"the key {key} does not belong to the certificate {certificate}"
            if "MISMATCH" in str(error.reason)
            else f"{certificate} and {key} are no certificate and key in PEM form"
        )
        raise ServerError(what, hint="nothing was changed") from error
    except OSError as error:
        raise ServerError(f"{certificate} or {key} cannot be read: {error.strerror}") from error


def make_mail_account(settings: Settings) -> tuple[str, ...]:
    """Make the account and the folder that mail belongs to, where they are missing."""
    done = []
    if mail_account(settings) is None:
        run(
            [
                *("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"),
                *("--home-dir", str(settings.mail.root), settings.mail.user),
            ],
            hint="run it as root, or set mail.user to an account that exists",
        )
        done.append(f"made the account {settings.mail.user}")
    account = mail_account(settings)
    if account is not None and not settings.mail.root.is_dir():
        make_folder(settings.mail.root, 0o700)
        os.chown(settings.mail.root, account[0], account[1])
        done.append(f"made the folder {settings.mail.root}")
    return tuple(done)


def _check_present(plan: Plan) -> None:
    """Refuse to begin where the servers cannot even read what they have: there would be no way back."""
    try:
        doveadm.check_configuration(plan.settings.dovecot.config)
    except ProcessError as error:
        raise ServerError(
            f"Dovecot's present configuration is broken: {error.message}",
            hint="mend it first; nothing was changed",
        ) from error


def _take_back(settings: Settings, backup: Backup, ran: bool) -> None:
    try:
        backups.restore(backup)
        backups.mark_reverted(backup)
    except PostmasterError as error:
        raise PartialError(
            f"the new configuration does not work and the old one could not be put back: {error.message}",
            hint=f"its copies are in {backup.folder}",
        ) from error
    try:
        if ran:
            time.sleep(DYING)
            _reload(settings)
    except PostmasterError as error:
        raise PartialError(
            f"the new configuration does not work; every file is back, but not every server: {error.message}",
            hint=error.hint,
        ) from error


def _reload(settings: Settings) -> None:
    """Reload both servers; start the one that does not run (a clash of ports ends Postfix's master)."""
    directory = settings.postfix.config_directory
    try:
        if control.master_pid(directory) is not None:
            control.reload(directory)
    except ProcessError:
        if control.master_pid(directory) is not None:
            raise
    if doveadm.master_pid(settings.dovecot.config) is not None:
        doveadm.reload(settings.dovecot.config)
    _start(settings)


def _start(settings: Settings) -> None:
    """Start the server that does not run."""
    if control.master_pid(settings.postfix.config_directory) is None:
        control.start(settings.postfix.config_directory)
    if doveadm.master_pid(settings.dovecot.config) is None:
        doveadm.start(settings.dovecot.config)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    root = backups.folder_of(settings)
    try:
        make_folder(root, 0o700)
        descriptor = os.open(root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerError(f"{root} cannot be used: {error.strerror}", hint="run it as root") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServerError("another setup is under way", hint="wait until it has ended") from None
    try:
        yield
    finally:
        os.close(descriptor)
