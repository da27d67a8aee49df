"""`postmaster publish`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from postmaster.cli.state import Output, print_record, say, state_of
from postmaster.errors import DirectoryError, UsageError
from postmaster.render.output import Format, write_line

if TYPE_CHECKING:
    from postmaster.directory.publish import Published

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: postmaster publish; postmaster publish --rebuild; "
    "postmaster publish --follow (as a service, where the directory is in PostgreSQL)"
)
def publish(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write the look-ups anew, also when they are damaged.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on: publish what other hosts change, as soon as they do.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Bring the servers' look-ups up to date with the directory.

    Every change does this by itself; it is needed after an interrupted one, and does nothing otherwise.
    A mail host whose directory is changed from elsewhere runs it with --follow.
    """
    if follow:
        if rebuild:
            raise UsageError("--follow and --rebuild do not go together", hint="rebuild first")
        _follow(context, output)
        return
    with state_of(context).directory("publish", publish=False) as directory:
        done = directory.publish(rebuild=rebuild)
    _tell(done, output)


def _follow(context: typer.Context, output: Format) -> None:
    from postmaster.directory.follow import follow

    def tell(what: Published | DirectoryError) -> None:
        if isinstance(what, DirectoryError):
            hint = f" ({what.hint})" if what.hint else ""
            say(f"{what.message}; the look-ups go on answering, and it tries again" + hint)
            return
        _tell(what, Format.jsonl if output is Format.json else output)
        sys.stdout.flush()

    follow(state_of(context).settings, tell)


def _tell(done: Published, output: Format) -> None:
    if output is not Format.table:
        print_record(output, {"entries": done.entries, "files": done.files, "rebuilt": done.rebuilt})
    elif not done.files:
        write_line(sys.stdout, "the look-ups are up to date")
    else:
        for path in done.files:
            how = "written anew" if path in done.rebuilt else f"brought up to date ({done.entries} entries)"
            write_line(sys.stdout, f"{path}: {how}")
