"""`postmaster user rename`."""

from __future__ import annotations

from typing import Annotated

import typer

from postmaster.address import parse_address, parse_own_address
from postmaster.cli.renaming import check_done, say_what_follows
from postmaster.cli.state import DryRun, Output, Reason, print_record, progress, state_of
from postmaster.cli.until import parse_until
from postmaster.cli.user.options import Where
from postmaster.errors import UsageError
from postmaster.render.output import Format

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster user rename amy@example.org amy.ash@example.org; "
    "postmaster user rename amy@example.org amy@example.net --alias-until 2026-12-31"
)
def rename(
    context: typer.Context,
    old: Where,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The address from now on.")],
    alias: Annotated[bool, typer.Option(help="The old address stays as an alias.")] = True,
    alias_until: Annotated[
        str | None, typer.Option(metavar="DATE", help="It stays so long: 2026-12-31, 90d. Else for good.")
    ] = None,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Output = Format.table,
) -> None:
    """Give a user another address, which is the login name too. Mail, password and rights stay.

    Aliases, forwards and grants that named the old address name the new one; queued mail is requeued.
    """
    from postmaster.directory import rename as renaming
    from postmaster.lifecycle import rename as life

    was, wanted = parse_address(old), parse_own_address(new)
    if alias_until is not None and not alias:
        raise UsageError("--no-alias leaves nothing to end", hint="leave out one of the two")
    until = parse_until(alias_until) if alias_until is not None else None
    requeued, on_hold, entry, failed = 0, 0, None, list[str]()
    with state_of(context).directory(f"user rename {was} {wanted}", reason=reason) as directory:
        if dry_run:
            with directory.change(keep=False) as change:
                record = renaming.rename_user(change, was, wanted, keep_alias=alias, until=until)
        else:
            done = life.rename_user(
                directory,
                was,
                wanted,
                keep_alias=alias,
                until=until,
                reason=reason,
                progress=progress(),
            )
            record, entry, failed = done.record, done.entry, done.failed
            requeued, on_hold = done.requeued, done.on_hold
    say_what_follows(output, entry, on_hold, "recipient", was.ascii)
    print_record(
        output,
        {
            "before": record.before.address.unicode,
            "address": record.after.address.unicode,
            "login_name": record.after.address.ascii,
            "alias": record.alias.address.unicode if record.alias else None,
            "alias_until": record.alias.until if record.alias else None,
            "followed": [one.unicode for one in record.followed],
            "requeued": requeued,
            "on_hold": on_hold,
            "renamed": not dry_run,
        },
    )
    check_done(failed)
