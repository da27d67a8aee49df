"""docker-mailserver: the files of its `config` folder, as its `setup` command writes them.

`postfix-accounts.cf` (`address|{SCHEME}hash|extra fields`, the last as in a passwd-file of Dovecot's),
`postfix-virtual.cf` (`address target,target`, read by Postfix as `texthash:`, so a line that begins with a
space goes on with the one before, and of two lines for an address the first counts), `dovecot-quotas.cf`
(`address:10M`, before what the account's own fields say), `postfix-send-access.cf` and
`postfix-receive-access.cf` (`address REJECT`).
"""

from __future__ import annotations

from pathlib import Path

from postmaster.bulk.foreign.dump import lines
from postmaster.bulk.foreign.gathering import Gathered
from postmaster.bulk.foreign.passwd_file import extra_fields
from postmaster.bulk.foreign.tables import content
from postmaster.bulk.reading import SIZE_LIMIT, decoded
from postmaster.errors import NotFoundError, UsageError

ROOT = "/var/mail"
SOURCE = "its config folder"
_ACCOUNTS, _VIRTUAL, _QUOTAS = "postfix-accounts.cf", "postfix-virtual.cf", "dovecot-quotas.cf"
_SEND, _RECEIVE = "postfix-send-access.cf", "postfix-receive-access.cf"


def gather(source: str, into: Gathered) -> None:
    folder = Path(source)
    if folder.name == _ACCOUNTS:
        folder = folder.parent
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint=f"name the folder that has {_ACCOUNTS}")
    if not (folder / _ACCOUNTS).exists():
        raise UsageError(f"{folder} has no {_ACCOUNTS}", hint="name the config folder of docker-mailserver")
    quotas = _quotas(folder, into)
    rejected = {name: _rejected(folder, name, into) for name in (_SEND, _RECEIVE)}
    people = set()
    for place, line in _read(folder, _ACCOUNTS):
        address, bar, rest = line.strip().partition("|")
        if not bar:
            into.problem(place, "user", address, "has no | before a hash")
            continue
        hashed, _, extra = rest.partition("|")
        known = address.lower()
        people.add(known)
        local, _, domain = known.rpartition("@")
        given = extra_fields(address, extra, into)
        if known in quotas:
            given["quota_bytes"] = quotas.pop(known)
        into.user(
            place,
            address,
            password=hashed,
            folder=f"{domain}/{local}",
            send=known not in rejected[_SEND],
            receive=known not in rejected[_RECEIVE],
            **given,
        )
    for address in quotas:
        into.note(f"a quota is for {address[:100]}, who is no account")
    _virtual(folder, people, into)
    into.domains_of_addresses()
    _others(folder, into)


def _quotas(folder: Path, into: Gathered) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for place, line in _read(folder, _QUOTAS):
        address, colon, size = (one.strip() for one in line.partition(":"))
        if colon:
            found[address.lower()] = size if size.strip("0Bb") else None
        else:
            into.problem(place, "user", address, "has no colon before a quota")
    return found


def _rejected(folder: Path, name: str, into: Gathered) -> set[str]:
    found = set()
    for place, line in _read(folder, name):
        who, *action = line.split()
        if action[:1] == ["REJECT"] and "@" in who:
            found.add(who.lower())
        else:
            into.note(f"{place}: {line.strip()[:100]!r} has no counterpart here")
    return found


def _virtual(folder: Path, people: set[str], into: Gathered) -> None:
    entries: list[tuple[str, str]] = []
    for place, line in _read(folder, _VIRTUAL):
        if line[0] in " \t" and entries:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line}")
        else:
            entries.append((place, line))
    seen: set[str] = set()
    for place, line in entries:
        address, *targets = line.replace(",", " ").split() or [""]
        if not targets:
            into.problem(place, "alias", address, "leads to no address")
        elif "@" not in address:
            into.note(
                f"{address[:100]} is a name of the machine's own there, without a domain, and is left out"
            )
        elif address.lower() in seen:
            into.note(f"{place} names {address[:100]} again, which does nothing there, and is left out")
        else:
            seen.add(address.lower())
            into.route(place, address, targets, people)


def _others(folder: Path, into: Gathered) -> None:
    """Files of the same folder that say more of accounts: patterns, relays, keys, scripts."""
    read = {_ACCOUNTS, _VIRTUAL, _QUOTAS, _SEND, _RECEIVE}
    into.not_read(
        [
            one.name
            for one in folder.iterdir()
            if one.name not in read
            and one.suffix in (".cf", ".sieve")
            and one.is_file()
            and one.stat().st_size
        ]
    )


def _read(folder: Path, name: str) -> list[tuple[str, str]]:
    """(place, line) of a file's lines; none where it is not there."""
    file = folder / name
    if not file.exists():
        return []
    text = decoded(content(file, SIZE_LIMIT), str(file))
    return [(f"{name} line {number}", line) for number, line in lines(text)]
