"""`postmaster directory`: one module per subject, loaded when one of its commands is used."""

from __future__ import annotations

import typer

from postmaster.cli.lazy import lazy_group

_HERE = "postmaster.cli.directory"
COMMANDS = {
    "check": (f"{_HERE}.check", "Look for faults in the whole directory."),
    "export": (f"{_HERE}.exchange", "Write the directory as CSV, JSON, YAML or TOML."),
    "import": (f"{_HERE}.exchange", "Take domains, users, aliases and more from a file."),
    "diff": (f"{_HERE}.document", "Compare the directory with its description in a file."),
    "apply": (f"{_HERE}.document", "Make the directory what a file says."),
    "backup": (f"{_HERE}.backup", "Copy the directory into one file, while others write."),
    "restore": (f"{_HERE}.backup", "Put a copy of the directory in force."),
    "copy": (f"{_HERE}.copy", "Move the directory to another database."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: postmaster directory check",
)


@app.callback()
def directory() -> None:
    """The directory as a whole."""
