"""`postmaster local forward`: show, check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.findings import print_findings
from postmaster.cli.state import Output, print_record, state_of
from postmaster.errors import NotFoundError, UsageError
from postmaster.render.output import Format

if TYPE_CHECKING:
    from postmaster.routing.forward_file import Account

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Forward files of local users, where forward_path looks for them.",
    epilog="Example: postmaster local forward show amy",
)


def _users(incomplete: str) -> list[str]:
    import pwd

    return sorted(one.pw_name for one in pwd.getpwall() if one.pw_name.startswith(incomplete))


User = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="An account of this system, or user+extension.", autocompletion=_users
    ),
]


@app.command(epilog="Examples: postmaster local forward show amy; postmaster local forward show amy+lists")
def show(context: typer.Context, user: User, output: Output = Format.table) -> None:
    """Show which forward file counts for a user, whether local(8) takes it, and what it says."""
    from postmaster.routing.forward_file import find_forward, paths
    from postmaster.routing.server import open_server

    with open_server(state_of(context).settings) as server:
        name, extension = server.addressing.split_extension(user)
        account = _account(name)
        forward_path, domain = server.parameters["forward_path"], server.addressing.myorigin
        looked = [str(path) for path, _ in paths(forward_path, account, extension, domain)]
        found = find_forward(forward_path, account, extension, domain)
    print_record(
        output,
        {
            "user": account.name,
            "looked_for": looked,
            "file": None if found is None else found.path,
            "mode": None if found is None else f"{found.mode:04o}",
            "passed_over": None if found is None else found.refusal,
            "targets": [] if found is None else list(found.targets),
        },
    )


@app.command(epilog="Examples: postmaster local forward check amy; postmaster local forward check --all")
def check(
    context: typer.Context,
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="An account of this system.", autocompletion=_users)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every account of this system.")] = False,
    output: Output = Format.table,
) -> None:
    """Look for faults in a user's forward files: rights, syntax, dead targets, circles, commands, files.

    Exit status 4 where there are findings. docs/routing.md says what each code means.
    """
    import pwd

    from postmaster.routing.check_local import check_forward
    from postmaster.routing.server import open_server

    if (user is None) is not every:
        raise UsageError("name one user, or say --all")
    names = [one.pw_name for one in pwd.getpwall()] if user is None else [user]
    with open_server(state_of(context).settings) as server:
        accounts = [_account(name) for name in dict.fromkeys(names)]
        print_findings(output, (one for account in accounts for one in check_forward(server, account)))


def _account(name: str) -> Account:
    from postmaster.routing.forward_file import find_user

    account = find_user(name)
    if account is None:
        raise NotFoundError(
            f"there is no account {name} on this system",
            hint="for users of the directory: postmaster forward show ADDRESS",
        )
    return account
