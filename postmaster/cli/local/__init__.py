"""`postmaster local`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

import typer

from postmaster.cli.lazy import lazy_group

_HERE = "postmaster.cli.local"
COMMANDS = {
    "alias": (f"{_HERE}.alias", "Aliases of local users: /etc/aliases."),
    "forward": (f"{_HERE}.forward", "Forward files of local users: ~/.forward."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: postmaster local alias set root amy@example.org",
)


@app.callback()
def local() -> None:
    """Mail of the system's own accounts, delivered by local(8)."""
