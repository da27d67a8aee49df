"""`postmaster health probe-account`: the user of the round trip."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.address import parse_own_address
from postmaster.cli.state import Output, print_record, state_of
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None)


@app.command(
    "probe-account",
    epilog="Examples: postmaster health probe-account probe@example.org; "
    "postmaster health probe-account probe@example.org --renew",
)
def probe_account(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Its address, in a domain of ours.")],
    renew: Annotated[bool, typer.Option("--renew", help="It is there: give it a new password.")] = False,
    output: Output = Format.table,
) -> None:
    """Make the user of the round trip, with a password that nobody has seen, in a file for root alone.

    It is needed for a reflector and for logging in to the webmail; the round trip itself makes an account
    for each run, which exists no longer than that. When `health.probe_address` in the settings names it,
    `setup apply` has Postfix let it send to itself and to `health.reflector` alone.
    """
    from postmaster.health import probe

    state, where = state_of(context), parse_own_address(address)
    with state.directory(f"health probe-account {where}") as directory:
        file = probe.make_account(state.settings, directory, where, renew=renew)
    is_named = state.settings.health.probe_address == where.ascii
    first = "" if is_named else f'set health.probe_address = "{where.ascii}", then '
    print_record(
        output, {"address": where.unicode, "password_file": file, "next": f"{first}postmaster setup apply"}
    )
