"""`postmaster domain`: add, list, show, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_domain
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    complete,
    confirm,
    print_record,
    print_rows,
    say,
    say_undo,
    state_of,
)
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.directory.records import DomainRecord

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Domains that are hosted here, and alias domains that stand for one.",
    epilog="Example: postmaster domain add example.org",
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Domain, internationalised or not.", autocompletion=complete("domain")
    ),
]
_COLUMNS = [
    Column("domain", "DOMAIN"),
    Column("alias_of", "ALIAS OF"),
    Column("users", "USERS", right=True),
    Column("aliases", "ALIASES", right=True),
]
KEYS = ("domain", "ascii", "alias_of", "users", "aliases", "created_at")  # of a row


def row(record: DomainRecord) -> dict[str, Any]:
    return {
        "domain": record.name.unicode,
        "ascii": record.name.ascii,
        "alias_of": record.alias_of.unicode if record.alias_of else None,
        "users": record.users,
        "aliases": record.aliases,
        "created_at": record.created_at,
    }


@app.command(
    epilog="Examples: postmaster domain add example.org; "
    "postmaster domain add example.net --alias-of example.org"
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Domain, internationalised or not.")],
    alias_of: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Answer for the addresses of this domain.", autocompletion=complete("domain")
        ),
    ] = None,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Host a domain. An alias domain answers for the addresses that exist in the one it stands for."""
    from postmaster.directory import domains

    wanted, home = parse_domain(name), parse_domain(alias_of) if alias_of else None
    command = f"domain add {wanted}" + (f" --alias-of {home}" if home else "")
    with state_of(context).directory(command, reason=reason) as directory, directory.change() as change:
        added = domains.add(change, wanted, home)
    for note in added.notes:
        say(f"note: {note}")
    print_record(output, row(added.record))


@app.command("list", epilog="Example: postmaster domain list -o json")
def list_(context: typer.Context, output: Output = Format.table) -> None:
    """List all domains."""
    from postmaster.directory import domains

    with state_of(context).directory("domain list") as directory, directory.read() as reading:
        print_rows(output, _COLUMNS, map(row, domains.list_all(reading)), KEYS)


@app.command(epilog="Example: postmaster domain show example.org")
def show(context: typer.Context, name: Name, output: Output = Format.table) -> None:
    """Show one domain."""
    from postmaster.directory import domains

    wanted = parse_domain(name)
    with state_of(context).directory("domain show") as directory, directory.read() as reading:
        print_record(output, row(domains.show(reading, wanted)))


@app.command(epilog="Example: postmaster domain remove example.net --yes")
def remove(
    context: typer.Context,
    name: Name,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Host a domain no longer. Refused while it has users, aliases or alias domains."""
    from postmaster.directory import domains

    wanted = parse_domain(name)
    with state_of(context).directory(f"domain remove {wanted}", reason=reason) as directory:
        with directory.read() as reading:
            record = domains.show(reading, wanted)
        if not dry_run:
            confirm(f"Remove the domain {wanted}?", yes=yes)
        with directory.change(keep=not dry_run) as change:
            domains.remove(change, wanted)
    if not dry_run:
        say_undo(change)
    print_record(output, {**row(record), "removed": not dry_run})
