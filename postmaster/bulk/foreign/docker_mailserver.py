"""docker-mailserver: the files of its `config` folder.

`postfix-accounts.cf` (`address|{SCHEME}hash|extra fields`), `postfix-virtual.cf` and `postfix-aliases.cf`
(`address target,target`), `dovecot-quotas.cf` (`address:10M`), `postfix-send-access.cf` and
`postfix-receive-access.cf` (`address REJECT`).
"""

from __future__ import annotations

from pathlib import Path

from postmaster.bulk.foreign.dump import lines
from postmaster.bulk.foreign.gathering import Gathered, own_and_others
from postmaster.bulk.foreign.tables import content
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.errors import NotFoundError, UsageError

ROOT = "/var/mail"
SOURCE = "its config folder"
_ACCOUNTS, _VIRTUAL, _QUOTAS = "postfix-accounts.cf", "postfix-virtual.cf", "dovecot-quotas.cf"
_SEND, _RECEIVE = "postfix-send-access.cf", "postfix-receive-access.cf"
#: Files that say something of accounts and have no counterpart.
_LOST = ("postfix-regexp.cf", "postfix-aliases.cf", "dovecot-masters.cf", "postfix-relaymap.cf")


def gather(source: str, into: Gathered) -> None:
    folder = Path(source)
    if folder.name == _ACCOUNTS:
        folder = folder.parent
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint=f"name the folder that has {_ACCOUNTS}")
    if not (folder / _ACCOUNTS).exists():
        raise UsageError(f"{folder} has no {_ACCOUNTS}", hint="name the config folder of docker-mailserver")
    quotas: dict[str, str] = {}
    for _, place, line in _read(folder, _QUOTAS):
        address, colon, size = line.strip().partition(":")
        if colon:
            quotas[address.lower()] = size.strip()
        else:
            into.problem(place, "user", address, "has no colon before a quota")
    rejected = {
        name: {line.split()[0].lower() for _, _, line in _read(folder, name)} for name in (_SEND, _RECEIVE)
    }
    people = set()
    for _, place, line in _read(folder, _ACCOUNTS):
        address, bar, rest = line.strip().partition("|")
        if not bar:
            into.problem(place, "user", address, "has no | before a hash")
            continue
        hashed, _, extra = rest.partition("|")
        people.add(address.lower())
        local, _, domain = address.lower().rpartition("@")
        size = quotas.pop(address.lower(), "0")
        into.user(
            place,
            address,
            password=hashed,
            folder=f"{domain}/{local}",
            quota_bytes=None if size == "0" else size,
            send=address.lower() not in rejected[_SEND],
            receive=address.lower() not in rejected[_RECEIVE],
        )
        if extra:
            into.note(f"{address}: the fields {extra[:60]!r} have no counterpart here")
    for address in quotas:
        into.note(f"a quota is for {address[:100]}, who is no account")
    _virtual(folder, people, into)
    into.domains_of_addresses()
    for name in _LOST:
        if count := len(_read(folder, name)):
            into.note(f"{count} lines of {name} have no counterpart here")


def _virtual(folder: Path, people: set[str], into: Gathered) -> None:
    found: dict[str, tuple[str, list[str]]] = {}
    for _, place, line in _read(folder, _VIRTUAL):
        address, _, rest = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        targets = [one.strip() for one in rest.replace(" ", ",").split(",") if one.strip()]
        if not targets:
            into.problem(place, "alias", address, "leads to no address")
            continue
        # The same address on several lines is one alias with all of their targets.
        found.setdefault(address.lower(), (place, []))[1].extend(targets)
    for address, (place, targets) in found.items():
        keeps, others = own_and_others(address, targets)
        if address in people:
            into.forward(place, address, others, keep_copy=keeps)
        else:
            into.alias(place, address, others)


def _read(folder: Path, name: str) -> list[tuple[int, str, str]]:
    """(number, place, line) of a file's lines; none where it is not there."""
    file = folder / name
    if not file.exists():
        return []
    text = decoded(content(file, SIZE_LIMIT), str(file))
    return [(number, f"{name} line {number}", line) for number, line in lines(text)]
