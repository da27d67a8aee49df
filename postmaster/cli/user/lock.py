"""`postmaster user lock | unlock`: a stolen account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address
from postmaster.cli.state import Output, Reason, Yes, confirm, held_of, print_record, progress, say, state_of
from postmaster.cli.user.options import Generate, HashStdin, PasswordStdin, Where, ask_secret
from postmaster.errors import PartialError
from postmaster.render.output import Format, moment
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.lifecycle.lock import Locked
    from postmaster.trace.sent import Sent

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster user lock amy@example.org --reason 'sends spam'; "
    "postmaster user lock amy@example.org --since 30d --yes -o json"
)
def lock(
    context: typer.Context,
    address: Where,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Tell what was sent from then on: 7d, yesterday, 2026-05-28.")
    ] = "7d",
    yes: Yes = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Lock a stolen account, in one step, and tell what it sent.

    No login on any protocol, with any password; sessions end; what it forwards or redirects stays here; its
    messages in the queue are held, and nobody else's. Mail for it still arrives. To do it again does no harm.
    """
    from postmaster.directory import users
    from postmaster.lifecycle import lock as locking
    from postmaster.trace.times import moment as parse_moment

    where = parse_address(address)
    begin = parse_moment(since, time.time())
    with state_of(context).directory(f"user lock {where}", reason=reason) as directory:
        with directory.read() as reading:
            user = users.show(reading, where)
        confirm(f"Lock {user.address}, end its sessions and hold its queued mail?", yes=yes)
        done = locking.lock(directory, where, since=begin, reason=reason, progress=progress())
    print_record(output, _for_people(done) if output is Format.table else row(done))
    if output is Format.table:
        say(f"open it again with a new password: postmaster user unlock {word(done.user.address)}")
    if done.failed:
        raise PartialError(
            f"{done.user.address} is locked, but not everything could be done: {'; '.join(done.failed)}",
            hint="run it again",
        )


@app.command(
    epilog="Examples: postmaster user unlock amy@example.org --generate; "
    "postmaster user unlock amy@example.org --keep-app-passwords"
)
def unlock(
    context: typer.Context,
    address: Where,
    password_stdin: PasswordStdin = False,
    hash_stdin: HashStdin = False,
    generate: Generate = False,
    keep_app_passwords: Annotated[
        bool, typer.Option("--keep-app-passwords", help="Let them in again; else they are revoked.")
    ] = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Open a locked account with a new password; the one it has is refused, as somebody else may know it.

    Held mail stays on hold until it is released.
    """
    from postmaster.directory import users
    from postmaster.errors import RuleError
    from postmaster.lifecycle import lock as locking

    where = parse_address(address)
    with state_of(context).directory(f"user unlock {where}", reason=reason) as directory:
        with directory.read() as reading:
            user = users.show(reading, where)  # before anybody is asked for a password
        if user.locked_at is None:
            raise RuleError(
                f"{user.address} is not locked", hint=f"postmaster user password {word(user.address)}"
            )

        def check(password: str) -> None:
            with directory.read() as reading:
                users.refuse_again(reading, where, password)

        hashed, generated = ask_secret(where, password_stdin, hash_stdin, generate, check=check)
        opened = locking.unlock(directory, where, hashed, keep_app_passwords=keep_app_passwords)
    login = opened.user.address.ascii
    if output is Format.table:
        held = held_of("sasl", login)
        say(f"its held mail: postmaster queue list {held}, then release or delete")
    print_record(
        output,
        {
            "address": opened.user.address.unicode,
            "scheme": opened.user.scheme,
            "app_passwords_revoked": list(opened.revoked),
            "app_passwords_kept": list(opened.kept),
            **generated,
        },
    )


def row(done: Locked) -> dict[str, Any]:
    """What JSON has of a lock."""
    from postmaster.queue.action import Verb

    held = done.held
    return {
        "address": done.user.address.unicode,
        "locked_at": done.user.locked_at,
        "entry": done.entry,
        "forwards_off": [one.unicode for one in done.forwards],
        "app_passwords_off": list(done.app_passwords),
        "scripts": [
            {"name": one.name, "active": one.is_active, "redirects": list(one.addresses)}
            for one in done.scripts
        ],
        "sessions_ended": done.sessions,
        "held": None if held is None else held.count(Verb.hold),
        "held_action": None if held is None else held.number,
        "not_held": []
        if held is None
        else [
            {"queue_id": one.message.queue_id, "outcome": one.outcome, "detail": one.detail}
            for one in held.others(Verb.hold)
        ],
        "sent": None if done.sent is None else _sent_row(done.sent),
        "failed": list(done.failed),
    }


def _sent_row(sent: Sent) -> dict[str, Any]:
    return {
        "messages": sent.messages,
        "recipients": sent.recipients,
        "delivered": sent.delivered,
        "bounced": sent.bounced,
        "first": None if sent.first is None else moment(int(sent.first)),
        "last": None if sent.last is None else moment(int(sent.last)),
        "clients": [{"address": name, "messages": count} for name, count in sent.clients],
        "domains": [{"domain": name, "recipients": count} for name, count in sent.domains],
        "findings": [{"kind": one.kind, "evidence": one.evidence} for one in sent.findings],
    }


def _for_people(done: Locked) -> dict[str, Any]:
    full = row(done)
    sent = full.pop("sent")
    shown = {key: value for key, value in full.items() if key not in ("failed", "entry")}
    shown["scripts"] = [
        f"{one['name']}{' (active)' if one['active'] else ''}: {', '.join(one['redirects'])}"
        for one in full["scripts"]
    ]
    shown["not_held"] = [f"{one['queue_id']}: {one['outcome']}" for one in full["not_held"]]
    if sent is not None:
        shown["sent"] = (
            f"{sent['messages']} messages to {sent['recipients']} recipients, {sent['bounced']} bounced"
        )
        shown["sent_from"] = [f"{one['address']} {one['messages']}" for one in sent["clients"]]
        shown["sent_to"] = [f"{one['domain']} {one['recipients']}" for one in sent["domains"]]
        shown["suspicious"] = [one["evidence"] for one in sent["findings"]]
    return shown
