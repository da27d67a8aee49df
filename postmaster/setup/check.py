"""Whether the servers answer what the directory says: every domain and address, asked live.

Postfix's tables are asked through proxymap as its daemons do, Dovecot through doveadm. What should be
answered is worked out here from the truth, not from the look-ups, so an error in publishing shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from postmaster.address import Address, LocalPart
from postmaster.directory import addresses, aliases, domains, forwards, grants, graph, users
from postmaster.directory.database import open_directory
from postmaster.directory.dead_ends import DeadEnds
from postmaster.directory.records import Alias, Forward, User
from postmaster.dovecot import doveadm
from postmaster.errors import NotFoundError, RuleError, ServerError
from postmaster.postfix import classes, control, maps, postconf
from postmaster.postfix.classes import VIRTUAL_ALIAS, VIRTUAL_MAILBOX, DomainClasses, conflicts
from postmaster.postfix.tables import Tables
from postmaster.process import DEFAULT_TIMEOUT
from postmaster.settings import Settings
from postmaster.setup.options import SetupOptions
from postmaster.setup.plan import postmaster_address
from postmaster.shell import word

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
class Sample:
    """So many users and aliases, the same ones for the same `turn`."""

    size: int
    turn: int

    def users(self, reading: Connection) -> list[User]:
        return [users.show(reading, where) for where in self._some(reading, "user")]

    def aliases(self, reading: Connection) -> list[Alias]:
        return [aliases.show(reading, where) for where in self._some(reading, "alias")]

    def forwards(self, reading: Connection, some: list[User]) -> Iterator[Forward]:
        for user in some:
            with suppress(NotFoundError):
                yield forwards.show(reading, user.address)

    def _some(self, reading: Connection, kind: str) -> list[Address]:
        return addresses.some(reading, kind, self.size, self.turn)


@dataclass(frozen=True, slots=True)
class Checked:
    asked: int
    findings: tuple[Finding, ...]


def check(
    settings: Settings, reading: Connection, *, sample: Sample | None = None, timeout: float = DEFAULT_TIMEOUT
) -> Checked:
    """Ask about everything, or about every domain and a sample of the addresses.

    `timeout` is for each program that is started. Raises ServerError, ProcessError when a server cannot be
    asked at all.
    """
    directory = settings.postfix.config_directory
    if control.master_pid(directory) is None:  # postmap would try for a minute to reach its proxymap
        raise ServerError("Postfix does not run", hint="postmaster setup apply starts it; or: postfix start")
    asked, findings = 0, list(_class_conflicts(settings, reading))
    for table, expected in _expected(reading, sample).items():
        name = table.table(directory, maps.kind(settings.lookups.source))
        answers = control.query(directory, name, expected, timeout=timeout)
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
    if sample is not None:
        logins, told = _logins(settings, sample.users(reading), timeout)
        return Checked(asked + logins, (*findings, *told))
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


def _logins(settings: Settings, some: list[User], timeout: float) -> tuple[int, list[Finding]]:
    """(how many were asked, what Dovecot says wrong) about users, and whether each may log in by IMAP."""
    config, now = settings.dovecot.config, datetime.now(UTC)
    may = [user.address.ascii for user in some if user.imap and user.scheme and user.may_log_in(now)]
    everyone = [user.address.ascii for user in some]
    others = sorted(set(everyone).difference(may))
    lost = doveadm.unknown(config, everyone, timeout=timeout)
    refused = doveadm.unknown(config, may, service="imap", timeout=timeout) - lost
    let_in = set(others) - doveadm.unknown(config, others, service="imap", timeout=timeout)
    told = [
        *((one, "does not know this user") for one in sorted(lost)),
        *((one, "lets this user log in no more") for one in sorted(refused)),
        *((one, "lets this user log in, who must not") for one in sorted(let_in)),
    ]
    return len(everyone), [
        Finding("dovecot_differs", one, f"Dovecot {what}", "postmaster publish --rebuild")
        for one, what in told
    ]


def require_postmaster(settings: Settings, options: SetupOptions) -> None:
    """Undeliverable bounces must reach someone: an address of the directory. Raises RuleError."""
    wanted = postmaster_address(settings, options, postconf.explicit(settings.postfix.config_directory))
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
            hint=f"postmaster user add {word(wanted)}",
        )
    if not here:
        raise RuleError(
            f"{wanted} is not in the directory: a bounce that cannot be delivered must not leave the house",
            hint=f"postmaster domain add {word(wanted.domain)}",
        )


def _expected(reading: Connection, sample: Sample | None = None) -> dict[maps.Map, dict[str, frozenset[str]]]:
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
    if sample is None:
        everyone, others = list(users.list_all(reading)), aliases.list_all(reading)
        forwarding = {one.address: one for one in forwards.list_all(reading)}
    else:
        everyone, others = sample.users(reading), iter(sample.aliases(reading))
        forwarding = {one.address: one for one in sample.forwards(reading, everyone)}
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
    for alias in others:
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
