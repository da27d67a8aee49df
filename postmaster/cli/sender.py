"""`postmaster sender`: grant, revoke, list, explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address, parse_alias_address, parse_domain
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    complete,
    confirm,
    pasted,
    print_record,
    print_rows,
    say_way_back,
    state_of,
)
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.directory.records import Grant

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Who may send as which address. A user may always send as the own address. Only the envelope sender "
    "is checked: what the From header says is the mail program's affair.",
    epilog="Example: postmaster sender grant amy@example.org sales@example.org",
)

User = Annotated[
    str, typer.Argument(metavar="USER", help="The user, who is the login.", autocompletion=complete("user"))
]
Other = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="An address of a hosted domain, or @domain for all of them.",
        autocompletion=complete("address"),
    ),
]
_COLUMNS = [Column("user", "USER"), Column("address", "MAY SEND AS"), Column("created_at", "SINCE")]
KEYS = ("user", "address", "whole_domain", "created_at")


def row(grant: Grant) -> dict[str, Any]:
    return {
        "user": grant.user.unicode,
        "address": grant.address.unicode,
        "whole_domain": grant.address.is_catch_all,
        "created_at": grant.created_at,
    }


@app.command(
    epilog="Examples: postmaster sender grant amy@example.org sales@example.org; "
    "postmaster sender grant newsletter@example.org @example.org"
)
def grant(
    context: typer.Context,
    user: User,
    address: Other,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Let a user send as another address, or with @domain as every address of a domain.

    It holds at the next message, in alias domains too. The address need not exist.
    """
    from postmaster.directory import grants

    who, what = parse_address(user), parse_alias_address(address)
    command = f"sender grant {who} {what}"
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        granted = grants.grant(change, who, what)
    say_way_back("sender", "revoke", granted.user, granted.address, "--yes")
    print_record(output, row(granted))


@app.command(epilog="Example: postmaster sender revoke amy@example.org sales@example.org --yes")
def revoke(
    context: typer.Context,
    user: User,
    address: Other,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take a grant away. It holds at the next message, in open sessions too."""
    from postmaster.directory import grants

    who, what = parse_address(user), parse_alias_address(address)
    if not dry_run:
        confirm(f"Let {who} no longer send as {what}?", yes=yes)
    command = f"sender revoke {who} {what}"
    with (
        state_of(context).directory(command, reason=reason) as directory,
        directory.change(keep=not dry_run) as change,
    ):
        gone = grants.revoke(change, who, what)
    if not dry_run:
        say_way_back("sender", "grant", gone.user, gone.address)
    print_record(output, {**row(gone), "removed": not dry_run})


@app.command(
    "list",
    epilog="Examples: postmaster sender list; postmaster sender list --user amy@example.org; "
    "postmaster sender list --domain example.org -o csv",
)
def list_(
    context: typer.Context,
    user: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Only grants of this user.", autocompletion=complete("user")),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only grants for this domain.", autocompletion=complete("domain")),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List the grants. What every user may anyway, the own address, is not among them."""
    from postmaster.directory import domains, grants, users

    who = None if user is None else parse_address(user)
    where = None if domain is None else parse_domain(domain)
    with state_of(context).directory("sender list") as directory, directory.read() as reading:
        owner = None if who is None else users.show(reading, who).address
        home = None if where is None else domains.require(reading, where).home
        found = (
            row(one)
            for one in grants.list_all(reading)
            if owner in (None, one.user) and home in (None, one.address.domain)
        )
        print_rows(output, _COLUMNS, found, KEYS)


@app.command(
    epilog="Examples: postmaster sender explain amy@example.org sales@example.org; "
    "postmaster sender explain amy@example.org '<>'"
)
def explain(
    context: typer.Context,
    login: Annotated[
        str, typer.Argument(metavar="LOGIN", help="Who is logged in.", autocompletion=complete("user"))
    ],
    sender: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="The envelope sender; <> is the null one.",
            autocompletion=complete("address"),
        ),
    ],
    output: Output = Format.table,
) -> None:
    """Say whether submission takes a sender from a login, which rule decides, and what would change it."""
    from postmaster.routing.sender import explain as explain_sender

    wanted = None if sender == "<>" else parse_address(sender)
    found = explain_sender(state_of(context).settings, parse_address(login), wanted)
    print_record(
        output,
        {
            "login": found.login,
            "sender": found.sender,
            "code": found.code,
            "rule": found.rule,
            "reason": found.reason,
            "table": found.table,
            "key": found.key,
            "owners": list(found.owners),
            "changes": [pasted(one) if output is Format.table else one for one in found.changes],
            "differences": [
                {"table": one.table, "key": one.key, "read": one.read, "live": one.live}
                for one in found.differences
            ],
            "notes": list(found.notes),
        },
    )
