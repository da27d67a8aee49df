"""`postmaster user chpasswd`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.address import Address, parse_address
from postmaster.cli.state import DryRun, Output, Reason, bar, print_record, say, say_undo, state_of
from postmaster.errors import PartialError, PostmasterError, RuleError, UsageError
from postmaster.render.output import Format

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)

LINE_LIMIT = 4096  # bytes
INPUT_LIMIT = 256 << 20  # bytes


@app.command(
    epilog="Examples: postmaster user chpasswd < passwords; "
    "postmaster user chpasswd --hashes --keep-going < hashes"
)
def chpasswd(
    context: typer.Context,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="The lines have hashes, as {SCHEME}hash, not passwords.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out lines that cannot be, and take the rest.")
    ] = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Give many users new passwords: lines `address:password` on standard input.

    All of them or none. Each hash takes some 30 ms of a processor. Passwords are never shown again.
    """
    from postmaster.directory import passwords, users

    if sys.stdin.isatty():
        raise UsageError("lines are read from standard input", hint="postmaster user chpasswd < FILE")
    data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    if len(data) > INPUT_LIMIT:
        raise UsageError(f"standard input has more than {INPUT_LIMIT >> 20} MiB", hint="split it")
    entry = None
    changed = 0
    with state_of(context).directory("user chpasswd", reason=reason) as directory:
        with directory.read() as reading:
            secrets, problems = _look(
                reading, data, passwords.check_hash if hashes else passwords.check_password
            )
        refused = bool(problems) and not keep_going
        if not refused and not dry_run:
            if not hashes:
                secrets = _hashed(secrets)
            with directory.change() as change:
                users.set_passwords(change, secrets)
            entry, changed = change.number, len(secrets)
    if output is Format.table:
        for number, shown, message in problems:
            say(f"line {number}: {shown + ': ' if shown else ''}{message}")
        say_undo(entry)
    if output is not Format.table or not refused:
        print_record(
            output,
            {
                "changed": changed,
                "refused": len(problems),
                "entry": entry,
                "problems": [
                    {"line": number, "address": shown or None, "message": message}
                    for number, shown, message in problems
                ],
            },
        )
    if refused:
        raise RuleError(
            f"{len(problems)} lines cannot be taken, and nothing is changed",
            hint="mend them, or take the rest with --keep-going",
        )
    if problems:
        raise PartialError(f"{len(problems)} lines are left out", hint="see above")


def _look(
    reading: Connection, data: bytes, check: Callable[[str], str]
) -> tuple[dict[Address, str], list[tuple[int, str, str]]]:
    """(user -> what `check` makes of the secret, (line, address, why) of each line that cannot be taken)."""
    from postmaster.directory import addresses, graph

    problems: list[tuple[int, str, str]] = []
    lines: list[tuple[int, Address, str]] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            if line.strip():
                lines.append((number, *_parts(line)))
        except PostmasterError as error:
            problems.append((number, "", error.message))
    there = graph.find_many(reading, {where for _, where, _ in lines})
    named: dict[Address, int] = {}
    found: dict[Address, str] = {}
    for number, where, secret in lines:
        try:
            node = there.get(where)
            if node is None or node.kind != "user":
                raise addresses.not_found(node, where, "user")
            if node.address in named:
                raise UsageError(f"is named at line {named[node.address]} already")
            named[node.address] = number
            found[node.address] = check(secret)
        except PostmasterError as error:
            problems.append((number, where.unicode, error.message))
    return found, sorted(problems)


def _hashed(secrets: dict[Address, str]) -> dict[Address, str]:
    """Outside of every transaction: to hash takes its time, and nobody else has to wait for it."""
    from postmaster.directory import passwords

    found = {}
    with (
        bar(len(secrets), "passwords") as tell,
        closing(passwords.hash_many(list(secrets.values()))) as hashes,
    ):
        for where, hashed in zip(secrets, hashes, strict=True):
            found[where] = hashed
            tell(len(found))
    return found


def _parts(line: bytes) -> tuple[Address, str]:
    """(address, secret) of a line. Raises UsageError, AddressError; a message never has the secret."""
    if len(line) > LINE_LIMIT:
        raise UsageError("is too long")
    try:
        text = line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8") from None
    name, colon, secret = text.partition(":")
    if not colon or "@" not in name:
        raise UsageError("is not of the form address:password")
    return parse_address(name), secret
