"""Renaming users and domains: the directory first, then what is open and what waits under the old name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from postmaster.address import Address, Domain
from postmaster.directory import graph, rename, users
from postmaster.directory.database import Directory
from postmaster.directory.rename import RenamedDomain, RenamedUser
from postmaster.dovecot import doveadm
from postmaster.lifecycle import queued
from postmaster.lifecycle.steps import Progress, Step, take
from postmaster.queue import expression
from postmaster.queue.action import Verb
from postmaster.settings import Settings

Record = TypeVar("Record")


@dataclass(slots=True)
class Renamed(Generic[Record]):
    """What was renamed; what was done in the queue; steps that could not be done, and why."""

    record: Record
    entry: int | None
    acted: queued.Acted | None = None
    failed: list[str] = field(default_factory=list)

    @property
    def requeued(self) -> int:
        """How many messages look for the old address anew."""
        return 0 if self.acted is None else self.acted.count(Verb.requeue)

    @property
    def on_hold(self) -> int:
        """How many wait on hold, for the old address as it was: released, they would come back."""
        return 0 if self.acted is None else self.acted.on_hold


def rename_user(
    directory: Directory,
    old: Address,
    new: Address,
    *,
    keep_alias: bool = True,
    until: datetime | None = None,
    reason: str | None = None,
    progress: Progress = lambda _: None,
) -> Renamed[RenamedUser]:
    """Give a user another address, end the sessions under the old one, and requeue what waits for it.

    Raises NotFoundError, ExistsError, RuleError; PartialError where it could not be published.
    """
    with directory.change() as change:
        record = rename.rename_user(change, old, new, keep_alias=keep_alias, until=until)
    renamed = Renamed(record, change.number)
    where = record.before.address
    _follow(
        directory.settings,
        renamed,
        [where.ascii],
        queued.for_recipient(where) if keep_alias else None,
        f"user rename {old} {new}",
        reason,
        progress,
    )
    return renamed


def rename_domain(
    directory: Directory,
    old: Domain,
    new: Domain,
    *,
    keep_alias: bool = True,
    reason: str | None = None,
    progress: Progress = lambda _: None,
) -> Renamed[RenamedDomain]:
    """Give a domain another name, end the sessions of its users, and requeue what waits for it.

    Raises NotFoundError, ExistsError, RuleError; PartialError where it could not be published.
    """
    with directory.change() as change:
        here = graph.hosted(change.connection, old)
        own = here is not None and not here.is_alias
        there = list(users.list_all(change.connection, old)) if own else []
        record = rename.rename_domain(change, old, new, keep_alias=keep_alias)
    renamed = Renamed(record, change.number)
    waiting = expression.term("recipient-domain", "=", old.ascii) if keep_alias else None
    logins = [one.address.ascii for one in there]
    _follow(directory.settings, renamed, logins, waiting, f"domain rename {old} {new}", reason, progress)
    return renamed


def _follow(
    settings: Settings,
    renamed: Renamed[Record],
    logins: list[str],
    waiting: expression.Node | None,
    command: str,
    reason: str | None,
    progress: Progress,
) -> None:
    steps: list[Step] = [("ending sessions", lambda: end_sessions(settings, logins))]

    def requeue() -> None:
        assert waiting is not None
        renamed.acted = queued.act_on(settings, Verb.requeue, waiting, command=command, reason=reason)

    has_postfix = (settings.postfix.config_directory / "main.cf").exists()
    if waiting is not None and has_postfix:
        steps.append(("requeuing what waits for the old name", requeue))
    renamed.failed = take(steps, progress)


def end_sessions(settings: Settings, logins: list[str]) -> None:
    """End what is open of logins that are none any more. Raises ProcessError."""
    config = settings.dovecot.config
    if not logins or not config.exists() or doveadm.master_pid(config) is None:
        return
    open_now = doveadm.logged_in(config)
    for login in logins:
        if login in open_now:
            doveadm.kick(config, login)
