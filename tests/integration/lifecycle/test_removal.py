"""Removing users with their mail, bringing them back, deleting for good: on real folders."""

from __future__ import annotations

import fcntl
import os
import pwd
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.directory import aliases, forwards, undo, users
from postmaster.directory.database import Directory, open_directory
from postmaster.directory.migrate import initialise
from postmaster.errors import (
    ConflictError,
    InUseError,
    NotFoundError,
    PostmasterError,
    RuleError,
    ServerError,
)
from postmaster.lifecycle import folders, removal
from postmaster.settings import DovecotSettings, MailSettings, PostfixSettings, Settings
from tests.tools.building import HASH, A, Builder, settings_under

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = replace(
        settings_under(tmp_path / "d"),
        mail=MailSettings(tmp_path / "mail", user=ME),
        postfix=PostfixSettings(tmp_path / "none"),
        dovecot=DovecotSettings(tmp_path / "none" / "dovecot.conf"),
    )
    made.mail.root.mkdir()
    initialise(made)
    return made


@pytest.fixture
def house(directory: Directory, make: Builder) -> Builder:
    make.domain("example.org")
    for name in ("amy", "bob"):
        make.user(f"{name}@example.org")
        deliver(directory, f"{name}@example.org")
    make.alias("team@example.org", "amy@example.org", "bob@example.org")
    make.forward("amy@example.org", "amy@elsewhere.example")
    make.grant("amy@example.org", "team@example.org")
    return make


def folder_of(directory: Directory, where: str) -> Path:
    with directory.read() as reading:
        return users.mail_folder(directory.settings.mail, users.show(reading, A(where)))


def deliver(directory: Directory, where: str) -> None:
    new = folder_of(directory, where) / "Maildir" / "new"
    new.mkdir(parents=True)
    (new / "1.mail").write_text("Subject: hello\n\n")


def trash(directory: Directory) -> list[tuple[str, str, str]]:
    return [(one.left.address.ascii, one.left.mail, one.place) for one in removal.list_all(directory)]


def test_the_mail_goes_to_the_trash_and_comes_back_with_all_that_the_user_had(
    house: Builder, directory: Directory
) -> None:
    folder = folder_of(directory, "amy@example.org")
    done = removal.remove(directory, A("amy@example.org"))
    assert done.failed == []
    assert done.removed.dropped_from == (A("team@example.org"),)
    assert not folder.exists()
    assert done.place is not None
    assert (done.place / "Maildir" / "new" / "1.mail").read_text() == "Subject: hello\n\n"
    assert trash(directory) == [("amy@example.org", "trash", "trash")]
    (left,) = removal.list_all(directory, sizes=True)
    assert left.bytes == len("Subject: hello\n\n")
    user, notes, _ = removal.restore(directory, A("amy@example.org"))
    assert (user.address, user.scheme) == (A("amy@example.org"), "")
    assert notes == (
        "amy@example.org has no password now; postmaster user password amy@example.org gives one",
    )
    assert (folder / "Maildir" / "new" / "1.mail").exists()
    assert trash(directory) == []
    with directory.read() as reading:
        assert aliases.show(reading, A("team@example.org")).targets == (
            *(A("amy@example.org"), A("bob@example.org")),
        )
        assert forwards.show(reading, A("amy@example.org")).targets == (A("amy@elsewhere.example"),)


def test_the_old_password_or_a_new_one_when_told(house: Builder, directory: Directory) -> None:
    house.app_password("amy@example.org", "phone")
    removal.remove(directory, A("amy@example.org"))
    user, notes, entry = removal.restore(directory, A("amy@example.org"), restore_passwords=True)
    assert (user.scheme, notes) == ("ARGON2ID", ())
    assert entry is not None
    removal.remove(directory, A("amy@example.org"))
    user, _, _ = removal.restore(directory, A("amy@example.org"), password_hash=HASH)
    assert user.scheme == "ARGON2ID"


def test_kept_mail_stays_and_deleted_mail_is_gone(house: Builder, directory: Directory) -> None:
    amy, bob = folder_of(directory, "amy@example.org"), folder_of(directory, "bob@example.org")
    removal.remove(directory, A("amy@example.org"), "keep")
    assert amy.exists()
    assert trash(directory) == [("amy@example.org", "keep", "mail")]
    house.remove("alias", "team@example.org")
    gone = removal.remove(directory, A("bob@example.org"), "delete")
    assert (gone.failed, gone.place) == ([], None)
    assert not bob.exists()
    assert trash(directory) == [("amy@example.org", "keep", "mail")]
    with pytest.raises(NotFoundError, match="no removed user"):
        removal.restore(directory, A("bob@example.org"))


def test_what_changed_since_is_no_obstacle_to_bring_a_user_back_and_is_told(
    house: Builder, directory: Directory
) -> None:
    house.user("carl@example.org")
    removal.remove(directory, A("amy@example.org"))
    house.alias("team@example.org", "carl@example.org")
    removal.restore(directory, A("amy@example.org"))
    with directory.read() as reading:
        assert aliases.show(reading, A("team@example.org")).targets == (
            *(A("carl@example.org"), A("amy@example.org")),
        )
    removal.remove(directory, A("amy@example.org"))
    house.remove("alias", "team@example.org")
    _, notes, _ = removal.restore(directory, A("amy@example.org"))
    assert "team@example.org leads elsewhere or nowhere now, and stays so" in notes
    removal.remove(directory, A("amy@example.org"))
    with pytest.raises(NotFoundError, match="no removed user of number 99 had the address amy"):
        removal.restore(directory, A("amy@example.org"), account_id=99)
    house.alias("amy@example.org", "bob@example.org")
    with pytest.raises(ConflictError, match="something else stands in the way"):
        removal.restore(directory, A("amy@example.org"))
    assert trash(directory) == [("amy@example.org", "trash", "trash")]


def test_a_user_who_is_needed_stays_with_the_mail(house: Builder, directory: Directory) -> None:
    house.alias("only@example.org", "amy@example.org")
    with pytest.raises(InUseError):
        removal.remove(directory, A("amy@example.org"))
    assert folder_of(directory, "amy@example.org").exists()


def test_purging_goes_by_age_and_name_and_leaves_what_was_kept(house: Builder, directory: Directory) -> None:
    removal.remove(directory, A("amy@example.org"))
    assert removal.to_purge(directory, older_than=timedelta(days=1)) == []
    assert [one.left.address for one in removal.to_purge(directory)] == [A("amy@example.org")]
    with pytest.raises(NotFoundError):
        removal.to_purge(directory, [A("bob@example.org")])
    done = removal.purge(directory, removal.to_purge(directory, [A("amy@example.org")]))
    assert ([one.left.address for one in done.mailboxes], done.failed) == ([A("amy@example.org")], [])
    assert trash(directory) == []
    assert list((directory.settings.mail.root / ".trash").iterdir()) == []
    house.remove("alias", "team@example.org")
    with directory.change() as change:  # one that was cut short
        users.remove(change, A("bob@example.org"), mail="delete")
    done = removal.purge(directory, removal.to_purge(directory))
    assert [one.left.address for one in done.mailboxes] == [A("bob@example.org")]
    assert trash(directory) == []


def test_an_undo_takes_the_mail_along(house: Builder, directory: Directory) -> None:
    folder = folder_of(directory, "amy@example.org")
    gone = removal.remove(directory, A("amy@example.org"))
    assert gone.entry is not None
    done = removal.take_back(directory, [gone.entry])
    assert folder.exists()
    assert done.entry is not None
    removal.take_back(directory, [done.entry])
    assert not folder.exists()
    assert trash(directory) == [("amy@example.org", "trash", "trash")]


@pytest.mark.parametrize("step", ["trash", "delete", "back"])
def test_what_a_crash_left_is_finished_by_the_next_command(
    house: Builder, directory: Directory, step: str
) -> None:
    folder = folder_of(directory, "amy@example.org")
    if step == "back":  # the folder was moved, and the truth not yet changed
        removal.remove(directory, A("amy@example.org"))
        removal._bring_back(directory, [folder.name])
    else:  # the truth was changed, and the folder not yet moved
        with directory.change() as change:
            users.remove(change, A("amy@example.org"), mail=step)
    assert folder.exists()
    assert trash(directory)[0][2] == "mail"
    removal.finish(directory)
    assert not folder.exists()
    assert trash(directory) == ([] if step == "delete" else [("amy@example.org", "trash", "trash")])


def test_nothing_outside_is_touched_and_no_link_followed(
    house: Builder, directory: Directory, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    amy, bob = folder_of(directory, "amy@example.org"), folder_of(directory, "bob@example.org")
    (amy / "Maildir" / "link").symlink_to(outside)
    (amy / "Maildir" / "up").symlink_to("../../..")
    (amy / "Maildir" / "pipe").symlink_to(outside / "precious")
    removal.remove(directory, A("amy@example.org"), "delete")
    assert (outside / "precious").read_text() == "x"
    assert bob.exists()
    for one in (bob / "Maildir").rglob("*"):
        if one.is_file():
            one.unlink()
    bob.rename(tmp_path / "aside")
    bob.symlink_to(outside)
    house.remove("alias", "team@example.org")
    gone = removal.remove(directory, A("bob@example.org"), "delete")
    assert "is no folder" in gone.failed[0] or bob.is_symlink()
    assert (outside / "precious").read_text() == "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_not_the_mail_accounts_is_left_alone(house: Builder, directory: Directory) -> None:
    amy = folder_of(directory, "amy@example.org")
    (amy / "Maildir" / "sub").mkdir()
    os.chown(amy / "Maildir" / "sub", 1, 1)
    gone = removal.remove(directory, A("amy@example.org"), "delete")
    assert "belongs to uid 1 and not to the mail account" in gone.failed[0]
    assert trash(directory) == [("amy@example.org", "delete", "trash")]
    os.chown(folders.Folders(amy.parent, -1, 0).trash_path(amy.name) / "Maildir" / "sub", os.geteuid(), 0)
    removal.finish(directory)
    assert trash(directory) == []


def test_what_cannot_be_moved_stops_nothing_else(house: Builder, directory: Directory) -> None:
    amy, bob = folder_of(directory, "amy@example.org"), folder_of(directory, "bob@example.org")
    house.user("carl@example.org")
    house.alias("team@example.org", "carl@example.org")
    amy.rename(amy.with_name("aside"))
    amy.write_text("no folder")
    gone = removal.remove(directory, A("amy@example.org"), "delete")
    assert gone.failed == [f"deleting the mail: {amy} is no folder, and is left alone"]
    gone = removal.remove(directory, A("bob@example.org"))
    assert gone.failed == []
    assert not bob.exists()
    assert removal.restore(directory, A("bob@example.org"))[0].address == A("bob@example.org")
    assert bob.exists()
    with directory.read() as reading:
        last = undo.latest(reading).number
    assert removal.take_back(directory, [last]).failed == []
    assert not bob.exists()
    done = removal.purge(directory, removal.to_purge(directory))
    assert [one.left.address for one in done.mailboxes] == [A("bob@example.org")]
    assert done.failed == [f"{amy} is no folder, and is left alone"]
    assert trash(directory) == [("amy@example.org", "delete", "none")]


@pytest.mark.parametrize("mail", ["trash", "delete"])
def test_what_a_delivery_under_way_puts_in_its_old_place_joins_the_rest(
    house: Builder, directory: Directory, mail: str
) -> None:
    folder = folder_of(directory, "amy@example.org")
    (folder / "Maildir" / "dovecot-uidlist").write_text("old")
    (folder / "Maildir" / "cur").mkdir()
    removal.remove(directory, A("amy@example.org"), "trash")
    (folder / "Maildir" / "new").mkdir(parents=True)
    (folder / "Maildir" / "new" / "2.late").write_text("Subject: late\n\n")
    (folder / "Maildir" / "dovecot-uidlist").write_text("new")
    (folder / "Maildir" / ".Sent").mkdir()
    (folder / "sieve").symlink_to("/etc")
    if mail == "delete":
        assert removal.purge(directory, removal.to_purge(directory)).failed == []
        assert trash(directory) == []
        assert list(directory.settings.mail.root.rglob("*.late")) == []
        return
    removal.restore(directory, A("amy@example.org"))
    assert sorted(one.name for one in (folder / "Maildir" / "new").iterdir()) == ["1.mail", "2.late"]
    assert (folder / "Maildir" / "dovecot-uidlist").read_text() == "old"
    (other,) = (folder / "Maildir").glob("dovecot-uidlist.*")
    assert other.read_text() == "new"
    assert (folder / "Maildir" / ".Sent").is_dir()
    assert (folder / "sieve").is_symlink()


def test_a_folder_that_is_still_written_to_is_deleted_whole(
    house: Builder, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late file each time the folder was gone through, as by a program that has it open."""
    folder = folder_of(directory, "amy@example.org")
    removal.remove(directory, A("amy@example.org"))
    (left,) = removal.to_purge(directory)
    new = directory.settings.mail.root / folders.TRASH / folder.name / "Maildir" / "new"
    rmdir, late = os.rmdir, iter(range(folders.PASSES - 1))

    def meddle(path: Any, *, dir_fd: int | None = None) -> None:
        if path == "new" and next(late, None) is not None:
            (new / "late").write_text("")
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", meddle)
    assert removal.purge(directory, [left]).failed == []
    assert not new.parent.parent.exists()
    assert trash(directory) == []


@pytest.mark.parametrize("what", ["link", "stranger's folder"])
def test_a_folder_that_is_exchanged_while_it_is_deleted_is_left_alone(
    house: Builder, directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between the look at an entry and its opening: what is opened is looked at, and no link is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    folder = folder_of(directory, "amy@example.org")
    removal.remove(directory, A("amy@example.org"))
    inner = directory.settings.mail.root / folders.TRASH / folder.name / "Maildir"
    opened = os.open

    def meddle(path: Any, flags: int, *given: Any, dir_fd: int | None = None) -> int:
        if path == "new" and dir_fd is not None:
            (inner / "new").rename(tmp_path / "aside")
            if what == "link":
                (inner / "new").symlink_to(outside)
            else:
                outside.rename(inner / "new")
                os.chown(inner / "new", 1, 1)
        return opened(path, flags, *given, dir_fd=dir_fd)

    if what != "link" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    monkeypatch.setattr(os, "open", meddle)
    done = removal.purge(directory, removal.to_purge(directory))
    monkeypatch.undo()
    assert len(done.failed) == 1
    assert trash(directory) == [("amy@example.org", "delete", "trash")]
    assert ((inner / "new") / "precious").read_text() == "x"


def test_commands_that_move_mail_wait_for_one_another(house: Builder, directory: Directory) -> None:
    """One that finishes what a crash left must not take what another is about to do for it."""
    lock = os.open(directory.settings.state.directory / removal.LOCK, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finishing = threading.Thread(target=removal.finish, args=(directory,))
        finishing.start()
        finishing.join(0.2)
        assert finishing.is_alive()
    finally:
        os.close(lock)
    finishing.join(30)
    assert not finishing.is_alive()


def test_a_removal_that_was_kept_is_told_though_the_folders_cannot_be_looked_at(
    house: Builder, directory: Directory
) -> None:
    directory.settings = replace(
        directory.settings, mail=replace(directory.settings.mail, user="no-such-account")
    )
    gone = removal.remove(directory, A("amy@example.org"))
    assert gone.failed == ["moving the mail: there is no account no-such-account, which mail belongs to"]
    assert (gone.place, gone.entry is None) == (None, False)


def test_a_folder_in_the_way_is_told_and_both_stay(house: Builder, directory: Directory) -> None:
    folder = folder_of(directory, "amy@example.org")
    removal.remove(directory, A("amy@example.org"))
    (folder / "Maildir").mkdir(parents=True)
    with pytest.raises(ServerError, match="is there already"):
        removal._bring_back(directory, [folder.name])
    assert folder.exists()


@given(
    st.text(st.sampled_from("a./\0~-"), max_size=12) | st.sampled_from(["..", "a/../b", "/etc", ".trash/x"])
)
def test_no_name_leads_out_of_the_mail_root(tmp_path_factory: Any, mail_id: str) -> None:
    root = tmp_path_factory.getbasetemp() / "names"
    root.mkdir(exist_ok=True)
    (root.parent / "sentinel").mkdir(exist_ok=True)
    with folders.open_folders(MailSettings(root, user=ME)) as opened:
        try:
            opened.delete(mail_id)
        except RuleError:
            assert mail_id in ("", ".") or any(
                part in ("", ".", "..", ".trash") or "\0" in part for part in mail_id.split("/")
            )
    assert (root.parent / "sentinel").exists()


def test_ages_are_spans() -> None:
    assert removal.parse_age("30d") == timedelta(days=30)
    for wrong in ("", "d", "30", "1y", "-1d", "9999999d"):
        with pytest.raises(PostmasterError):
            removal.parse_age(wrong)


def test_an_open_directory_elsewhere_is_enough(settings: Settings) -> None:
    with open_directory(settings) as directory:
        removal.finish(directory)
