"""`postmaster publish`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from postmaster.cli.state import Output, print_record, state_of
from postmaster.render.output import Format, write_line

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Examples: postmaster publish; postmaster publish --rebuild")
def publish(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write the look-ups anew, also when they are damaged.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Bring the servers' look-ups up to date with the directory.

    Every change does this by itself; it is needed after an interrupted one, and does nothing otherwise.
    """
    with state_of(context).directory("publish", publish=False) as directory:
        done = directory.publish(rebuild=rebuild)
    if output is not Format.table:
        print_record(output, {"entries": done.entries, "files": done.files, "rebuilt": done.rebuilt})
    elif not done.files:
        write_line(sys.stdout, "the look-ups are up to date")
    else:
        for path in done.files:
            how = "written anew" if path in done.rebuilt else f"brought up to date ({done.entries} entries)"
            write_line(sys.stdout, f"{path}: {how}")
