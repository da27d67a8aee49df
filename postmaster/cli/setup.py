"""`postmaster setup`: show, diff, apply, check, revert."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.address import parse_address
from postmaster.cli.findings import COLUMNS, row
from postmaster.cli.sharing import Command, Options, share
from postmaster.cli.state import (
    DryRun,
    Output,
    Yes,
    confirm,
    print_record,
    print_rows,
    progress,
    say,
    state_of,
)
from postmaster.render.output import Column, Format, write_line
from postmaster.shell import word

if TYPE_CHECKING:
    from postmaster.settings import Settings
    from postmaster.setup.plan import Plan

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Wire the directory into Postfix and Dovecot, with a proof and a way back.",
    epilog="Example: postmaster setup diff --certificate /etc/ssl/mail.pem --key /etc/ssl/private/mail.key",
)

Postfix = Annotated[Path | None, typer.Option(metavar="DIR", help="Postfix's configuration directory.")]
Dovecot = Annotated[Path | None, typer.Option(metavar="FILE", help="Dovecot's main configuration file.")]
Certificate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Certificate with its chain, PEM; else the one in use.")
]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key, PEM.")]
Postmaster = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Who gets undeliverable bounces; else mail.postmaster.")
]
KeepSystemLogins = Annotated[
    bool, typer.Option("--keep-system-logins", help="System accounts may go on logging in to Dovecot.")
]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options say of the configuration that is wanted."""

    postfix: Path | None
    dovecot: Path | None
    certificate: Path | None
    key: Path | None
    postmaster: str | None
    keep_system_logins: bool

    def plan(self, context: typer.Context) -> tuple[Settings, Plan]:
        """The settings with the servers that are named, and what would be done. Raises what planning does."""
        from postmaster.setup.options import SetupOptions
        from postmaster.setup.plan import make_plan

        settings = _settings(state_of(context).settings, self.postfix, self.dovecot)
        address = parse_address(self.postmaster) if self.postmaster else None
        options = SetupOptions(self.certificate, self.key, address, self.keep_system_logins)
        return settings, make_plan(settings, options)


_OPTIONS: Options = {
    "postfix": (Postfix, None),
    "dovecot": (Dovecot, None),
    "certificate": (Certificate, None),
    "key": (Key, None),
    "postmaster": (Postmaster, None),
    "keep_system_logins": (KeepSystemLogins, False),
}


def wiring(command: Command) -> Command:
    """Give a command these options. It takes what they say as its parameter `wish`."""
    return share(command, _OPTIONS, ("wish",), lambda given: {"wish": Wish(**given)}, first=True)


_DIFFERENCES = [
    Column("kind", "KIND"),
    Column("what", "WHAT"),
    Column("merged", "MERGED"),
    Column("before", "NOW"),
    Column("after", "WANTED"),
]


@app.command(
    epilog="Example: postmaster setup show --certificate /etc/ssl/mail.pem --key /etc/ssl/private/mail.key"
)
@wiring
def show(
    context: typer.Context,
    wish: Wish,
    output: Output = Format.table,
) -> None:
    """Print the configuration that the servers should have: parameters, services, files.

    A database's password is not shown.
    """
    _, plan = wish.plan(context)
    if output is not Format.table:
        print_record(
            output,
            {
                "parameters": plan.parameters,
                "merged": sorted(plan.merged),
                "services": {service.key: service.entry() for service in plan.services},
                "files": {str(file.path): file.shown for file in plan.files},
            },
        )
        return
    out = sys.stdout
    write_line(out, f"# {plan.config_directory}/main.cf (merged ones keep what is there)")
    for name, value in plan.parameters.items():
        write_line(out, f"{name} = {value}" + ("  # merged" if name in plan.merged else ""))
    write_line(out, f"\n# {plan.config_directory}/master.cf".lstrip())
    for service in plan.services:
        write_line(out, service.entry())
    for file in plan.files:
        write_line(out, "")
        write_line(out, f"# {file.path}")
        for line in file.shown.splitlines():
            write_line(out, line)


@app.command(epilog="Example: postmaster setup diff; echo $?  (4 where something differs)")
@wiring
def diff(
    context: typer.Context,
    wish: Wish,
    output: Output = Format.table,
) -> None:
    """Compare what should be with what is. Exit status 4 where something differs."""
    _, plan = wish.plan(context)
    _print_differences(output, plan)
    if plan.differences:
        raise typer.Exit(4)


@app.command(
    epilog="Example: postmaster setup apply --certificate /etc/ssl/mail.pem --key /etc/ssl/private/mail.key "
    "--postmaster postmaster@example.org"
)
@wiring
def apply(
    context: typer.Context,
    wish: Wish,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Put the configuration in force and prove it on the running servers, or put everything back."""
    from postmaster.setup import apply as setup_apply
    from postmaster.setup.check import require_postmaster

    settings, plan = wish.plan(context)
    require_postmaster(settings, plan.options)
    if dry_run:
        _print_differences(output, plan)
        return
    if plan.differences:
        confirm(
            f"Change {len(plan.differences)} things in the servers' configuration and reload them?", yes=yes
        )
    done = setup_apply.apply(plan, progress())
    proofs = [{"name": p.name, "status": p.status, "detail": p.detail} for p in done.proofs]
    number = done.backup.number if done.backup else None
    if output in (Format.table, Format.csv):
        columns = [Column("name", "PROOF"), Column("status", "STATUS"), Column("detail", "DETAIL")]
        print_rows(output, columns, proofs)
    else:
        print_record(output, {"changed": list(done.changed), "backup": number, "proofs": proofs})
    if number is not None:
        say(f"{len(done.changed)} changes are in force; undo: postmaster setup revert {word(number)}")


@app.command(epilog="Example: postmaster setup check -o json")
def check(
    context: typer.Context, postfix: Postfix = None, dovecot: Dovecot = None, output: Output = Format.table
) -> None:
    """Ask the live look-ups whether the servers answer what the directory says. Exit status 4: findings."""
    from postmaster.setup.check import check as check_answers

    state = state_of(context)
    settings = _settings(state.settings, postfix, dovecot)
    with state.directory("setup check") as directory, directory.read() as reading:
        result = check_answers(settings, reading)
    rows = [row(one) for one in result.findings]
    if output in (Format.table, Format.csv):
        print_rows(output, COLUMNS, rows)
        say(f"{result.asked} look-ups asked, {len(rows)} findings")
    else:
        print_record(output, {"asked": result.asked, "findings": rows})
    if rows:
        raise typer.Exit(4)


@app.command(epilog="Examples: postmaster setup revert; postmaster setup revert 3")
def revert(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Which apply; else the latest.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where files changed since.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Put back what was there before an apply, and reload the servers."""
    from postmaster.setup import apply as setup_apply
    from postmaster.setup import backup

    settings = state_of(context).settings
    found = backup.find(settings, number)
    told = {"number": found.number, "made_at": found.made_at, "files": list(found.paths)}
    if dry_run:
        print_record(output, {**told, "changed_since": backup.changed_since(found), "reverted": False})
        return
    confirm(f"Put back what was there before the apply of {found.made_at}?", yes=yes)
    setup_apply.revert(settings, found.number, force=force)
    say("undo: postmaster setup apply")
    print_record(output, {**told, "changed_since": [], "reverted": True})


def _settings(settings: Settings, postfix: Path | None, dovecot: Path | None) -> Settings:
    if postfix is not None:
        settings = replace(settings, postfix=replace(settings.postfix, config_directory=postfix.absolute()))
    if dovecot is not None:
        settings = replace(settings, dovecot=replace(settings.dovecot, config=dovecot.absolute()))
    return settings


def _print_differences(output: Format, plan: Plan) -> None:
    if output is not Format.table:
        rows = [
            {"kind": d.kind, "what": d.what, "merged": d.merged, "before": d.before, "after": d.after}
            for d in plan.differences
        ]
        print_rows(output, _DIFFERENCES, rows)
        return
    for difference in plan.differences:
        for line in difference.lines():
            write_line(sys.stdout, line)
    say(f"{len(plan.differences)} differences" if plan.differences else "nothing differs")
