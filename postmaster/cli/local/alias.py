"""`postmaster local alias`: list, show, set, remove, check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.findings import print_findings
from postmaster.cli.state import (
    DryRun,
    Output,
    Yes,
    confirm,
    print_record,
    print_rows,
    say_way_back,
    state_of,
)
from postmaster.errors import NotFoundError, PostmasterError
from postmaster.render.output import Column, Format
from postmaster.settings import Settings

if TYPE_CHECKING:
    from postmaster.routing.alias_database import AliasFile
    from postmaster.routing.alias_file import Part

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Aliases of local users, in the files that alias_maps and alias_database name.",
    epilog="Example: postmaster local alias list",
)


def _names(context: typer.Context, incomplete: str) -> list[str]:
    try:
        rows = list(_rows(state_of(context).settings, None))
    except PostmasterError:
        return []
    return sorted({row["name"] for row in rows if row["name"] and row["name"].startswith(incomplete)})


Name = Annotated[str, typer.Argument(metavar="NAME", help="The local name.", autocompletion=_names)]
File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="This alias file, where there are several.")
]
_COLUMNS = [Column("name", "ALIAS"), Column("targets", "TARGETS"), Column("fault", "FAULT")]
KEYS = ("name", "targets", "file", "line", "fault")


@app.command("list", epilog="Examples: postmaster local alias list; postmaster local alias list -o jsonl")
def list_(context: typer.Context, file: File = None, output: Output = Format.table) -> None:
    """List the aliases, in the order in which they stand. A line that Postfix skips has a fault."""
    print_rows(output, _COLUMNS, _rows(state_of(context).settings, file), KEYS)


@app.command(epilog="Example: postmaster local alias show root")
def show(context: typer.Context, name: Name, file: File = None, output: Output = Format.table) -> None:
    """Show one alias: the entry that counts."""
    settings = state_of(context).settings
    for row in _rows(settings, file):
        if row["name"] == name.lower() and row["fault"] is None:
            print_record(output, row)
            return
    raise _not_found(name)


@app.command(
    "set",
    epilog="Examples: postmaster local alias set root amy@example.org; "
    "postmaster local alias set ticket '|/usr/local/bin/ticket --queue mail'; "
    "postmaster local alias set staff :include:/etc/mail/staff",
)
def set_(
    context: typer.Context,
    name: Name,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET…", help="An address, a local name, |command, /file or :include:/file."
        ),
    ],
    file: File = None,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Give an alias exactly these targets; it is made if missing. Comments and order stay.

    The file is replaced at once and built by postalias; where that fails, both are as before.
    """
    from postmaster.routing import alias_database, alias_file

    settings = state_of(context).settings
    chosen = _choose(settings, file, name)
    before, after = alias_database.change(
        settings, chosen, lambda parts: alias_file.assign(parts, name, targets), keep=not dry_run
    )
    record = {
        "name": name.lower(),
        "before": _targets(before, name),
        "after": _targets(after, name),
        "file": chosen.path,
        "changed": not dry_run and alias_file.to_bytes(before) != alias_file.to_bytes(after),
    }
    if output is Format.table:
        record = {"name": record["name"], "targets": record["after"], "before": record["before"]}
    print_record(output, record)


@app.command(epilog="Example: postmaster local alias remove staff --yes")
def remove(
    context: typer.Context,
    name: Name,
    file: File = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:
    """Take an alias away. Comments and order of the others stay."""
    from postmaster.routing import alias_database, alias_file

    settings = state_of(context).settings
    chosen = _choose(settings, file, name)
    targets = _targets(alias_database.read(chosen), name)
    if targets is None:
        raise _not_found(name)
    if not dry_run:
        confirm(f"Remove the alias {name} from {chosen.path}?", yes=yes)
    alias_database.change(settings, chosen, lambda parts: alias_file.remove(parts, name), keep=not dry_run)
    if not dry_run:
        words = [name, *map(alias_file.typed, targets)]
        way = [] if file is None else ["--file", str(file)]
        way += ["--"] if any(one.startswith("-") for one in words) else []
        say_way_back("local", "alias", "set", *way, *words)
    print_record(
        output, {"name": name.lower(), "targets": targets, "file": chosen.path, "removed": not dry_run}
    )


@app.command(epilog="Examples: postmaster local alias check; postmaster local alias check -o json")
def check(context: typer.Context, file: File = None, output: Output = Format.table) -> None:
    """Look for faults: syntax, dead targets, circles, files and commands, rights, what is not built.

    Exit status 4 where there are findings. docs/routing.md says what each code means.
    """
    from postmaster.routing import alias_database
    from postmaster.routing.check_local import check_aliases
    from postmaster.routing.server import open_server

    settings = state_of(context).settings
    files = alias_database.choose(alias_database.files(settings), file)
    with open_server(settings) as server:
        print_findings(output, check_aliases(server, files))


def _rows(settings: Settings, file: Path | None) -> Iterator[dict[str, Any]]:
    from postmaster.routing import alias_database, alias_file

    for one in alias_database.choose(alias_database.files(settings), file):
        for part in alias_file.entries(alias_database.read(one)):
            yield {
                "name": part.name,
                "targets": list(part.targets),
                "file": one.path,
                "line": part.line,
                "fault": part.fault,
            }


def _choose(settings: Settings, file: Path | None, name: str) -> AliasFile:
    """The file that has the name, else the first one that newaliases builds."""
    from postmaster.routing import alias_database, alias_file

    files = alias_database.choose(alias_database.files(settings), file)
    for one in files:
        if alias_file.find(alias_database.read(one), name):
            return one
    return next((one for one in files if one.is_rebuilt), files[0])


def _targets(parts: Sequence[Part], name: str) -> list[str] | None:
    from postmaster.routing import alias_file

    found = alias_file.find(parts, name)
    return list(found[0].targets) if found else None


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no local alias {name}", hint="postmaster local alias list shows what there is"
    )
