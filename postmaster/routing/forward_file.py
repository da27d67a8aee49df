"""`~/.forward` files as local(8) reads them: which one counts, whether it may, what it says.

`forward_path` names files with `$home`, `$user`, `$extension` and the like; the first that is there counts,
even where it must be passed over. Files are opened as they are found, never followed where local(8) would
not: it looks with lstat and wants a regular file of the user or of root that not everybody may write.

Left out: `forward_expansion_filter`, which replaces odd characters of an extension.

Source: dotforward.c, local_expand.c.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import RightsError
from postmaster.files import read_regular
from postmaster.postfix import macros
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import split

BYTES = 1 << 20  # of a file that is looked at
NOT_A_FILE = "it is not a regular file"


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the system."""

    name: str
    uid: int
    gid: int
    home: Path
    shell: str


@dataclass(frozen=True, slots=True)
class ForwardFile:
    """The file that counts. `refusal` is why local(8) passes it over, None where it does not."""

    user: str
    home: Path
    path: Path
    has_extension: bool  # its name has the address extension in it
    owner: int
    mode: int
    refusal: str | None
    targets: tuple[str, ...]  # in internal form, as they stand
    lines: tuple[tuple[int, str], ...]  # (number, text) of every line that is no comment


def find_user(name: str) -> Account | None:
    """The account of this very name; None where the system has none."""
    if not name or "\0" in name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, UnicodeError):
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), entry.pw_shell)


def local_values(user: str, extension: str, domain: str) -> dict[str, str | None]:
    """What names stand for in parameters of local(8). `extension` comes with its separator."""
    return {
        "user": user,
        "local": user + extension,
        "mailbox": user + extension,
        "extension": extension[1:] or None,
        "recipient_delimiter": extension[:1] or None,
        "domain": domain,
        "recipient": f"{user}{extension}@{domain}",
    }


def paths(forward_path: str, account: Account, extension: str, domain: str) -> list[tuple[Path, bool]]:
    """(path, whether the extension is in its name), in the order in which they are looked for.

    `extension` comes with its separator. A name with an undefined macro is left out, as in Postfix.
    """
    values = local_values(account.name, extension, domain)
    values |= {"home": str(account.home), "shell": account.shell}
    found = []
    for item in split_list(forward_path):
        path = macros.expand(item, values)
        if not path.has_undefined and path.text.startswith("/") and "\0" not in path.text:
            found.append((Path(path.text), "extension" in path.used))
    return found


def find_forward(forward_path: str, account: Account, extension: str, domain: str) -> ForwardFile | None:
    """The file that counts for a user, None where there is none. Raises RightsError for who may not look."""
    for path, has_extension in paths(forward_path, account, extension, domain):
        try:
            status = path.lstat()
        except PermissionError:
            hint = (
                "run it as root" if os.geteuid() else f"root itself may not; as {account.name} it may be seen"
            )
            raise RightsError(f"this user may not look for {path}", hint=hint) from None
        except (OSError, ValueError):
            continue
        return _read(path, has_extension, status, account)
    return None


def _read(path: Path, has_extension: bool, status: os.stat_result, account: Account) -> ForwardFile:
    refusal = None
    if not stat.S_ISREG(status.st_mode):
        refusal = NOT_A_FILE
    elif status.st_uid not in (0, account.uid):
        refusal = f"it belongs to uid {status.st_uid}, not to {account.name} or root"
    elif status.st_mode & 0o002:
        refusal = "everybody may write it"
    data = b""
    if stat.S_ISREG(status.st_mode):
        try:
            data, _ = read_regular(path, BYTES, follow=False)
        except OSError as error:
            refusal = refusal or f"it cannot be read: {error.strerror}"
    if refusal is None and not _may_read(status, account):
        refusal = f"{account.name} may not read it"
    lines = tuple(
        (number, line)
        for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1)
        if line.strip() and not line.startswith("#")
    )
    targets = tuple(target for _, line in lines for target in split(line))
    mode = stat.S_IMODE(status.st_mode)
    return ForwardFile(
        account.name, account.home, path, has_extension, status.st_uid, mode, refusal, targets, lines
    )


def _may_read(status: os.stat_result, account: Account) -> bool:
    if account.uid == 0:
        return True
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IRUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IRGRP)
    return bool(status.st_mode & stat.S_IROTH)
