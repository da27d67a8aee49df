"""`~/.forward` files as local(8) reads them: which one counts, whether it may, what it says.

`forward_path` names files with `$home`, `$user`, `$extension` and the like; the first that is there counts,
even where it must be passed over. Files are opened as they are found, never followed where local(8) would
not: it looks with lstat and wants a regular file of the user or of root that not everybody may write.

Source: dotforward.c, local_expand.c.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from postmaster.files import read_regular
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import split

BYTES = 1 << 20  # of a file that is looked at

_MACRO = re.compile(r"\$(?:\{([^{}]*)\}|\(([^()]*)\)|(\w+))")


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


def paths(forward_path: str, account: Account, extension: str, delimiter: str) -> list[tuple[Path, bool]]:
    """(path, whether the extension is in its name), in the order in which they are looked for.

    `extension` comes with its separator. A name with an undefined macro is left out, as in Postfix.
    """
    bare = extension[1:]
    values = {
        "home": str(account.home),
        "user": account.name,
        "local": account.name + extension,
        "shell": account.shell,
        "extension": bare or None,
        "recipient_delimiter": (extension[:1] or delimiter[:1]) if bare else None,
    }
    found = []
    for item in split_list(forward_path):
        path = _expand(item, values)
        if path is not None and path.startswith("/") and "\0" not in path:
            found.append((Path(path), bool(bare) and "extension" in item))
    return found


def find_forward(forward_path: str, account: Account, extension: str, delimiter: str) -> ForwardFile | None:
    """The file that counts for a user, None where there is none."""
    for path, has_extension in paths(forward_path, account, extension, delimiter):
        try:
            status = path.lstat()
        except (OSError, ValueError):
            continue
        return _read(path, has_extension, status, account)
    return None


def _read(path: Path, has_extension: bool, status: os.stat_result, account: Account) -> ForwardFile:
    refusal = None
    if not stat.S_ISREG(status.st_mode):
        refusal = "it is not a regular file"
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


def _expand(item: str, values: dict[str, str | None]) -> str | None:
    """The text with its macros, `${name?text}` and `${name:text}` as well; None where one has no value."""
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        inside = found[1] or found[2] or found[3] or ""
        name, mark, text = re.match(r"(\w*)([?:]?)(.*)", inside, re.DOTALL).groups()  # type: ignore[union-attr]
        known = values.get(name)
        if mark == "?":
            return _expand(text, values) or "" if known else ""
        if mark == ":":
            return "" if known else _expand(text, values) or ""
        if known is None:
            missing = True
        return known or ""

    text = _MACRO.sub(value, item)
    return None if missing else text
