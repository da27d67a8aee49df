"""The account of the round trip, and what a run that was killed has left of it.

By default it exists in the look-ups alone, in a domain of its own below `.invalid`, with a password that
nobody has seen, for as long as the round trip takes. Where the settings name a user (`health.probe_address`),
that one is used: an answer from elsewhere and a webmail need an address that lasts. Its password is in a
file that nobody else may read, and Postfix lets it send to itself and the reflector alone (`setup`).

Each trip keeps a note of what it made, locked while its process lives. A note that nobody holds is what a
killed run has left: the next one takes away what it names.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postmaster.directory import probe as probes
from postmaster.errors import NotFoundError, PostmasterError, RightsError, ServerError
from postmaster.files import make_folder, replace
from postmaster.settings import Settings
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.address import Address
    from postmaster.directory.database import Directory

FILE_LIMIT = 4096  # bytes of a password file
QUOTA = 10 << 20  # bytes; its mailbox is emptied by each run


@dataclass(frozen=True, slots=True)
class Account:
    """`lasting`: a user of the directory, whose mailbox keeps what is not deleted."""

    address: str
    password: str
    lasting: bool


@dataclass(slots=True)
class Note:
    """What a trip made. `number` and `mail_id` are a probe's that is in the look-ups alone."""

    sender: str
    number: int = 0
    mail_id: str = ""
    queue_id: str = ""


class Trip:
    """A trip under way: the account, and the note of what it made."""

    def __init__(self, account: Account, note: Note, descriptor: int) -> None:
        self.account, self.note, self._descriptor = account, note, descriptor

    def queued(self, queue_id: str) -> None:
        """Note the message that Postfix has now."""
        self.note.queue_id = queue_id
        self.write()

    def write(self) -> None:
        data = json.dumps(asdict(self.note)).encode()
        os.pwrite(self._descriptor, data.ljust(512), 0)


def folder(settings: Settings) -> Path:
    return settings.state.directory / "health"


def password_file(settings: Settings) -> Path:
    given = settings.health.probe_password_file
    return Path(given) if given else folder(settings) / "probe.password"


def lasting_account(settings: Settings) -> Account | None:
    """The user that the settings name, None where they name none. Raises NotFoundError, RightsError."""
    address = settings.health.probe_address
    if not address:
        return None
    path, hint = password_file(settings), f"postmaster health probe-account {word(address)}"
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise RightsError(f"others may read {path}", hint=f"chmod 600 {word(path)}; {hint} --renew")
            password = file.read(FILE_LIMIT).decode("utf-8", "replace").rstrip("\r\n")
    except OSError as error:
        raise NotFoundError(f"the probe's password in {path}: {error.strerror}", hint=hint) from None
    if not password:
        raise NotFoundError(f"{path} is empty", hint=f"{hint} --renew")
    return Account(address, password, True)


def make_account(settings: Settings, directory: Directory, where: Address, *, renew: bool) -> Path:
    """Make the user, or with `renew` give it a new password; the file that the password is in now.

    Nobody has seen it. Raises ExistsError, NotFoundError, RuleError, ServerError; then nothing is changed.
    """
    from postmaster.directory import passwords, users

    password, file = passwords.generate_password(), password_file(settings)
    hashed = passwords.hash_password(password)
    with directory.change() as change:
        if renew:
            users.set_password(change, where, hashed)
        else:
            users.add(change, where, password_hash=hashed, name="Health checks", quota=QUOTA)
        try:
            make_folder(file.parent, 0o700)
            replace(file, f"{password}\n".encode(), 0o600)
        except OSError as error:
            raise ServerError(f"{file} cannot be written: {error.strerror}", hint="run it as root") from error
    return file


@contextmanager
def trip(settings: Settings) -> Iterator[Trip]:
    """An account for a round trip, with what killed ones left taken away first.

    Raises PostmasterError: DirectoryError where the look-ups cannot be written, NotFoundError and
    RightsError for the password file.
    """
    notes = folder(settings) / "trips"
    try:
        make_folder(folder(settings), 0o700)
        make_folder(notes, 0o700)
        for path in list(notes.iterdir()):
            _clean_left(settings, path)
        path = notes / secrets.token_hex(8)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerError(f"{notes} cannot be used: {error.strerror}", hint="run it as root") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        lasting = lasting_account(settings)
        if lasting is not None:
            under_way = Trip(lasting, Note(lasting.address), descriptor)
            try:
                yield under_way
            finally:
                _clean(settings, under_way.note)
        else:
            one = probes.new_probe()
            account = Account(one.address, one.password, False)
            under_way = Trip(account, Note(one.address, one.number, one.mail_id), descriptor)
            under_way.write()
            with probes.probe_account(settings, one):
                try:
                    yield under_way
                finally:
                    _clean_queue(settings, under_way.note)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _clean_left(settings: Settings, path: Path) -> None:
    """Take away what a note names, if its process has ended."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # its own run has just taken it away
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            note = Note(**json.loads(os.pread(descriptor, FILE_LIMIT, 0)))
        except (ValueError, TypeError):
            note = None  # killed before it made anything
        if note is not None:
            _clean(settings, note)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # it is under way
    finally:
        os.close(descriptor)


def _clean(settings: Settings, note: Note) -> None:
    _clean_queue(settings, note)
    if note.number < 0:
        probes.remove_probe(settings, note.number, note.mail_id)


def _clean_queue(settings: Settings, note: Note) -> None:
    """Delete the message if it is still in the queue, and still the one that was sent."""
    from postmaster.postfix import postsuper
    from postmaster.postfix.queue import Listing
    from postmaster.queue.read import find

    if not note.queue_id:
        return
    with suppress(PostmasterError):  # with Postfix down it cannot be deleted; there is no bounce of it
        if any(one.sender == note.sender for one in find(settings, Listing(), [note.queue_id])):
            queues = sorted(postsuper.QUEUES)
            postsuper.delete(settings.postfix.config_directory, [note.queue_id], queues)
