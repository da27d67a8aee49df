"""`postmaster domain`: add, list, show, rename, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import parse_domain
from postmaster.cli.renaming import check_done, say_what_follows
from postmaster.cli.state import (
    DryRun,
    Output,
    Reason,
    Yes,
    complete,
    confirm,
    print_record,
    print_rows,
    progress,
    removal,
    say,
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

    wanted, home = parse_domain(name), None if alias_of is None else parse_domain(alias_of)
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


@app.command(
    epilog="Examples: postmaster domain rename example.org example.com; "
    "postmaster domain rename example.org example.com --no-alias"
)
def rename(
    context: typer.Context,
    old: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name from now on.")],
    alias: Annotated[bool, typer.Option(help="The old name stays as an alias domain.")] = True,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Give a domain another name. Its users log in by the new one from now on; mail and passwords stay."""
    from postmaster.directory import rename as renaming
    from postmaster.lifecycle import rename as life

    was, wanted = parse_domain(old), parse_domain(new)
    requeued, on_hold, entry, failed = 0, 0, None, list[str]()
    with state_of(context).directory(f"domain rename {was} {wanted}", reason=reason) as directory:
        with directory.change(keep=False) as change:
            record = renaming.rename_domain(change, was, wanted, keep_alias=alias)
        if not dry_run:
            confirm(
                f"Rename {was} to {wanted}? {record.before.users} users log in by another name then.", yes=yes
            )
            done = life.rename_domain(
                directory, was, wanted, keep_alias=alias, reason=reason, progress=progress()
            )
            record, entry, failed = done.record, done.entry, done.failed
            requeued, on_hold = done.requeued, done.on_hold
    for note in record.notes:
        say(f"note: {note}")
    say_what_follows(output, entry, on_hold, "recipient-domain", was.ascii)
    print_record(
        output,
        {
            "before": record.before.name.unicode,
            "domain": record.after.name.unicode,
            "ascii": record.after.name.ascii,
            "alias": record.alias.name.unicode if record.alias else None,
            "followed": [one.unicode for one in record.followed],
            "requeued": requeued,
            "on_hold": on_hold,
            "renamed": not dry_run,
        },
    )
    check_done(failed)


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
        with removal(directory, f"Remove the domain {wanted}?", yes=yes, dry_run=dry_run) as change:
            domains.remove(change, wanted)
    print_record(output, {**row(record), "removed": not dry_run})
