"""`postmaster lab`: start, status, stop, remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postmaster.cli.state import DryRun, Output, Yes, confirm, print_record, print_rows, progress
from postmaster.render.output import Column, Format

if TYPE_CHECKING:
    from postmaster.lab.lifecycle import LabStatus

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="A private, throwaway Postfix and Dovecot under one folder, for trying things. Needs root.",
    epilog="Example: postmaster lab start /srv/lab && postmaster --config /srv/lab/postmaster.toml user list",
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The lab's folder.")]
_COLUMNS = [
    Column("name", "SERVICE"),
    Column("host", "HOST"),
    Column("port", "PORT", right=True),
    Column("tls", "TLS"),
    Column("pid", "PID", right=True),
]


@app.command(epilog="Example: sudo postmaster lab start /srv/lab")
def start(directory: Folder, output: Output = Format.table) -> None:
    """Make the lab if it is new, and start it. Safe to repeat."""
    from postmaster.lab import lifecycle

    _print(output, lifecycle.start(directory, progress()))


@app.command(epilog="Example: postmaster lab status /srv/lab -o json")
def status(directory: Folder, output: Output = Format.table) -> None:
    """Show the lab's services and whether they run."""
    from postmaster.lab import lifecycle

    _print(output, lifecycle.status(directory))


@app.command(epilog="Example: postmaster lab stop /srv/lab")
def stop(directory: Folder, output: Output = Format.table) -> None:
    """End the lab's own processes and nothing else. Safe to repeat."""
    from postmaster.lab import lifecycle

    _print(output, lifecycle.stop(directory))


@app.command(epilog="Example: postmaster lab remove /srv/lab --yes")
def remove(
    directory: Folder, yes: Yes = False, dry_run: DryRun = False, output: Output = Format.table
) -> None:
    """Stop the lab and delete its folder with all mail in it. Nothing brings it back."""
    from postmaster.lab import lifecycle

    lifecycle.status(directory)
    if not dry_run:
        confirm(f"Delete the lab {directory} and all mail in it?", yes=yes)
        lifecycle.remove(directory)
    print_record(output, {"directory": directory, "removed": not dry_run})


def _print(output: Format, status: LabStatus) -> None:
    services: list[dict[str, Any]] = [
        {"name": one.name, "host": one.host, "port": one.port, "tls": one.tls, "pid": one.pid}
        for one in status.services
    ]
    if output in (Format.table, Format.csv):
        print_rows(output, _COLUMNS, services)
        return
    print_record(
        output,
        {
            "directory": status.directory,
            "settings": status.settings_file,
            "running": status.running,
            "services": services,
            "outbound": {"host": status.services[0].host, "port": status.outbound_port},
        },
    )
