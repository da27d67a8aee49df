"""Whether the servers answer what the directory says: every domain and address, asked live.

Postfix's tables are asked through proxymap as its daemons do, Dovecot through doveadm. What should be
answered is worked out here from the truth, not from the look-ups, so an error in publishing shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postmaster.address import Address, LocalPart
from postmaster.directory import aliases, domains, forwards, grants, graph, users
from postmaster.directory.database import open_directory
from postmaster.directory.dead_ends import DeadEnds
from postmaster.dovecot import doveadm
from postmaster.errors import RuleError
from postmaster.postfix import classes, control, maps, postconf
from postmaster.postfix.classes import VIRTUAL_ALIAS, VIRTUAL_MAILBOX, DomainClasses, conflicts
from postmaster.postfix.tables import Tables
from postmaster.settings import Settings
from postmaster.setup.options import SetupOptions
from postmaster.setup.plan import postmaster_address

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and what mends it."""

    code: str
    object: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Checked:
    asked: int
    findings: tuple[Finding, ...]


def check(settings: Settings, reading: Connection) -> Checked:
    """Ask about everything. Raises ProcessError when a server cannot be asked at all."""
    directory = settings.postfix.config_directory
    asked, findings = 0, list(_class_conflicts(settings, reading))
    for table, expected in _expected(reading).items():
        answers = control.query(
            directory, table.table(directory, maps.kind(settings.lookups.source)), expected
        )
        asked += len(expected)
        for key, wanted in expected.items():
            got = frozenset(answers[key].split(",")) if key in answers else frozenset()
            if got != wanted:
                said, should = ", ".join(sorted(got)) or "nothing", ", ".join(sorted(wanted)) or "nothing"
                findings.append(
                    Finding(
                        "postfix_differs",
                        key,
                        f"{table.name} answers {said}, the directory says {should}",
                        "postmaster publish --rebuild",
                    )
                )
    known = {user.address.ascii for user in users.list_all(reading)}
    listed = set(doveadm.users(settings.dovecot.config))
    asked += len(known)
    for login in sorted(known ^ listed):
        says = (
            "does not know this user" if login in known else "knows a user that the directory does not have"
        )
        if login in known or "@" in login:
            findings.append(
                Finding("dovecot_differs", login, f"Dovecot {says}", "postmaster publish --rebuild")
            )
    return Checked(asked, tuple(findings))


def require_postmaster(settings: Settings, options: SetupOptions) -> None:
    """Undeliverable bounces must reach someone: an address of the directory. Raises RuleError."""
    wanted = postmaster_address(settings, options)
    if wanted is None:
        raise RuleError(
            "nobody would get undeliverable bounces",
            hint="name an address of the directory with --postmaster, or in mail.postmaster",
        )
    with open_directory(settings) as directory, directory.read() as reading:
        here, node = graph.lead(reading, wanted)
    if here and node is None:
        raise RuleError(
            f"{wanted} does not exist, so undeliverable bounces would be lost",
            hint=f"postmaster user add {wanted}",
        )
    if not here:
        raise RuleError(
            f"{wanted} is not in the directory: a bounce that cannot be delivered must not leave the house",
            hint=f"postmaster domain add {wanted.domain}",
        )


def _expected(reading: Connection) -> dict[maps.Map, dict[str, frozenset[str]]]:
    """Table -> key -> what it should answer, for every domain and address."""
    answers: dict[maps.Map, dict[str, frozenset[str]]] = {table: {} for table in maps.MAPS}
    twins: dict[str, list[str]] = {}
    for domain in domains.list_all(reading):
        name = domain.name.ascii
        here, there = maps.MAILBOX_DOMAINS, maps.ALIAS_DOMAINS
        if domain.alias_of is not None:
            here, there = there, here
            twins.setdefault(domain.alias_of.ascii, []).append(name)
        answers[here][name] = frozenset([name])
        answers[there][name] = frozenset()
    everyone = list(users.list_all(reading))
    forwarding = {one.address: one for one in forwards.list_all(reading)}
    granted: dict[str, set[str]] = {}
    for grant in grants.list_all(reading):
        granted.setdefault(grant.address.ascii, set()).add(grant.user.ascii)
    ends, now = DeadEnds(reading), datetime.now(UTC)
    moment = now.timestamp()

    def expect(table: maps.Map, where: Address, own: set[str], in_twins: set[str] | None = None) -> None:
        answers[table][where.ascii] = frozenset(own)
        for name in twins.get(where.domain.ascii, ()):
            answers[table][f"{where.local.text}@{name}"] = frozenset(own if in_twins is None else in_twins)

    def owners(where: Address) -> set[str]:
        whole = Address(where.domain, LocalPart(""))
        return granted.get(where.ascii, set()) | granted.get(whole.ascii, set())

    for user in everyone:
        where = user.address
        forward = forwarding.get(where)
        goes = {where.ascii} if ends.keeps(user.id).has(moment) else set()
        for one in forward.targets if forward else ():
            goes |= {one.ascii} if ends.open_target(user.id, one).has(moment) else set()
        expect(maps.MAILBOXES, where, {where.ascii}, set())
        expect(maps.ALIASES, where, goes, {where.ascii})
        expect(maps.SENDER_OWNERS, where, {where.ascii} | owners(where))
        answers[maps.SENDING_LOGINS][where.ascii] = frozenset(["OK"] if user.may_send(now) else [])
        expect(maps.CLOSED_RECIPIENTS, where, set() if ends.is_open(user.id) else {_REFUSAL})
    for alias in aliases.list_all(reading):
        goes = {t.ascii for t in alias.targets if ends.open_target(alias.id, t).has(moment)}
        if alias.address.is_catch_all:
            answers[maps.CATCH_ALLS][alias.address.ascii] = frozenset(goes)
            continue
        expect(maps.ALIASES, alias.address, goes, {alias.address.ascii})
        expect(maps.CLOSED_RECIPIENTS, alias.address, set() if goes else {_REFUSAL})
        expect(maps.SENDER_OWNERS, alias.address, owners(alias.address))
    # The refusal has commas of its own, which the answer is split at.
    refusals = answers[maps.CLOSED_RECIPIENTS]
    for key, wanted in refusals.items():
        refusals[key] = frozenset(part for text in wanted for part in text.split(","))
    return answers


_REFUSAL = "550 5.2.1 Mailbox disabled, not accepting messages"


def _class_conflicts(settings: Settings, reading: Connection) -> Iterator[Finding]:
    """Domains of ours that Postfix also takes for domains of another class."""
    directory = settings.postfix.config_directory
    ours = {
        domain.name.ascii: VIRTUAL_ALIAS if domain.alias_of is not None else VIRTUAL_MAILBOX
        for domain in domains.list_all(reading)
    }
    parameters = postconf.expanded(directory, classes.PARAMETERS)
    tables = Tables(directory, running=control.master_pid(directory) is not None)
    with closing(tables):
        for name, parameter, winner in conflicts(DomainClasses(parameters, tables), ours):
            yield Finding(
                "two_classes",
                name,
                f"the domain is hosted here and in {parameter}; {winner} wins",
                f"take it out of {parameter} in main.cf",
            )
