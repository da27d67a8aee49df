"""Removing users with their mail, bringing them back, and deleting mail for good.

The truth says where each removed user's mail belongs: in the trash, in its place, or nowhere. The change of
the truth comes first and the folder follows, so after a crash at any point `finish` knows what is left to do,
and every command here does it before its own work. Only bringing back moves the folder first: a crash then
leaves a folder in its place that the truth still has in the trash, and it goes back there.

Commands that move mail wait for one another: what one is about to do another would take for a crash's. A
folder that cannot be moved or deleted stops nothing else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from postmaster.address import Address
from postmaster.directory import removed, undo, users
from postmaster.directory.database import Directory
from postmaster.directory.records import Removed, RemovedMailbox, User
from postmaster.errors import NotFoundError, PartialError, PostmasterError, ServerError, UsageError
from postmaster.files import make_folder, remedy
from postmaster.lifecycle.folders import TRASH, Folders, open_folders
from postmaster.lifecycle.rename import end_sessions
from postmaster.lifecycle.steps import Progress, take
from postmaster.shell import word

WAYS = ("trash", "keep", "delete")  # what becomes of the mail
LOCK = "mail.lock"  # in the state directory


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What is left of a removed user, where the folder is now (trash, mail or none), and its size."""

    left: RemovedMailbox
    place: str
    bytes: int | None


@dataclass(slots=True)
class Gone:
    """A removal. `place` is where the mail is; None where there is none."""

    removed: Removed[User]
    entry: int | None
    place: Path | None
    failed: list[str] = field(default_factory=list)


def remove(
    directory: Directory, where: Address, mail: str = "trash", *, progress: Progress = lambda _: None
) -> Gone:
    """Take a user away, end the sessions, and move or delete the mail.

    Raises NotFoundError, InUseError when the user is some alias's last target.
    """
    assert mail in WAYS
    with _alone(directory):
        _finish(directory)
        with directory.change() as change:
            gone = users.remove(change, where, mail=mail)
        done = Gone(gone, change.number, None)
        user = gone.record
        ending = ("ending sessions", lambda: end_sessions(directory.settings, [user.address.ascii]))
        done.failed = take([ending], progress)
        what = "deleting the mail" if mail == "delete" else "moving the mail"
        progress(what)
        stays = _finish(directory).get(user.mail_id)
        if stays is not None:
            done.failed.append(f"{what}: {stays.message}")
        with suppress(PostmasterError):  # what is wrong with the folders is told already
            done.place = _place(directory, user.mail_id)
    return done


def list_all(directory: Directory, *, sizes: bool = False) -> list[Mailbox]:
    """What is left of removed users, the oldest first. To measure sizes takes a walk through each folder."""
    with directory.read() as reading:
        found = removed.list_all(reading)
    if not directory.settings.mail.root.is_dir():
        return [Mailbox(one, "none", None) for one in found]
    with open_folders(directory.settings.mail) as folders:
        return [
            Mailbox(one, _where(folders, one.mail_id), folders.size(one.mail_id) if sizes else None)
            for one in found
        ]


def restore(
    directory: Directory,
    where: Address,
    *,
    account_id: int | None = None,
    password_hash: str | None = None,
    restore_passwords: bool = False,
) -> tuple[User, tuple[str, ...], int | None]:
    """Bring back the user who was removed last under an address, or the one with a number.

    Aliases and forwards that named the user do so again, where they are still there. Without a hash or
    `restore_passwords` the user comes back without a password. Gives back the user, what stays otherwise,
    and the journal entry. Raises NotFoundError, ConflictError, ServerError.
    """
    with _alone(directory):
        _finish(directory)
        found = [
            one
            for one in list_all(directory)
            if one.left.address == where and account_id in (None, one.left.account_id)
        ]
        if not found:
            which = "" if account_id is None else f"of number {account_id} "
            raise NotFoundError(
                f"no removed user {which}had the address {where}",
                hint="postmaster user trash list shows who did; where the mail was deleted, undo the removal:"
                f" postmaster history {word(where)}",
            )
        one = found[-1]
        notes: tuple[str, ...] = ()
        if one.left.mail == "delete" or one.place == "none":
            notes += ("the mail is gone for good",)
        with _back_unless_kept(directory), directory.change() as change:
            told = undo.restore_user(change, one.left.account_id, restore_passwords=restore_passwords)
            user = told.user
            if password_hash is not None:
                user = users.set_password(change, user.address, password_hash)
            if one.place == "trash" and one.left.mail != "delete":
                _bring_back(directory, [one.left.mail_id])
    return user, (*notes, *told.notes), change.number


@dataclass(slots=True)
class Purged:
    """Whose mail was deleted for good; and why the mail of others could not be."""

    mailboxes: list[Mailbox]
    failed: list[str] = field(default_factory=list)


def to_purge(
    directory: Directory, wanted: Sequence[Address] = (), older_than: timedelta | None = None
) -> list[Mailbox]:
    """What is in the trash of these users, and of those removed so long ago; None: of all.

    With what was to be deleted and is not yet. Raises NotFoundError.
    """
    present = [one for one in list_all(directory) if one.left.mail != "keep"]
    for where in wanted:
        if not any(one.left.address == where for one in present):
            raise NotFoundError(f"the trash has no mail of {where}", hint="postmaster user trash list")
    before = None if older_than is None else datetime.now(UTC) - older_than
    return [
        one
        for one in present
        if (not wanted or one.left.address in wanted) and (before is None or one.left.removed_at < before)
    ]


def purge(directory: Directory, chosen: Sequence[Mailbox], *, progress: Progress = lambda _: None) -> Purged:
    """Delete these for good, and what an earlier purge left. Those that were brought back meanwhile stay."""
    with _alone(directory):
        present = {one.left for one in list_all(directory)}
        chosen = [one for one in chosen if one.left in present]
        if chosen:
            with directory.change() as change:
                for one in chosen:
                    removed.to_delete(change, one.left)
        stays = _finish(directory, progress)
    return Purged(
        [one for one in chosen if one.left.mail_id not in stays],
        [stays[one.left.mail_id].message for one in chosen if one.left.mail_id in stays],
    )


def finish(directory: Directory) -> list[str]:
    """Put every folder where the truth says it belongs, and delete what is to be deleted.

    Gives back why a folder stays as it is, for each one that does; all others are done.
    """
    with _alone(directory):
        return [error.message for error in _finish(directory).values()]


@contextmanager
def _alone(directory: Directory) -> Iterator[None]:
    """Wait for other commands that move mail, and let none begin. Raises ServerError."""
    path = directory.settings.state.directory / LOCK
    try:
        make_folder(path.parent, 0o755)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServerError(f"{path} cannot be used: {error.strerror}", hint=remedy(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _finish(directory: Directory, progress: Progress = lambda _: None) -> dict[str, PostmasterError]:
    """What `finish` does, for who is alone; by mail_id what stays as it is, and why."""
    with directory.read() as reading:
        left = removed.list_all(reading)
    root = directory.settings.mail.root
    if not root.is_dir():
        _forget(directory, [one for one in left if one.mail == "delete"])
        return {}
    if not left and not (root / TRASH).is_dir():
        return {}
    stays: dict[str, PostmasterError] = {}
    deleted = []
    try:
        with open_folders(directory.settings.mail) as folders:
            for one in left:
                try:
                    if one.mail == "trash" and folders.exists(one.mail_id):
                        folders.to_trash(one.mail_id)
                    elif one.mail == "delete":
                        progress(f"deleting the mail of {one.address}")
                        folders.delete(one.mail_id)
                        deleted.append(one)
                except PostmasterError as error:
                    stays[one.mail_id] = error
            with directory.read() as reading:
                alive = removed.of_users(reading, folders.trash() - {one.mail_id for one in left})
            for mail_id in alive:
                try:
                    folders.from_trash(mail_id)
                except PostmasterError as error:
                    stays[mail_id] = error
    except PostmasterError as error:
        stays |= {one.mail_id: error for one in left if one.mail != "keep" and one not in deleted}
    finally:
        _forget(directory, deleted)
    return stays


@contextmanager
def _back_unless_kept(directory: Directory) -> Iterator[None]:
    """Put folders back into the trash where the change that they were brought back for is not kept."""
    try:
        yield
    except PartialError:
        raise  # it is kept, and the look-ups follow with the next command
    except BaseException:
        _finish(directory)
        raise


def _bring_back(directory: Directory, mail_ids: Iterable[str]) -> None:
    """Move folders out of the trash, within the change that makes their users again. Raises ServerError."""
    if directory.settings.mail.root.is_dir():
        with open_folders(directory.settings.mail) as folders:
            for mail_id in mail_ids:
                folders.from_trash(mail_id)


@dataclass(slots=True)
class TakenBack:
    """What was undone, the undo's own entry, and folders of mail that could not follow."""

    undone: undo.Undone
    entry: int | None
    failed: list[str] = field(default_factory=list)


def take_back(
    directory: Directory,
    numbers: Sequence[int] = (),
    *,
    restore_passwords: bool = False,
    most: int | None = None,
    progress: Progress = lambda _: None,
    tell: Callable[[int], None] = lambda _: None,
) -> TakenBack:
    """Undo entries of the journal, with the mail of users who come and go.

    As `undo`, which says what it tells and raises; ServerError besides.
    """
    with _alone(directory):
        _finish(directory)
        with _back_unless_kept(directory), directory.change() as change:
            done = undo.undo(
                change,
                numbers,
                restore_passwords=restore_passwords,
                most=most,
                progress=progress,
                tell=tell,
            )
            _bring_back(directory, done.back)
            progress("publishing")
        stays = _finish(directory)
    touched = {*done.back, *done.gone}
    return TakenBack(done, change.number, [stays[one].message for one in sorted(touched & stays.keys())])


def _forget(directory: Directory, gone: Sequence[RemovedMailbox]) -> None:
    if gone:
        with directory.change() as change:
            removed.forget(change, gone)


def _where(folders: Folders, mail_id: str) -> str:
    if folders.in_trash(mail_id):
        return "trash"
    return "mail" if folders.exists(mail_id) else "none"


def _place(directory: Directory, mail_id: str) -> Path | None:
    if not directory.settings.mail.root.is_dir():
        return None
    with open_folders(directory.settings.mail) as folders:
        if folders.in_trash(mail_id):
            return folders.trash_path(mail_id)
        return directory.settings.mail.root / mail_id if folders.exists(mail_id) else None


def parse_age(text: str) -> timedelta:
    """`30d`, `2w`, `12h`. Raises UsageError."""
    units = {"h": 1, "d": 24, "w": 168}
    if not (text[:-1].isdecimal() and text.isascii()) or len(text) > 6 or text[-1:] not in units:
        raise UsageError(f"{text[:60]!r} is no age", hint="for example 30d, 4w or 12h")
    return timedelta(hours=int(text[:-1]) * units[text[-1]])
