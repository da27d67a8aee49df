"""`postmaster alias`: set, edit, list, show, remove."""

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
    print_record,
    print_rows,
    removal,
    state_of,
)
from postmaster.cli.until import Until, end_of
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.directory.records import Alias, Assigned

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Aliases: addresses that lead to others. @example.org is the catch-all of a domain.",
    epilog="Example: postmaster alias set team@example.org amy@example.org bob@example.org",
)

Where = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS", help="The alias, or @domain for a catch-all.", autocompletion=complete("alias")
    ),
]
_COLUMNS = [Column("address", "ALIAS"), Column("targets", "TARGETS"), Column("until", "UNTIL")]
KEYS = ("address", "targets", "catch_all", "created_at", "until")  # of a row


def row(alias: Alias) -> dict[str, Any]:
    return {
        "address": alias.address.unicode,
        "targets": [target.unicode for target in alias.targets],
        "catch_all": alias.address.is_catch_all,
        "created_at": alias.created_at,
        "until": alias.until,
    }


@app.command(
    "set",
    epilog="Examples: postmaster alias set team@example.org amy@example.org bob@example.net; "
    "postmaster alias set @example.org amy@example.org",
)
def set_(
    context: typer.Context,
    address: Where,
    targets: Annotated[
        list[str],
        typer.Argument(metavar="TARGET…", help="Where its mail goes.", autocompletion=complete("address")),
    ],
    until: Until = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Give an alias exactly these targets; it is made if missing, and what was there before is shown."""
    from postmaster.directory import aliases

    where, wanted = parse_alias_address(address), [parse_address(target) for target in targets]
    command = f"alias set {where} {' '.join(map(str, wanted))}" + (f" --until {until}" if until else "")
    end = end_of(until)
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        assigned = aliases.set_targets(change, where, wanted, end)
    _print_assigned(output, assigned)


@app.command(
    epilog="Example: postmaster alias edit team@example.org --add carl@example.org --remove bob@example.net"
)
def edit(
    context: typer.Context,
    address: Where,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="One more target.", autocompletion=complete("address")),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TARGET", help="No longer a target.")] = None,
    until: Until = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Add or take out single targets."""
    from postmaster.directory import aliases

    where = parse_alias_address(address)
    more, less = [parse_address(t) for t in add or ()], [parse_address(t) for t in remove or ()]
    words = [*(f"--add {t}" for t in more), *(f"--remove {t}" for t in less)]
    command = f"alias edit {where} {' '.join(words)}" + (f" --until {until}" if until else "")
    end = end_of(until)
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        assigned = aliases.edit(change, where, more, less, end)
    _print_assigned(output, assigned)


@app.command("list", epilog="Example: postmaster alias list --domain example.org -o jsonl")
def list_(
    context: typer.Context,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only aliases of this domain.", autocompletion=complete("domain")),
    ] = None,
    output: Output = Format.table,
) -> None:
    """List aliases and catch-alls."""
    from postmaster.directory import aliases

    only = None if domain is None else parse_domain(domain)
    with state_of(context).directory("alias list") as directory, directory.read() as reading:
        print_rows(output, _COLUMNS, map(row, aliases.list_all(reading, only)), KEYS)


@app.command(epilog="Example: postmaster alias show team@example.org")
def show(context: typer.Context, address: Where, output: Output = Format.table) -> None:
    """Show one alias."""
    from postmaster.directory import aliases

    where = parse_alias_address(address)
    with state_of(context).directory("alias show") as directory, directory.read() as reading:
        print_record(output, row(aliases.show(reading, where)))


@app.command(epilog="Example: postmaster alias remove team@example.org --yes")
def remove(
    context: typer.Context,
    address: Where,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Take an alias away. Refused while it is some other alias's last target."""
    from postmaster.directory import aliases

    where = parse_alias_address(address)
    with state_of(context).directory(f"alias remove {where}", reason=reason) as directory:
        with directory.read() as reading:
            alias = aliases.show(reading, where)
        with removal(directory, f"Remove the alias {alias.address}?", yes=yes, dry_run=dry_run) as change:
            gone = aliases.remove(change, where)
    dropped = [one.unicode for one in gone.dropped_from]
    print_record(output, {**row(alias), "removed": not dry_run, "dropped_from": dropped})


def _print_assigned(output: Format, assigned: Assigned[Alias]) -> None:
    after = row(assigned.after)
    if output is not Format.table:
        print_record(output, {"before": row(assigned.before) if assigned.before else None, "after": after})
        return
    before = [target.unicode for target in assigned.before.targets] if assigned.before else []
    print_record(output, {"address": after["address"], "targets": after["targets"], "before": before})
