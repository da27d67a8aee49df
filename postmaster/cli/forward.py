"""`postmaster forward`: set, list, show, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_address, parse_domain
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    complete,
    print_record,
    print_rows,
    removal,
    state_of,
)
from postmaster.cli.until import Until, end_of
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.directory.records import Forward

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Forwards: a user's mail sent on to other addresses, with or without a copy in the mailbox.",
    epilog="Example: postmaster forward set amy@example.org amy@example.net",
)

_COLUMNS = [
    Column("address", "USER"),
    Column("targets", "TARGETS"),
    Column("keep_copy", "KEEPS COPY"),
    Column("until", "UNTIL"),
]
KEYS = ("address", "targets", "keep_copy", "until")  # of a row


def row(forward: Forward) -> dict[str, Any]:
    return {
        "address": forward.address.unicode,
        "targets": [target.unicode for target in forward.targets],
        "keep_copy": forward.keep_copy,
        "until": forward.until,
    }


@app.command(
    "set",
    epilog="Examples: postmaster forward set amy@example.org amy@example.net; "
    "postmaster forward set bob@example.org bob@example.net --no-keep-copy",
)
def set_(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The user's address.", autocompletion=complete("user"))
    ],
    targets: Annotated[
        list[str],
        typer.Argument(metavar="TARGET…", help="Where the mail goes.", autocompletion=complete("address")),
    ],
    keep_copy: Annotated[bool, typer.Option(help="Deliver to the mailbox as well.")] = True,
    until: Until = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Send a user's mail on to exactly these addresses; what was there before is shown."""
    from postmaster.directory import forwards

    where, wanted = parse_address(address), [parse_address(target) for target in targets]
    command = f"forward set {where} {' '.join(map(str, wanted))} --{'' if keep_copy else 'no-'}keep-copy"
    command += f" --until {until}" if until else ""
    end = end_of(until)
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        assigned = forwards.set_targets(change, where, wanted, keep_copy, end)
    after, before = row(assigned.after), row(assigned.before) if assigned.before else None
    if output is Format.table:
        print_record(output, {**after, "before": before["targets"] if before else []})
    else:
        print_record(output, {"before": before, "after": after})


@app.command("list", epilog="Example: postmaster forward list -o csv")
def list_(
    context: typer.Context,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only users of this domain.", autocompletion=complete("domain")),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List users whose mail is sent on."""
    from postmaster.directory import forwards

    only = None if domain is None else parse_domain(domain)
    with state_of(context).directory("forward list") as directory, directory.read() as reading:
        print_rows(output, _COLUMNS, map(row, forwards.list_all(reading, only)), KEYS)


Where = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="The user's address.", autocompletion=complete("forward"))
]


@app.command(epilog="Example: postmaster forward show amy@example.org")
def show(context: typer.Context, address: Where, output: Output = Format.table) -> None:
    """Show where a user's mail is sent on to."""
    from postmaster.directory import forwards

    where = parse_address(address)
    with state_of(context).directory("forward show") as directory, directory.read() as reading:
        print_record(output, row(forwards.show(reading, where)))


@app.command(epilog="Example: postmaster forward remove amy@example.org --yes")
def remove(
    context: typer.Context,
    address: Where,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Deliver to the mailbox alone again."""
    from postmaster.directory import forwards

    where = parse_address(address)
    with state_of(context).directory(f"forward remove {where}", reason=reason) as directory:
        with directory.read() as reading:
            forward = forwards.show(reading, where)
        with removal(
            directory, f"Stop forwarding the mail of {forward.address}?", yes=yes, dry_run=dry_run
        ) as change:
            forwards.remove(change, where)
    print_record(output, {**row(forward), "removed": not dry_run})
