"""`postmaster user chpasswd`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from postmaster.address import Address, parse_address
from postmaster.cli.state import DryRun, Output, Reason, bar, print_record, say, say_undo, state_of
from postmaster.errors import PartialError, PostmasterError, RuleError, UsageError
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)

LINE_LIMIT = 4096  # bytes
LINES = 1_000_000


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

    All of them or none. Each hash takes some 30 ms. Passwords are never shown again.
    """
    from postmaster.directory import passwords, users

    if sys.stdin.isatty():
        raise UsageError("lines are read from standard input", hint="postmaster user chpasswd < FILE")
    lines = sys.stdin.buffer.readlines(LINES * 64)
    entry = None
    problems: list[tuple[int, str, str]] = []
    with state_of(context).directory("user chpasswd", reason=reason) as directory:
        found: dict[Address, tuple[int, str]] = {}
        with directory.read() as reading, bar(len(lines), "passwords") as tell:
            for number, line in enumerate(lines, 1):
                shown = ""
                try:
                    where, secret = _parts(line)
                    shown = where.unicode
                    user = users.show(reading, where)
                    if user.address in found:
                        raise UsageError(f"is named at line {found[user.address][0]} already")
                    make = passwords.check_hash if hashes else passwords.hash_password
                    found[user.address] = (number, make(secret))
                except PostmasterError as error:
                    problems.append((number, shown, error.message))
                tell(number)
        refused = bool(problems) and not keep_going
        if not refused and not dry_run:
            with directory.change() as change:
                for where, (_, hashed) in found.items():
                    users.set_password(change, where, hashed)
            entry = change.number
    if output is Format.table:
        for number, shown, message in problems:
            say(f"line {number}: {shown + ': ' if shown else ''}{message}")
        if entry is not None:
            say_undo(change)
    if output is not Format.table or not refused:
        print_record(
            output,
            {
                "changed": 0 if refused or dry_run else len(found),
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


def _parts(line: bytes) -> tuple[Address, str]:
    """(address, secret) of a line. Raises UsageError, AddressError; a message never has the secret."""
    if len(line) > LINE_LIMIT:
        raise UsageError("is too long")
    try:
        text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8") from None
    name, colon, secret = text.partition(":")
    if not colon or "@" not in name:
        raise UsageError("is not of the form address:password")
    return parse_address(name), secret
