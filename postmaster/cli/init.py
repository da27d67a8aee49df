"""`postmaster init`."""

from __future__ import annotations

import typer

from postmaster.cli.state import Output, print_record, state_of
from postmaster.render.output import Format, write_line

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example: sudo postmaster init")
def init(context: typer.Context, output: Output = Format.table) -> None:
    """Make or upgrade the directory and the look-ups, with the right owners and modes.

    Safe to repeat: what is right stays as it is.
    """
    import sys

    from postmaster.directory.engines import address_of
    from postmaster.directory.migrate import initialise

    state = state_of(context)
    done = initialise(state.settings)
    if output is Format.table:
        for line in done or ("everything is there already",):
            write_line(sys.stdout, line)
    else:
        own = state.settings.directory
        print_record(
            output, {"directory": own.url if own.file else address_of(state.settings), "done": list(done)}
        )
