"""`postmaster history`: who changed what in the directory, when and why."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.address import Address, parse_address, parse_alias_address, parse_domain
from postmaster.cli.reading import Since, Until
from postmaster.cli.state import Output, check_text, complete, print_record, print_rows, state_of
from postmaster.errors import UsageError
from postmaster.render.output import Column, Format, cell

if TYPE_CHECKING:
    from postmaster.directory.history import Entry, RowChange

app = typer.Typer(rich_markup_mode=None, add_completion=False)


_COLUMNS = [
    Column("entry", "NO", right=True),
    Column("made_at", "WHEN"),
    Column("actor", "WHO"),
    Column("command", "COMMAND"),
    Column("undone_by", "UNDONE BY", right=True),
    Column("reason", "REASON"),
]
#: Of a row.
KEYS = ("entry", "made_at", "actor", "command", "reason", "undoes", "undone_by", "changes")


def row(entry: Entry, changes: list[RowChange]) -> dict[str, Any]:
    """What JSON has of an entry. Hashes are never in it."""
    return {
        "entry": entry.number,
        "made_at": entry.made_at,
        "actor": entry.actor,
        "command": entry.command,
        "reason": entry.reason,
        "undoes": list(entry.undoes),
        "undone_by": entry.undone_by,
        "changes": [change_row(one) for one in changes],
    }


def change_row(change: RowChange) -> dict[str, Any]:
    return {
        "table": change.table,
        "object": change.object,
        "action": change.action,
        "values": {name: {"before": old, "after": new} for name, (old, new) in change.values.items()},
    }


def line(change: RowChange) -> str:
    """A change for people: what was done to what, and which values it had."""
    from postmaster.directory.history import KINDS

    values = {name: pair for name, pair in change.values.items() if name not in _INNER}
    if change.action == "changed":
        what = "; ".join(f"{name} {cell(old)} → {cell(new)}" for name, (old, new) in values.items())
    else:
        side = 0 if change.action == "deleted" else 1
        what = "; ".join(
            f"{name} {cell(pair[side])}" for name, pair in values.items() if pair[side] is not None
        )
    return f"{KINDS[change.table]} of {change.object} {change.action}: {what}".removesuffix(": ")


#: Columns that tell a person nothing.
_INNER = {"id", "domain_id", "source_id", "account_id", "base", "position", "created_at", "mail_id"}


@app.command(
    epilog="Examples: postmaster history; postmaster history amy@example.org; "
    "postmaster history --domain example.org --since 7d; postmaster history --entry 12"
)
def history(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="Only what was about this address, or led to it.",
            autocompletion=complete("address"),
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only what was about this domain.", autocompletion=complete("domain")
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this one did.")] = None,
    entry: Annotated[
        int | None,
        typer.Option(min=1, metavar="NO", help="Show this entry with each value before and after."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many; 0 for all.")] = 50,
    output: Output = Format.table,
) -> None:
    """Show who changed what, the latest first. Passwords and their hashes are never shown."""
    from postmaster.directory import history as journal

    if entry is not None and any(one is not None for one in (address, domain, since, until, actor)):
        raise UsageError("--entry names one entry by itself", hint="postmaster history --entry 12")
    check_text(actor, "the name of --actor")
    now = time.time()
    wanted = journal.Wanted(
        address=None if address is None else _any_address(address),
        domain=None if domain is None else parse_domain(domain),
        since=_moment(since, now),
        until=_moment(until, now),
        actor=actor,
    )
    with state_of(context).directory("history") as directory, directory.read() as reading:
        names = journal.Names(reading)
        if entry is not None:
            found = journal.entry(reading, entry)
            changes = journal.changes(reading, entry, names)
            if output is Format.table:
                shown = {key: value for key, value in row(found, []).items() if value not in (None, [])}
                print_record(output, {**shown, "changes": [line(one) for one in changes]})
            else:
                print_record(output, row(found, changes))
            return
        listed = journal.entries(reading, wanted, limit)
        with_changes = output is not Format.table
        print_rows(
            output,
            _COLUMNS,
            (row(one, journal.changes(reading, one.number, names) if with_changes else []) for one in listed),
            KEYS,
        )


def _any_address(text: str) -> Address:
    """One of ours, a catch-all, or one elsewhere. Raises AddressError."""
    return parse_alias_address(text) if text.startswith("@") else parse_address(text)


def _moment(text: str | None, now: float) -> datetime | None:
    from postmaster.trace.times import moment

    return None if text is None else datetime.fromtimestamp(moment(text, now), UTC)
