"""The alias files that Postfix uses, and changing them: atomic, built by postalias, undone when it refuses.

Which files: those that `alias_maps` and `alias_database` name, with their types; a name without a type has
`default_database_type`. A file is replaced at once with its owner and mode kept, and by its real name where
it is a link. Two commands at once take turns.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postmaster.errors import NotFoundError, PostmasterError, ProcessError, ServerError
from postmaster.files import read_regular, replace
from postmaster.postfix import postconf
from postmaster.postfix.postconf import split_list
from postmaster.process import run
from postmaster.routing import alias_file
from postmaster.routing.alias_file import Part
from postmaster.settings import Settings

#: Types that postalias makes a file for, and the ending of that file (mkmap_*.c); lmdb's and cdb's too.
BUILT = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".pag", "sdbm": ".pag"}
PLAIN = ("texthash",)  # read as it is
BYTES = 64 << 20  # of an alias file


@dataclass(frozen=True, slots=True)
class AliasFile:
    """A file of aliases: which parameters name it, and as which type."""

    path: Path
    type: str
    is_used: bool  # alias_maps names it: local(8) reads it
    is_rebuilt: bool  # alias_database names it: newaliases builds it

    @property
    def table(self) -> str:
        return f"{self.type}:{self.path}"

    @property
    def built(self) -> Path | None:
        """The file that postalias makes of it; None where it is read as it is."""
        ending = BUILT.get(self.type)
        return None if ending is None else self.path.with_name(self.path.name + ending)


def files(settings: Settings) -> list[AliasFile]:
    """The alias files of the instance, in the order in which they are asked. Raises ProcessError."""
    directory = settings.postfix.config_directory
    given = postconf.expanded(directory, ("alias_maps", "alias_database", "default_database_type"))
    used = _specifications(given["alias_maps"], given["default_database_type"])
    rebuilt = _specifications(given["alias_database"], given["default_database_type"])
    return [
        AliasFile(Path(name), kind, (kind, name) in used, (kind, name) in rebuilt)
        for kind, name in dict.fromkeys([*used, *rebuilt])
        if kind in BUILT or kind in PLAIN
    ]


def choose(found: Sequence[AliasFile], wanted: Path | None) -> list[AliasFile]:
    """The file with this path, or all. Raises NotFoundError."""
    if not found:
        raise NotFoundError(
            "Postfix has no alias file",
            hint="name one in alias_maps and alias_database, as hash:/etc/aliases",
        )
    if wanted is None:
        return list(found)
    chosen = [one for one in found if one.path == wanted]
    if not chosen:
        raise NotFoundError(
            f"{wanted} is no alias file of Postfix",
            hint="there are: " + ", ".join(str(f.path) for f in found),
        )
    return chosen


def read(file: AliasFile) -> list[Part]:
    """The parts of a file, none where it is not there yet. Raises ServerError."""
    return alias_file.parse(_read(file.path))


def change(
    settings: Settings, file: AliasFile, edit: Callable[[list[Part]], list[Part]], *, keep: bool = True
) -> tuple[list[Part], list[Part]]:
    """(parts before, parts after) of a change; without `keep` nothing is written.

    Raises ServerError, ProcessError; then the file and what postalias makes of it are as before.
    """
    path = Path(os.path.realpath(file.path))
    with _alone(path):
        before = _read(path)
        parts = alias_file.parse(before)
        after = edit(parts)
        data = alias_file.to_bytes(after)
        if keep and (data != before or is_stale(file)):
            _write(settings, file, path, before, data)
    return parts, after


def build(settings: Settings, file: AliasFile) -> None:
    """Let postalias build a file. Raises ProcessError."""
    if file.type in BUILT:
        run(["postalias", "-c", str(settings.postfix.config_directory), file.table], hint=postconf.HINT)


def _write(settings: Settings, file: AliasFile, path: Path, before: bytes, data: bytes) -> None:
    try:
        status = path.stat()
        mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        is_new = False
    except FileNotFoundError:
        mode, uid, gid, is_new = 0o644, 0, 0, True
    except OSError as error:
        raise ServerError(f"{path} cannot be looked at: {error.strerror}") from error
    try:
        replace(path, data, mode, uid, gid)
    except OSError as error:
        hint = "run it as root" if os.geteuid() else None
        raise ServerError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
    try:
        build(settings, file)
    except PostmasterError as refusal:
        _undo(settings, file, path, None if is_new else before, (mode, uid, gid))
        raise ProcessError(f"{refusal.message}; {path} is as it was", hint=refusal.hint) from refusal


def _undo(
    settings: Settings, file: AliasFile, path: Path, before: bytes | None, rights: tuple[int, int, int]
) -> None:
    if before is None:
        path.unlink(missing_ok=True)
        return
    replace(path, before, *rights)
    try:
        build(settings, file)
    except PostmasterError:
        return  # it cannot be built at all: what was built before is as it was


def is_stale(file: AliasFile) -> bool:
    """Whether what postalias makes is missing or older than the file."""
    if file.built is None:
        return False
    try:
        return file.built.stat().st_mtime_ns < file.path.stat().st_mtime_ns
    except OSError:
        return True


def _read(path: Path) -> bytes:
    try:
        data, _ = read_regular(path, BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ServerError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > BYTES:
        raise ServerError(f"{path} is larger than {BYTES >> 20} MiB", hint="is it an alias file?")
    return data


def _specifications(text: str, default: str) -> list[tuple[str, str]]:
    found = []
    for item in split_list(text):
        kind, colon, name = item.removeprefix("proxy:").partition(":")
        if not colon:
            kind, name = default, item
        if name.startswith("/"):
            found.append((kind, name))
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on the folder: the alias file itself is another one after each change."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ServerError(f"{path.parent} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
