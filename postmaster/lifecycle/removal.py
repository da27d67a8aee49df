"""Removing users with their mail, bringing them back, and deleting mail for good.

The truth says where each removed user's mail belongs: in the trash, in its place, or nowhere. The change of
the truth comes first and the folder follows, so after a crash at any point `finish` knows what is left to do,
and every command here does it before its own work. Only bringing back moves the folder first: a crash then
leaves a folder in its place that the truth still has in the trash, and it goes back there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from postmaster.address import Address
from postmaster.directory import removed, undo, users
from postmaster.directory.database import Directory
from postmaster.directory.records import Removed, RemovedMailbox, User
from postmaster.errors import NotFoundError, PartialError, PostmasterError, UsageError
from postmaster.lifecycle.folders import TRASH, Folders, open_folders
from postmaster.lifecycle.rename import end_sessions

WAYS = ("trash", "keep", "delete")  # what becomes of the mail
Progress = Callable[[str], None]


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
    finish(directory)
    with directory.change() as change:
        gone = users.remove(change, where, mail=mail)
    done = Gone(gone, change.number, None)
    user = gone.record
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("ending sessions", lambda: end_sessions(directory.settings, [user.address.ascii])),
        ("moving the mail" if mail == "trash" else "deleting the mail", lambda: finish(directory)),
    )
    for what, step in steps:
        progress(what)
        try:
            step()
        except PostmasterError as error:
            done.failed.append(f"{what}: {error.message}")
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
    finish(directory)
    found = [
        one
        for one in list_all(directory)
        if one.left.address == where and account_id in (None, one.left.account_id)
    ]
    if not found:
        raise NotFoundError(
            f"no removed user had the address {where}", hint="postmaster user trash list shows who did"
        )
    one = found[-1]
    notes: tuple[str, ...] = ()
    if one.left.mail == "delete" or one.place == "none":
        notes += ("the mail is gone for good",)
    # First in a dry run: a refusal must not have moved anything.
    for keep in (False, True):
        if keep and one.place == "trash" and one.left.mail != "delete":
            bring_back(directory, [one.left.mail_id])
        try:
            with directory.change(keep=keep) as change:
                told = undo.restore_user(change, one.left.account_id, restore_passwords=restore_passwords)
                user = told.user
                if password_hash is not None:
                    user = users.set_password(change, user.address, password_hash)
        except PartialError:
            raise  # kept, and the look-ups follow with the next command
        except BaseException:
            finish(directory)
            raise
    return user, (*notes, *told.notes), change.number


def purge(
    directory: Directory,
    wanted: Sequence[Address] = (),
    *,
    older_than: timedelta | None = None,
    progress: Callable[[Mailbox], None] = lambda _: None,
    keep: bool = True,
) -> list[Mailbox]:
    """Delete mail in the trash for good: of these users, and of those removed so long ago; None: of all.

    `keep` False only tells which. Raises NotFoundError, ServerError where something cannot be deleted.
    """
    if keep:
        finish(directory)
    present = [one for one in list_all(directory) if one.left.mail != "keep"]
    for where in wanted:
        if not any(one.left.address == where for one in present):
            raise NotFoundError(f"the trash has no mail of {where}", hint="postmaster user trash list")
    before = None if older_than is None else datetime.now(UTC) - older_than
    chosen = [
        one
        for one in present
        if (not wanted or one.left.address in wanted) and (before is None or one.left.removed_at < before)
    ]
    for one in chosen if keep else ():
        progress(one)
        with directory.change() as change:
            removed.to_delete(change, one.left)
        finish(directory)
    return chosen


def finish(directory: Directory) -> None:
    """Put every folder where the truth says it belongs, and delete what is to be deleted.

    Raises ServerError for the first one that stays as it is, after all others are done.
    """
    with directory.read() as reading:
        left = removed.list_all(reading)
    root = directory.settings.mail.root
    if not root.is_dir():
        _forget(directory, [one for one in left if one.mail == "delete"])
        return
    if not left and not (root / TRASH).is_dir():
        return
    errors: list[PostmasterError] = []
    with open_folders(directory.settings.mail) as folders:
        for one in left:
            try:
                if one.mail == "trash" and folders.exists(one.mail_id):
                    folders.to_trash(one.mail_id)
                elif one.mail == "delete":
                    folders.delete(one.mail_id)
                    _forget(directory, [one])
            except PostmasterError as error:
                errors.append(error)
        with directory.read() as reading:
            alive = removed.of_users(reading, folders.trash() - {one.mail_id for one in left})
        for mail_id in alive:
            try:
                folders.from_trash(mail_id)
            except PostmasterError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def bring_back(directory: Directory, mail_ids: Iterable[str]) -> None:
    """Move folders out of the trash, for users who are about to be there again. Raises ServerError."""
    if directory.settings.mail.root.is_dir():
        with open_folders(directory.settings.mail) as folders:
            for mail_id in mail_ids:
                folders.from_trash(mail_id)


def take_back(
    directory: Directory, numbers: Sequence[int] = (), *, restore_passwords: bool = False
) -> tuple[undo.Undone, int | None]:
    """Undo entries of the journal, with the mail of users who come and go; what was done, and its own entry.

    Raises what `undo` raises, and ServerError.
    """
    with directory.change(keep=False) as change:
        planned = undo.undo(change, numbers, restore_passwords=restore_passwords)
    numbers = [one.number for one in planned.entries]
    made = [one.after for one in planned.changes if one.table == "account" and one.before is None]
    try:
        bring_back(directory, [row["mail_id"] for row in made if row])
        with directory.change() as change:
            done = undo.undo(change, numbers, restore_passwords=restore_passwords)
    finally:
        finish(directory)
    return done, change.number


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
    if not text[:-1].isdigit() or len(text) > 6 or text[-1:] not in units:
        raise UsageError(f"{text!r} is no age", hint="for example 30d, 4w or 12h")
    return timedelta(hours=int(text[:-1]) * units[text[-1]])
