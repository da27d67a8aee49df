"""Which user, and the ways a password comes in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from postmaster.address import Address
from postmaster.cli.state import complete
from postmaster.errors import UsageError

Where = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="The user's address.", autocompletion=complete("user"))
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
HashStdin = Annotated[
    bool,
    typer.Option("--hash-stdin", help="Read a hash from elsewhere, as {SCHEME}hash, from standard input."),
]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it once.")]
SECRET_LIMIT = 4096  # characters read from standard input


def ask_secret(
    where: Address,
    password_stdin: bool,
    hash_stdin: bool,
    generate: bool,
    *,
    check: Callable[[str], None] = lambda _password: None,
) -> tuple[str, dict[str, str]]:
    """(the hash to store, what to print of it). Raises UsageError, PasswordError, and what `check` raises."""
    from postmaster.directory import passwords

    if sum((password_stdin, hash_stdin, generate)) > 1:
        raise UsageError("only one of --password-stdin, --hash-stdin and --generate")
    if hash_stdin:
        return passwords.check_hash(_from_stdin()), {}
    if generate:
        made = passwords.generate_password()
        return passwords.hash_password(made), {"password": made}
    if password_stdin:
        typed = _from_stdin()
        check(typed)
        return passwords.hash_password(typed), {}
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "there is no terminal to ask for a password",
            hint="use --password-stdin, --hash-stdin or --generate",
        )
    typed = typer.prompt(f"New password for {where}", hide_input=True, confirmation_prompt=True, err=True)
    check(typed)
    return passwords.hash_password(typed), {}


def _from_stdin() -> str:
    """One line, less its end."""
    data = sys.stdin.buffer.readline(SECRET_LIMIT + 2)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
