"""Directories by chance: chains, catch-alls, extensions, alias domains, forwards, circles, dead ends.

Written as plain rows, so that there is in them what the rules refuse: an older version, a hand at work in
the database or a bug may have left it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert

from postmaster.directory import schema
from postmaster.directory.database import Directory
from tests.tools.building import HASH

MADE_AT = datetime(2026, 6, 1)  # naive, UTC: as the tables hold it
PAST, FUTURE = datetime(2026, 6, 2), datetime(2099, 1, 1)
NAMES = ("amy", "bob", "carl", "dora", "l1", "l2", "team", "postmaster", "o'neil", "a.b")


@dataclass(frozen=True, slots=True)
class Generated:
    """One directory: its domains, rows, and addresses that are worth asking about."""

    rows: dict[str, list[dict[str, object]]]
    asked: tuple[str, ...]


def generate(number: int, foreign: Sequence[str] = ()) -> Generated:
    """The directory with this number, the same each time. `foreign` are addresses besides to lead to."""
    chance = random.Random(number)
    first = number * 1000 + 1
    homes = [f"g{number}-{n}.test" for n in range(chance.randint(1, 2))]
    twins = [f"t{number}-{n}.test" for n in range(chance.randint(0, 2))]
    domains: list[dict[str, object]] = []
    home_ids = {}
    for at, name in enumerate(homes):
        home_ids[name] = first + at
        domains.append({"id": first + at, "name": name, "alias_of_id": None, "created_at": MADE_AT})
    stands_for = {}
    for at, name in enumerate(twins):
        stands_for[name] = chance.choice(homes)
        row = {"id": first + 10 + at, "name": name, "alias_of_id": home_ids[stands_for[name]]}
        domains.append({**row, "created_at": MADE_AT})
    places = [(home, local) for home in homes for local in NAMES if chance.random() < 0.7]
    places += [(home, "") for home in homes if chance.random() < 0.5]
    addresses: list[dict[str, object]] = []
    accounts: list[dict[str, object]] = []
    targets: list[dict[str, object]] = []
    every = [f"{local}@{home}" for home, local in places if local]
    every += [
        f"{local}@{twin}" for twin in twins for home, local in places if home == stands_for[twin] and local
    ]
    outside = ["x@elsewhere.test", "y+z@other.test", '"odd name"@elsewhere.test', *foreign]
    for at, (home, local) in enumerate(places):
        number_of = first + 100 + at
        is_user = bool(local) and chance.random() < 0.5
        kind = "user" if is_user else "alias"
        row = {"id": number_of, "domain_id": home_ids[home], "local_part": local, "kind": kind}
        until = chance.choice([None, *[None] * 8, PAST, FUTURE])
        addresses.append({**row, "created_at": MADE_AT, "until": until})
        if is_user:
            switches = dict.fromkeys(("login", "imap", "pop3", "send"), True)
            account = {"id": number_of, "mail_id": f"{number_of:020x}", "name": "", "password": HASH}
            receive, keep = chance.random() < 0.85, chance.random() < 0.6
            forward_until = chance.choice([None, None, None, PAST, FUTURE])
            locked_at = MADE_AT if chance.random() < 0.1 else None
            account |= {"keep_copy": keep, "forward_until": forward_until, "locked_at": locked_at}
            accounts.append({**account, **switches, "receive": receive, "quota": None})
            if chance.random() < 0.6:
                continue
        wanted: dict[str, None] = {}
        for _ in range(chance.randint(1, 3)):
            one = chance.choice([*every, *every, *outside, f"nobody@{home}"])
            if chance.random() < 0.2 and not one.startswith('"'):
                name, _, domain = one.rpartition("@")
                one = f"{name}+own@{domain}" if "+" not in name else one
            wanted[one] = None
        for position, one in enumerate(wanted):
            name, _, domain = one.rpartition("@")
            base = name.partition("+")[0] or name
            row = {"id": number_of * 10 + position, "source_id": number_of, "position": position}
            targets.append({**row, "local_part": name, "base": base, "domain": domain})
    asked = [
        *every,
        *(one.replace("@", "+tag@") for one in chance.sample(every, min(4, len(every)))),
        *(f"unknown@{name}" for name in (*homes, *twins)),
        *(f"un+known@{name}" for name in homes),
        chance.choice(every).upper() if every else f"A@{homes[0]}",
    ]
    rows = {"domain": domains, "address": addresses, "account": accounts, "target": targets}
    return Generated(rows, tuple(dict.fromkeys(asked)))


def put(directory: Directory, many: Iterable[Generated]) -> None:
    """Make these the whole content of a directory, and publish it."""
    made = list(many)
    with directory.change() as change:
        for table in (
            schema.sender_grant,
            schema.app_password,
            schema.target,
            schema.account,
            schema.address,
        ):
            change.connection.execute(delete(table))
        change.connection.execute(delete(schema.domain).where(schema.domain.c.alias_of_id.is_not(None)))
        change.connection.execute(delete(schema.domain))
        for name in ("domain", "address", "account", "target"):
            rows = [row for one in made for row in one.rows[name]]
            if rows:
                change.connection.execute(insert(schema.metadata.tables[name]), rows)
    directory.publish(rebuild=True)
