"""Checking local mail: alias files, what they include, and `~/.forward` files.

Each fault has a code of LOCAL_CODES; nothing is changed. Who may do what with files is looked at as local(8)
would: `|command` and `/file` run with the rights of the file's owner, so whoever can
write the file can run commands as that user.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from postmaster.errors import ServerError
from postmaster.files import read_regular
from postmaster.postfix.postconf import split_list
from postmaster.postfix.tokens import quote, split
from postmaster.routing import alias_database, alias_file
from postmaster.routing.alias_database import AliasFile
from postmaster.routing.alias_file import Part
from postmaster.routing.check.finding import Finding
from postmaster.routing.circles import circles
from postmaster.routing.forward_file import NOT_A_FILE, Account, ForwardFile, find_forward, find_user, paths
from postmaster.routing.local import INCLUDE_BYTES
from postmaster.routing.server import Server
from postmaster.shell import word

#: Code -> what it means.
LOCAL_CODES = {
    "syntax": "A line that postalias skips, or a target that is none.",
    "duplicate": "A name that stands twice; only the first counts.",
    "dead_target": "A target that is neither an alias nor a user, or a domain's address that is unknown.",
    "loop": "Aliases that lead to one another, or an include file that includes itself.",
    "command": "A command that is not there, or not allowed.",
    "file": "A file that mail cannot be written to, or not allowed.",
    "include": "An include file that cannot be read.",
    "rights": "A file that others may write.",
    "not_built": "postalias has not built the file since it changed, or Postfix does not use or build it.",
    "missing_role": "postmaster or root has no alias, so that its mail reaches nobody who reads it.",
    "passed_over": "A forward file that local(8) passes over.",
}


def check_aliases(server: Server, files: Sequence[AliasFile]) -> Iterator[Finding]:
    """The faults of alias files. Raises ServerError for one that cannot be read."""
    names: dict[str, tuple[AliasFile, Part]] = {}
    for file in files:
        parts = alias_database.read(file)
        yield from _file_itself(server, file)
        seen: set[str] = set()
        for part in alias_file.entries(parts):
            where = f"{file.path}:{part.line}"
            if part.fault is not None or part.name is None:
                yield Finding("syntax", where, f"postalias skips the line: {part.fault}", f"mend {file.path}")
                continue
            if part.name in seen:
                remedy = f"take one of them out of {file.path}"
                yield Finding("duplicate", where, f"{part.name} stands here again; the first counts", remedy)
                continue
            seen.add(part.name)
            names.setdefault(part.name, (file, part))
    for name, (file, part) in names.items():
        yield from _targets(server, name, part.targets, f"{file.path}:{part.line}", names, frozenset())
    yield from _circles(server, names)
    for role in ("postmaster", "root"):
        if role not in names and files:
            yield Finding(
                "missing_role",
                role,
                f"there is no alias {role}: its mail " + _fate(role),
                f"postmaster local alias set {word(role)} ADDRESS",
            )


def check_forward(server: Server, account: Account) -> Iterator[Finding]:
    """The faults of a user's forward files: every one that is there, whichever counts."""
    given = server.parameters
    counting = find_forward(given["forward_path"], account, "", server.addressing.myorigin)
    extensions = sorted(_extensions(server, account))
    found = [
        one for one in (counting, *(_with(server, account, one) for one in extensions)) if one is not None
    ]
    for file in {one.path: one for one in found}.values():
        yield from _forward(server, file, account)


def _with(server: Server, account: Account, extension: str) -> ForwardFile | None:
    return find_forward(server.parameters["forward_path"], account, extension, server.addressing.myorigin)


def _extensions(server: Server, account: Account) -> Iterator[str]:
    """Extensions for which the user has a forward file of their own, as `.forward+lists`."""
    mark = f"{server.addressing.delimiter[:1]}\x01"  # no name of a file has it
    looked = paths(server.parameters["forward_path"], account, mark, server.addressing.myorigin)
    for path, has_extension in looked:
        if not has_extension or path.name.count("\x01") != 1:
            continue
        before, after = path.name.split("\x01")
        try:
            names = os.listdir(path.parent)
        except (OSError, ValueError):
            continue
        for name in names:
            if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
                yield mark[:1] + name[len(before) : len(name) - len(after)]


def _forward(server: Server, file: ForwardFile, account: Account) -> Iterator[Finding]:
    if file.refusal is not None:
        yield Finding(
            "passed_over",
            str(file.path),
            f"local(8) passes it over and delivers to the mailbox: {file.refusal}",
            _taken(file, account),
        )
        return
    if file.mode & 0o020:
        yield _writable(file.path, "the group may write it", account)
    if not file.targets:
        yield Finding(
            "syntax",
            str(file.path),
            "it names no target, so mail goes to the mailbox",
            f"rm {word(file.path)}",
        )
    for number, line in file.lines:
        where = f"{file.path}:{number}"
        if file.targets and not split(line):
            yield Finding("syntax", where, "the line names no target", f"mend {file.path}")
        yield from _targets(server, None, split(line), where, {}, frozenset(), account)


def _taken(file: ForwardFile, account: Account) -> str:
    """What makes local(8) take a forward file.

    Its owner can put a link to any file there at any moment, so nothing here follows one as root.
    """
    if file.refusal == NOT_A_FILE:
        aside = f"{file.path}.old"
        return f"mv -T {word(file.path)} {word(aside)}; let {account.name} write a plain file there"
    mine = f"chown -h {word(account.name)} {word(file.path)}"
    return f"{mine}; runuser -u {word(account.name)} -- chmod 0600 {word(file.path)}"


def _file_itself(server: Server, file: AliasFile) -> Iterator[Finding]:
    if not file.is_used:
        remedy = f"add {file.table} to alias_maps"
        yield Finding(
            "not_built", str(file.path), "alias_maps does not name it: local(8) never reads it", remedy
        )
    if not file.is_rebuilt and file.built is not None:
        remedy = f"add {file.table} to alias_database"
        yield Finding(
            "not_built", str(file.path), "alias_database does not name it: newaliases skips it", remedy
        )
    if file.built is not None and file.path.exists() and alias_database.is_stale(file):
        yield Finding(
            "not_built",
            str(file.built),
            "it is missing or older than the file it is made of: local(8) does not see the last changes",
            f"postalias -c {word(server.config_directory)} {word(file.table)}",
        )
    for path in (file.path, file.built):
        if path is not None and path.exists() and path.stat().st_mode & 0o022:
            yield _writable(path, "others than its owner may write it")


def _writable(path: Path, why: str, account: Account | None = None) -> Finding:
    message = f"{why}, and with it run commands with the rights of its owner"
    by = "" if account is None else f"runuser -u {word(account.name)} -- "
    return Finding("rights", str(path), message, f"{by}chmod go-w {word(path)}")


def _targets(
    server: Server,
    name: str | None,
    targets: Sequence[str],
    where: str,
    names: dict[str, tuple[AliasFile, Part]],
    inside: frozenset[str],
    account: Account | None = None,
) -> Iterator[Finding]:
    kind = "include" if inside else "alias" if account is None else "forward"
    for target in targets:
        if target.startswith("|"):
            yield from _command(server, target, where, kind)
        elif target.startswith(("/", "~")):
            yield from _path(server, target, where, kind, account)
        elif target.lower().startswith(alias_file.INCLUDE):
            yield from _include(server, name, target[len(alias_file.INCLUDE) :], where, names, inside)
        else:
            yield from _address(server, name, target, where, names, account)


def _command(server: Server, target: str, where: str, kind: str) -> Iterator[Finding]:
    if kind not in split_list(server.parameters["allow_mail_to_commands"]):
        message = f"commands are not allowed in {kind}: mail is returned to its sender"
        yield Finding("command", where, message, "take it out, or see allow_mail_to_commands")
        return
    text = target[1:].strip()
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        yield Finding("syntax", where, "| names no command that the shell could read", "mend the line")
        return
    program = words[0]
    if program in ("exec", "if", "test", "[", "cd") or "=" in program:
        return  # the shell's own
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        yield Finding(
            "command", where, f"{program} is not there or cannot be run", f"install it, or mend {where}"
        )


def _path(server: Server, target: str, where: str, kind: str, account: Account | None) -> Iterator[Finding]:
    if kind not in split_list(server.parameters["allow_mail_to_files"]):
        message = f"files are not allowed in {kind}: mail is returned to its sender"
        yield Finding("file", where, message, "take it out, or see allow_mail_to_files")
        return
    text = target
    if target.startswith("~"):
        if not target.startswith("~/") or account is None:
            message = f"{target}: ~/ stands for a home only in a forward file, ~user never does"
            yield Finding("file", where, message, "write the whole path")
            return
        text = str(account.home) + target[1:]
    if text.endswith("/"):
        folder = Path(text)
        if not folder.parent.is_dir():
            yield Finding(
                "file", where, f"the folder {folder.parent} is not there", f"mkdir {word(folder.parent)}"
            )
        return
    path = Path(text)
    try:
        status = path.stat()
    except OSError:
        if not path.parent.is_dir():
            yield Finding(
                "file", where, f"the folder {path.parent} is not there", f"mkdir {word(path.parent)}"
            )
        return
    if stat.S_ISDIR(status.st_mode):
        yield Finding("file", where, f"{path} is a folder", f"write it as {path}/ for a maildir")


def _include(
    server: Server,
    name: str | None,
    text: str,
    where: str,
    names: dict[str, tuple[AliasFile, Part]],
    inside: frozenset[str],
) -> Iterator[Finding]:
    path = Path(text)
    if text in inside:
        yield Finding("loop", where, f"{text} includes itself", f"take the line out of {text}")
        return
    try:
        data, status = read_regular(path, INCLUDE_BYTES)
    except OSError as error:
        message = f"{text} cannot be read: {error.strerror}; mail is returned to its sender"
        yield Finding("include", where, message, f"make {text}")
        return
    if status.st_mode & 0o022:
        yield _writable(path, "others than its owner may write it")
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        if not line.startswith("#"):
            yield from _targets(server, name, split(line), f"{text}:{number}", names, inside | {text})


def _address(
    server: Server,
    name: str | None,
    target: str,
    where: str,
    names: dict[str, tuple[AliasFile, Part]],
    account: Account | None,
) -> Iterator[Finding]:
    address = server.addressing.canonical(target)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        yield Finding("syntax", where, f"{target or '<>'} is no address", "mend the line")
        return
    if server.classes.of(domain) == "local":
        user, _ = server.addressing.split_extension(local.lower())
        known = (one for one in (local.lower(), user) if one in names or find_user(one) is not None)
        if next(known, None) is None and (account is not None or not _in_tables(server, local.lower(), user)):
            yield Finding(
                "dead_target",
                where,
                f"{target} is neither an alias nor a user: mail is returned to its sender",
                f"postmaster local alias set {word(user)} ADDRESS, or take it out",
            )
        return
    from postmaster.routing import reception

    verdict = reception.judge(server, address)
    if verdict.code >= 500:
        yield Finding(
            "dead_target",
            where,
            f"{address} does not take mail: {verdict.code} {verdict.text}",
            f"postmaster address explain {word(quote(address))}",
        )


def _in_tables(server: Server, *names: str) -> bool:
    """Whether some table of aliases has a name: one that is no file, or cannot be read here, may."""
    for table in split_list(server.parameters["alias_maps"]):
        with suppress(ServerError):  # a file that is not built has a finding of its own
            if any(server.tables.find(table, name) is not None for name in names):
                return True
    return False


def _circles(server: Server, names: dict[str, tuple[AliasFile, Part]]) -> Iterator[Finding]:
    """Aliases that lead to one another; one that names itself means the user."""
    leads: dict[str, list[str]] = {}
    for name, (_, part) in names.items():
        found = []
        for target in part.targets:
            if target.startswith(("|", "/", "~")) or target.lower().startswith(alias_file.INCLUDE):
                continue
            local, _, domain = server.addressing.canonical(target).rpartition("@")
            if server.classes.of(domain) != "local":
                continue
            full = local.lower()
            user = server.addressing.split_extension(full)[0]
            one = full if full in names else user
            if one in names and one != name:
                found.append(one)
        leads[name] = found
    for circle in circles(leads):
        file, part = names[circle[0]]
        yield Finding(
            "loop",
            f"{file.path}:{part.line}",
            f"mail goes in a circle: {' → '.join([*circle, circle[0]])}",
            f"postmaster local alias set {word(circle[0])} ADDRESS",
        )


def _fate(role: str) -> str:
    if role == "postmaster":
        return "is thrown away with a warning in the log"
    return "stays in a mailbox that nobody may read"
